//! `--targets FILE.json`: token ids, strings, or weighted named directions.
//!
//! The file is a list, or an object with the list under `given`. A direction is `scale · (Σ W_U[plus] - Σ W_U[minus])`, not
//! demeaned.

use crate::failure::{Code, Failure};
use circuit_attribution::{Direction, TargetChoice};
use circuit_index::TokenId;
use circuit_model::Model;
use circuit_model::tokenizer::Tokenizer;
use serde::Deserialize;
use std::path::Path;
use tch::{Kind, Tensor};

#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    Wrapped { given: Targets },
    Plain(Targets),
}

/// The targets of a file.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Targets {
    Ids(Vec<u32>),
    Strings(Vec<String>),
    Directions(Vec<Entry>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    label: String,
    weight: f64,
    plus: Vec<u32>,
    #[serde(default)]
    minus: Vec<u32>,
    #[serde(default = "one")]
    scale: f64,
}

fn one() -> f64 {
    1.0
}

/// Reads a file of targets.
pub(crate) fn read(path: &Path) -> Result<Targets, Failure> {
    let bad = |reason: String| Failure::new(Code::Input, format!("{}: {reason}", path.display()));
    let text = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    let form = "expected a list of token ids, of strings, or of {label, weight, plus, minus, scale}";
    match serde_json::from_slice(&text) {
        Ok(File::Wrapped { given }) => Ok(given),
        Ok(File::Plain(targets)) => Ok(targets),
        Err(e) if e.is_data() => Err(bad(form.into())),
        Err(e) => Err(bad(format!("no JSON: {e}"))),
    }
}

/// The choice that strings make.
pub(crate) fn strings(texts: &[String], tokenizer: &Tokenizer) -> Result<TargetChoice, Failure> {
    let ids = texts.iter().map(|text| tokenizer.single_token(text).map_err(Failure::text));
    Ok(TargetChoice::Tokens(ids.collect::<Result<_, _>>()?))
}

/// The choice that ids make.
pub(crate) fn ids(ids: &[u32]) -> TargetChoice {
    TargetChoice::Tokens(ids.iter().map(|&id| TokenId(id)).collect())
}

impl Targets {
    /// The choice that the file makes.
    pub(crate) fn choice(&self, model: &Model, tokenizer: &Tokenizer) -> Result<TargetChoice, Failure> {
        match self {
            Self::Ids(list) => Ok(ids(list)),
            Self::Strings(texts) => strings(texts, tokenizer),
            Self::Directions(entries) => {
                let directions = entries.iter().map(|entry| entry.direction(model));
                Ok(TargetChoice::Directions(directions.collect::<Result<_, _>>()?))
            }
        }
    }
}

impl Entry {
    fn direction(&self, model: &Model) -> Result<Direction, Failure> {
        let (d_model, d_vocab) = (model.spec().d_model as i64, model.spec().d_vocab);
        if let Some(id) = self.plus.iter().chain(&self.minus).find(|id| **id as usize >= d_vocab) {
            let message =
                format!("target `{}`: token {id} is outside the vocabulary of {d_vocab}", self.label);
            return Err(Failure::new(Code::Prompt, message));
        }
        let sum = |ids: &[u32]| {
            let zero = Tensor::zeros([d_model], (model.wide_kind(), model.device()));
            ids.iter().fold(zero, |sum, &id| sum + model.W_U().get(i64::from(id)).to_kind(Kind::Double))
        };
        let vector = (sum(&self.plus) - sum(&self.minus)) * self.scale;
        Ok(Direction { label: self.label.clone(), weight: self.weight, vector })
    }
}
