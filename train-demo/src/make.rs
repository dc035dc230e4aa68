//! Writes a demo folder: corpus, model, transcoder sets, feature pages.

use crate::facts::{Facts, SUBJECTS, Sentence, Subject, words};
use crate::recipe;
use anyhow::{Context, Result};
use circuit_index::{LayerSite, TokenId};
use circuit_model::Model;
use circuit_model::tokenizer::Tokenizer;
use circuit_train::{
    Corpus, LanguageTrainer, Sites, StoredKind, Subject as Drawn, Trainer, predict, write_pages,
};
use circuit_transcoder::TranscoderSet;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tch::{Device, Kind};

const CONFIG: &str = include_str!("../data/config.json");
const GENERATION: &str = include_str!("../data/generation_config.json");
const TOKENIZER_CONFIG: &str = include_str!("../data/tokenizer_config.json");
const SPECIAL: [&str; 3] = ["<pad>", "<bos>", "<unk>"];

/// The folders of the sets, and whether they are cross-layer ones.
pub const SETS: [(&str, bool); 2] = [("transcoders", false), ("cross-layer", true)];

/// A demo under way: its folder, and what it is taught.
#[derive(Debug)]
pub struct Demo {
    /// The folder.
    pub folder: PathBuf,
    /// The seed of everything.
    pub seed: u64,
    /// The tables.
    pub facts: Facts,
    /// All sentences, with the split.
    pub sentences: Vec<Sentence>,
}

