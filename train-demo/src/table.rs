//! The acceptance table: what a demo folder can do, measured with the crates' own functions on what is in its files.
//!
//! Which prompts are measured is drawn by the seed, from generators that nothing else uses.

use crate::facts::{Subject, two_hop};
use crate::make::{Demo, SETS};
use crate::stories::{CITY, LAST, SAYS_LANGUAGE, SAYS_OPERAND, Stories};
use anyhow::{Context, Result};
use circuit_attribution::{AttributeConfig, TargetChoice, attribute};
use circuit_format::PackedFeatures;
use circuit_graph::{Graph, ModelInfo, Target, Thresholds, prune, scores};
use circuit_index::{Node, TokenId};
use circuit_intervention::Freeze;
use circuit_model::Model;
use circuit_model::tokenizer::Tokenizer;
use circuit_replacement::LocalReplacement;
use circuit_train::{Corpus, Evaluation, evaluate, predict};
use circuit_transcoder::TranscoderSet;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};
use tch::{Device, Kind};

/// Prompts whose scores are averaged.
const SCORED: usize = 20;
/// Pairs of states that are steered.
const STEERED: usize = 30;
/// Pairs of opposites of each kind.
const SWAPPED: usize = 24;
/// What a generator of prompts is made from, beside the seed: so that it draws other numbers than training.
const MEASURING: u64 = 0x6d65_6173;
/// As `attribute` does it unless told otherwise.
const THRESHOLDS: (f64, f64) = (0.8, 0.98);

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// What is measured.
    pub what: String,
    /// What was found.
    pub measured: String,
    /// What is asked for.
    pub must: &'static str,
    /// Whether it is there.
    pub pass: bool,
}

/// A table as text.
#[must_use]
pub fn as_text(lines: &[Line]) -> String {
    let width = |get: &dyn Fn(&Line) -> usize| lines.iter().map(get).max().unwrap_or(0);
    let what = width(&|l| l.what.chars().count());
    let measured = width(&|l| l.measured.chars().count());
    let must = width(&|l| l.must.chars().count());
    let mut text = String::new();
    for l in lines {
        let end = if l.pass { "pass" } else { "SHORT" };
        text += &format!("{:<what$}  {:<measured$}  {:<must$}  {end}\n", l.what, l.measured, l.must);
    }
    text
}

struct Measured<'a> {
    demo: &'a Demo,
    model: Model,
    tokenizer: Tokenizer,
    lines: Vec<Line>,
}

/// Measures a demo folder.
///
/// # Errors
/// If something in it cannot be read or run.
pub fn measure(demo: &Demo, mut tell: impl FnMut(&str)) -> Result<Vec<Line>> {
    let model = Model::open(&demo.model(), Kind::Float, Device::Cpu)?;
    let tokenizer = Tokenizer::open(&demo.model())?;
    let mut all = Measured { demo, model, tokenizer, lines: Vec::new() };
    tell("measuring: answers");
    all.answers()?;
    let mut scored = Vec::new();
    for (name, _) in SETS {
        tell(&format!("measuring: {name}"));
        let set = all.set(name)?;
        all.explained(name, &set)?;
        all.replaced(name, &set)?;
        scored.push(all.scores(name, &set, scored.first().copied())?);
        if scored.len() == 1 {
            all.tell_stories(&set)?;
        }
    }
    all.size()?;
    Ok(all.lines)
}

impl Measured<'_> {
    fn line(&mut self, what: impl Into<String>, measured: impl Into<String>, must: &'static str, pass: bool) {
        self.lines.push(Line { what: what.into(), measured: measured.into(), must, pass });
    }

    fn chance(&self, purpose: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.demo.seed ^ (MEASURING << 16) ^ (purpose << 56))
    }

    fn set(&self, name: &str) -> Result<TranscoderSet> {
        let (n_layers, d_model) = (self.model.spec().n_layers(), self.model.spec().d_model);
        Ok(TranscoderSet::open(&self.demo.folder.join(name), n_layers, d_model, Kind::Float, Device::Cpu)?)
    }

    fn answers(&mut self) -> Result<()> {
        let found = self.demo.answers()?;
        let list: Vec<_> =
            found.iter().map(|(subject, share, _)| format!("{} {share:.3}", subject.name())).collect();
        let least = found.iter().map(|f| f.1).fold(1.0, f64::min);
        self.line("trained sentences right", list.join(", "), ">= .98 each", least >= 0.98);
        let held_out = |subject| found.iter().find(|f| f.0 == subject).and_then(|f| f.2).unwrap_or(0.0);
        let right = held_out(Subject::TwoHop);
        let mut named = Vec::new();
        for (city, capital) in [("Dallas", "Austin"), ("Oakland", "Sacramento")] {
            let prompt = self.tokenizer.encode_prompt(&two_hop(city))?.tokens;
            let said = predict(&self.model, None, &[prompt], 1)?;
            named.push(self.tokenizer.decode_token(said[0])? == capital);
        }
        let n = self.questions(Subject::TwoHop, Some(true))?.len();
        let measured = format!(
            "{:.0} of {n}; Dallas {}, Oakland {}",
            right * n as f64,
            right_or_wrong(named[0]),
            right_or_wrong(named[1])
        );
        let pass = right >= 0.95 && named[0] && named[1];
        self.line("untrained two-hop questions right", measured, ">= 95 %, both", pass);
        let right = held_out(Subject::Sum);
        self.line("untrained sums right", format!("{right:.3}"), ">= .95", right >= 0.95);
        Ok(())
    }

    /// Tokens of questions and their answers: those held out, those trained, or all.
    fn questions(&self, subject: Subject, held_out: Option<bool>) -> Result<Vec<(Vec<TokenId>, TokenId)>> {
        let some = self.demo.sentences.iter();
        let some =
            some.filter(|s| s.subject == subject && held_out.is_none_or(|held_out| s.held_out == held_out));
        let tokens = some.map(|s| {
            let mut tokens = self.tokenizer.encode_prompt(&s.text)?.tokens;
            let answer = tokens.pop().context("a sentence without words")?;
            Ok((tokens, answer))
        });
        tokens.collect()
    }

    fn explained(&mut self, name: &str, set: &TranscoderSet) -> Result<()> {
        let on = |path: PathBuf| -> Result<Evaluation> {
            let corpus = Corpus::read(&[path], &self.tokenizer, &self.model, 64, 1)?;
            Ok(evaluate(&self.model, set, &corpus, |_| {})?)
        };
        let trained = on(self.demo.folder.join("corpus.txt"))?;
        let held_out = on(self.demo.folder.join("held-out-two-hop.txt"))?;
        let ev = |e: &Evaluation| e.layers.iter().map(|l| l.explained_variance).collect::<Vec<_>>();
        let l0: Vec<_> = trained.layers.iter().map(|l| l.l0).collect();
        let dead: Vec<_> = trained.layers.iter().map(|l| l.dead as f64 / l.features as f64).collect();
        let (ev, ev_held_out) = (ev(&trained), ev(&held_out));
        let worst_l0 = l0.iter().fold(0.0, |a, b| f64::max(a, *b));
        let least = |v: &[f64]| v.iter().fold(1.0, |a, b| f64::min(a, *b));
        let both = format!("{} / {}", list(&ev, 3), list(&ev_held_out, 3));
        if name == SETS[0].0 {
            let pass = least(&ev) >= 0.94 && least(&ev_held_out) >= 0.88;
            self.line(
                format!("{name}: explained, training / held-out rows"),
                both,
                ">= .94 / >= .88, every layer",
                pass,
            );
            let worst_dead = dead.iter().fold(0.0, |a, b| f64::max(a, *b));
            let measured = format!(
                "{} / {} %",
                list(&l0, 1),
                list(&dead.iter().map(|d| 100.0 * d).collect::<Vec<_>>(), 1)
            );
            let pass = worst_l0 <= 20.0 && worst_dead <= 0.05;
            self.line(format!("{name}: L0 / dead"), measured, "<= 20 / <= 5 %, every layer", pass);
        } else {
            let pass = least(&ev) >= 0.92 && worst_l0 <= 30.0;
            let measured = format!("{both}, {}", list(&l0, 1));
            self.line(
                format!("{name}: explained, L0"),
                measured,
                ">= .92 on training rows, <= 30, every layer",
                pass,
            );
        }
        Ok(())
    }

    fn replaced(&mut self, name: &str, set: &TranscoderSet) -> Result<()> {
        let (prompts, answers): (Vec<_>, Vec<_>) = self.questions(Subject::TwoHop, None)?.into_iter().unzip();
        let said = predict(&self.model, Some(set), &prompts, 1)?;
        let right = said.iter().zip(&answers).filter(|(a, b)| a == b).count() as f64 / prompts.len() as f64;
        self.line(
            format!("{name}: two-hop answers, all MLPs replaced"),
            format!("{right:.3}"),
            ">= .97",
            right >= 0.97,
        );
        Ok(())
    }

    fn scores(&mut self, name: &str, set: &TranscoderSet, first: Option<[f64; 2]>) -> Result<[f64; 2]> {
        let mut prompts = self.questions(Subject::TwoHop, Some(true))?;
        prompts.shuffle(&mut self.chance(1));
        prompts.truncate(SCORED);
        let (mut replacement, mut completeness) = (0.0, 0.0);
        for (prompt, _) in &prompts {
            let found = scores(&self.graph(set, prompt)?);
            replacement += found.replacement.context("no replacement score")? / prompts.len() as f64;
            completeness += found.completeness.context("no completeness score")? / prompts.len() as f64;
        }
        let must: &'static str = match first {
            None => ">= .80 / >= .94",
            Some(_) => "no worse than the per-layer set",
        };
        let [least_r, least_c] = first.unwrap_or([0.80, 0.94]);
        self.line(
            format!("{name}: replacement / completeness, {} untrained prompts", prompts.len()),
            format!("{replacement:.3} / {completeness:.3}"),
            must,
            replacement >= least_r && completeness >= least_c,
        );
        Ok([replacement, completeness])
    }

    fn graph(&self, set: &TranscoderSet, tokens: &[TokenId]) -> Result<Graph> {
        let replacement = LocalReplacement::new(&self.model, set, tokens, 1)?;
        let choice = TargetChoice::Automatic { max_n_logits: 10, desired_logit_prob: 0.95 };
        let targets = choice.resolve(&replacement)?;
        let config = AttributeConfig { max_feature_nodes: Some(7500), batch_size: 256, update_interval: 4 };
        let found = attribute(&replacement, &targets, config, |_| {})?;
        let spec = self.model.spec();
        let attn = &spec.layers[0].attn;
        let graph = Graph {
            prompt: String::new(),
            tokens: tokens.to_vec(),
            token_strings: tokens
                .iter()
                .map(|t| self.tokenizer.decode_token(*t))
                .collect::<Result<_, _>>()?,
            active: replacement.active().to_vec(),
            activations: Vec::<f32>::try_from(replacement.activations().to_kind(Kind::Float))?,
            selected: found.selected,
            targets: targets
                .iter()
                .map(|t| {
                    let label = self.tokenizer.decode_token(t.token_id)?;
                    Ok(Target { label, token_id: t.token_id, weight: t.weight })
                })
                .collect::<Result<_>>()?,
            rows: found.rows,
            model: ModelInfo {
                name: "demo".into(),
                architecture: spec.architecture.clone(),
                n_layers: spec.n_layers(),
                d_model: spec.d_model,
                d_head: attn.d_head,
                n_heads: attn.n_heads,
                n_key_value_heads: attn.n_kv_heads,
                d_mlp: spec.layers[0].mlp.d_mlp,
                d_vocab: spec.d_vocab,
                tokenizer_vocab: self.tokenizer.vocab_size(),
                dtype: "float32".into(),
                scan: set.info().scan.clone(),
                first_token: None,
            },
        };
        graph.validate()?;
        Ok(graph)
    }

    fn tell_stories(&mut self, set: &TranscoderSet) -> Result<()> {
        let stories =
            Stories { model: &self.model, set, tokenizer: &self.tokenizer, facts: &self.demo.facts };
        let meanings = stories.meanings()?;
        let n = self.demo.facts.states.len();
        let found = |pos| (0..n).filter(|s| meanings.contains_key(&(*s, pos))).count();
        let (city, last) = (found(CITY), found(LAST));
        let pairs = stories.pairs_of_states(STEERED, &mut self.chance(2));
        let strong = stories.steer(&meanings, &pairs, -1.0, 2.0)?;
        let plain = stories.steer(&meanings, &pairs, 0.0, 1.0)?;
        let mut swapped = [0; 2];
        let ways =
            [(false, &SAYS_OPERAND[..], Freeze::Attention), (true, &SAYS_LANGUAGE[..], Freeze::Nothing)];
        for ((by_language, at, freeze), right) in ways.into_iter().zip(&mut swapped) {
            let pairs = stories.pairs_of_opposites(
                SWAPPED,
                by_language,
                &mut self.chance(3 + u64::from(by_language)),
            );
            *right = stories.swap_opposites(&pairs, at, &freeze)?;
        }
        let texas = stories.state("Texas")?;
        let (features, state, says) = self.dallas(set, texas)?;

        self.line(
            "states with a selective feature, city / last word",
            format!("{city} / {last} of {n}"),
            ">= 48",
            city.min(last) >= 48,
        );
        self.line(
            "pruned Dallas graph: features; labelled Texas; say Austin",
            format!("{features}; {state}; {says}"),
            "<= 30, both kinds",
            features <= 30 && state > 0 && says > 0,
        );
        self.line(
            format!("steering {STEERED} pairs of states, (-1x, 2x) / (0, 1x)"),
            format!("{strong} / {plain}"),
            ">= 27 / >= 24",
            strong >= 27 && plain >= 24,
        );
        let [operand, language] = swapped;
        self.line(
            format!(
                "opposites: operand (at word and end) / language (at all words, patterns free) swapped, {SWAPPED} pairs each"
            ),
            format!("{operand} / {language}"),
            ">= 22 each",
            operand.min(language) >= 22,
        );
        Ok(())
    }

    /// The features of the pruned Dallas graph: how many, how many of them whose automatic label is about Texas, and how many whose
    /// label promotes Austin.
    fn dallas(&self, set: &TranscoderSet, texas: usize) -> Result<(usize, usize, usize)> {
        let tokens = self.tokenizer.encode_prompt(&two_hop("Dallas"))?.tokens;
        let graph = self.graph(set, &tokens)?;
        let pruned = prune(&graph, Thresholds::new(THRESHOLDS.0, THRESHOLDS.1)?);
        let pages = PackedFeatures::open(&self.demo.folder.join(SETS[0].0).join("features"))?;
        let of_texas = &self.demo.facts.states[texas];
        let (mut n, mut state, mut says) = (0, 0, 0);
        for node in pruned.nodes() {
            let Some(Node::Feature(place)) = graph.layout().node(node) else { continue };
            n += 1;
            let feature = graph.active[graph.selected[place].get()];
            let record = pages.record(feature.layer, feature.index)?.context("a feature without a page")?;
            let record: serde_json::Value = serde_json::from_slice(&record)?;
            let label = record["automatic_label"].as_str().unwrap_or_default();
            let (on, promotes) = label.split_once("; promotes ").unwrap_or((label, ""));
            let on = on.trim_start_matches("automatic: on ").split(", ").collect::<Vec<_>>();
            let is_texas =
                |word: &&&str| of_texas.cities.iter().any(|c| c == **word) || **word == of_texas.name;
            state += usize::from(2 * on.iter().filter(is_texas).count() > on.len());
            says += usize::from(promotes.split(", ").any(|word| word == of_texas.capital));
        }
        Ok((n, state, says))
    }

    fn size(&mut self) -> Result<()> {
        let bytes = size_of(&self.demo.folder)?;
        let mb = bytes as f64 / 1e6;
        self.line("size: model, both sets, pages, corpus", format!("{mb:.2} MB"), "< 12 MB", mb < 12.0);
        Ok(())
    }
}

fn right_or_wrong(right: bool) -> &'static str {
    if right { "right" } else { "wrong" }
}

fn list(values: &[f64], digits: usize) -> String {
    values.iter().map(|v| format!("{v:.digits$}")).collect::<Vec<_>>().join(" ")
}

/// Bytes of all files below a folder.
fn size_of(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let entry = entry?;
        sum += match entry.file_type()?.is_dir() {
            true => size_of(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(sum)
}