impl Demo {
    /// Writes corpus and tokenizer.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn begin(folder: &Path, seed: u64) -> Result<Self> {
        let facts = Facts::read()?;
        let sentences = facts.sentences(seed);
        let demo = Self { folder: folder.into(), seed, facts, sentences };
        fs::create_dir_all(demo.model()).with_context(|| format!("{}", demo.model().display()))?;
        let texts = |held_out: bool| {
            let some = demo.sentences.iter().filter(|s| s.held_out == held_out);
            some.map(|s| format!("{}\n", s.text)).collect::<String>()
        };
        demo.write("corpus.txt", &texts(false))?;
        demo.write("held-out.txt", &texts(true))?;
        let two_hop = demo.sentences.iter().filter(|s| s.held_out && s.subject == Subject::TwoHop);
        demo.write("held-out-two-hop.txt", &two_hop.map(|s| format!("{}\n", s.text)).collect::<String>())?;
        let vocabulary = SPECIAL.into_iter().chain(words(&demo.sentences));
        let vocabulary: serde_json::Map<_, _> =
            vocabulary.enumerate().map(|(id, word)| (word.to_owned(), json!(id))).collect();
        let mut config: Value = serde_json::from_str(CONFIG)?;
        config["vocab_size"] = json!(vocabulary.len());
        let added = SPECIAL.iter().enumerate().map(|(id, content)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": true,
            })
        });
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
            "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": SPECIAL[2]},
        });
        demo.write("model/config.json", &format!("{config:#}\n"))?;
        demo.write("model/tokenizer.json", &format!("{tokenizer}\n"))?;
        demo.write("model/generation_config.json", GENERATION)?;
        demo.write("model/tokenizer_config.json", TOKENIZER_CONFIG)?;
        Ok(demo)
    }

    /// The model's folder.
    #[must_use]
    pub fn model(&self) -> PathBuf {
        self.folder.join("model")
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        Ok(circuit_format::write_atomically(&path, |out| std::io::Write::write_all(out, text.as_bytes()))?)
    }

    /// Trains and writes the model.
    ///
    /// # Errors
    /// If training fails or a file cannot be written.
    pub fn train_model(&self, mut tell: impl FnMut(&str)) -> Result<()> {
        let tokenizer = Tokenizer::open(&self.model())?;
        let mut subjects = Vec::new();
        for subject in SUBJECTS {
            let some = self.sentences.iter().filter(|s| s.subject == subject && !s.held_out);
            let documents = some.map(|s| Ok(tokenizer.encode_prompt(&s.text)?.tokens));
            let documents = documents.collect::<Result<_>>()?;
            subjects.push(Drawn { share: recipe::share(subject), documents });
        }
        let numbers = words(&self.sentences).into_iter().filter(|word| word.parse::<usize>().is_ok());
        let numbers = numbers.map(|word| Ok(tokenizer.single_token(word)?)).collect::<Result<_>>()?;
        let settings = recipe::language(self.seed, numbers);
        let steps = settings.steps;
        let mut trainer = LanguageTrainer::new(&self.model(), subjects, settings)?;
        let (mut loss, mut right) = (0.0, 0.0);
        while !trainer.is_done() {
            let found = trainer.step()?;
            loss += (found.loss - loss) / if found.step == 0 { 1.0 } else { 50.0 };
            right += (found.right - right) / if found.step == 0 { 1.0 } else { 50.0 };
            if (found.step + 1).is_multiple_of(50) {
                tell(&format!("model: step {}/{steps}  loss {loss:.4}  right {right:.3}", found.step + 1));
            }
        }
        trainer.write(StoredKind::Bfloat16)?;
        Ok(())
    }

    fn corpus(&self, names: &[&str], model: &Model) -> Result<Corpus> {
        let tokenizer = Tokenizer::open(&self.model())?;
        let files: Vec<_> = names.iter().map(|name| self.folder.join(name)).collect();
        Ok(Corpus::read(&files, &tokenizer, model, model.spec().n_ctx, 1)?)
    }

    /// Trains and writes one of the sets.
    ///
    /// # Errors
    /// If training fails or a file cannot be written.
    pub fn train_set(&self, name: &str, cross_layer: bool, mut tell: impl FnMut(&str)) -> Result<()> {
        let model = Model::open(&self.model(), Kind::Float, Device::Cpu)?;
        let corpus = self.corpus(&["corpus.txt"], &model)?;
        let settings = recipe::transcoders(cross_layer, self.seed);
        let steps = settings.steps;
        let sites = Sites { reads: LayerSite::MlpIn, writes: LayerSite::MlpRawOut };
        let mut trainer = Trainer::new(&model, &corpus, sites, settings)?;
        while !trainer.is_done() {
            let found = trainer.step()?;
            if (found.step + 1).is_multiple_of(100) {
                let list = |v: &[f64], digits: usize| {
                    v.iter().map(|x| format!("{x:.digits$}")).collect::<Vec<_>>().join(" ")
                };
                tell(&format!(
                    "{name}: step {}/{steps}  explained {}  L0 {}  dead {}",
                    found.step + 1,
                    list(&found.explained_variance, 3),
                    list(&found.l0, 1),
                    list(&found.dead, 3)
                ));
            }
        }
        fs::create_dir_all(self.folder.join(name))?;
        Ok(trainer.write_set(&self.folder.join(name), "demo", name, StoredKind::Bfloat16)?)
    }

    /// Writes a set's feature pages, from all sentences: what was held out is looked at too.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_pages(&self, name: &str) -> Result<()> {
        let model = Model::open(&self.model(), Kind::Float, Device::Cpu)?;
        let tokenizer = Tokenizer::open(&self.model())?;
        let corpus = self.corpus(&["corpus.txt", "held-out.txt"], &model)?;
        let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
        let folder = self.folder.join(name);
        let set = TranscoderSet::open(&folder, n_layers, d_model, Kind::Float, Device::Cpu)?;
        let word = |id: TokenId| tokenizer.decode_token(id).unwrap_or_default();
        let folder = folder.join("features");
        fs::create_dir_all(&folder)?;
        Ok(write_pages(&model, &set, &corpus, &recipe::pages(), &word, &folder, |_| {})?)
    }

    /// The share of answers that are right, of each subject: trained sentences, and held out ones where there are any.
    ///
    /// # Errors
    /// If the model cannot be run.
    pub fn answers(&self) -> Result<Vec<(Subject, f64, Option<f64>)>> {
        let model = Model::open(&self.model(), Kind::Float, Device::Cpu)?;
        self.answers_of(&model)
    }

    fn answers_of(&self, model: &Model) -> Result<Vec<(Subject, f64, Option<f64>)>> {
        let tokenizer = Tokenizer::open(&self.model())?;
        let mut found = Vec::new();
        for subject in SUBJECTS {
            let mut shares = [None; 2];
            for (held_out, share) in [false, true].into_iter().zip(&mut shares) {
                let some = self.sentences.iter().filter(|s| s.subject == subject && s.held_out == held_out);
                let documents = some.map(|s| Ok(tokenizer.encode_prompt(&s.text)?.tokens));
                let documents: Vec<Vec<TokenId>> = documents.collect::<Result<_>>()?;
                let prompts: Vec<_> = documents.iter().map(|d| d[..d.len() - 1].to_vec()).collect();
                if !prompts.is_empty() {
                    let said = predict(model, None, &prompts, 1)?;
                    let right = documents.iter().zip(&said).filter(|(d, s)| d.last() == Some(s)).count();
                    *share = Some(right as f64 / prompts.len() as f64);
                }
            }
            found.push((subject, shares[0].unwrap_or(0.0), shares[1]));
        }
        Ok(found)
    }
}
