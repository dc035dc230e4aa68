//! `train transcoders`, `evaluate transcoders` and `feature-pages`: sets and pages of one's own.
//!
//! Folders, defaults and the live line are chosen here; the work is `circuit-train`'s.

use crate::attribute::{model_info, named, numbers};
use crate::failure::{Code, Failure};
use crate::hub::Finder;
use crate::say::{say, say_notices};
use crate::stop::CleanStop;
use crate::train_args::{Activation, CorpusArgs, EvaluateArgs, PagesArgs, SetArgs, StoredDtype, TrainArgs};
use crate::{open, plan, scores};
use circuit_attribution::{AttributeConfig, TargetChoice, attribute};
use circuit_graph::{Graph, scores as graph_scores};
use circuit_index::{LayerSite, TokenId};
use circuit_model::Model;
use circuit_model::tokenizer::Tokenizer;
use circuit_replacement::LocalReplacement;
use circuit_train::{
    ActivationChoice, Corpus, Evaluation, Metrics, PageSettings, Settings, Sites, StoredKind, TrainError,
    Trainer, evaluate, write_pages,
};
use circuit_transcoder::TranscoderSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The state of a run, in its output folder, until it is done.
const CHECKPOINT: &str = "checkpoint.safetensors";
/// One JSON object for each step that is told.
const METRICS: &str = "metrics.jsonl";

struct Ready {
    model: Model,
    tokenizer: Tokenizer,
    corpus: Corpus,
    folder: PathBuf,
    dtype: &'static str,
}

/// Opens the model and reads the corpus. A set that is used with them can tell how many positions are ignored.
fn ready(args: &CorpusArgs, set: Option<&SetArgs>) -> Result<Ready, Failure> {
    let set = set.map(|set| set.transcoder_set.as_str());
    let finder = Finder::new(args.offline).strict(args.strict_config);
    let found = finder.find(Some(&args.model), set, false)?.0;
    let found = found.ok_or_else(|| Failure::usage("no model: give one with -m"))?;
    let named = found.ignored_positions();
    let folder = found.folder;
    open::set_threads(args.threads)?;
    let device = open::device(args.device.as_deref())?;
    let tokenizer = open::tokenizer(&folder, args.first_token.as_ref())?;
    let model = Model::open(&folder, open::kind(args.dtype), device)?;
    say_notices(model.notices());
    let ignored = args.ignored_positions.or(named).unwrap_or(model.spec().ignored_positions);
    let window = args.window.min(model.spec().n_ctx);
    let corpus = Corpus::read(&args.corpus, &tokenizer, &model, window, ignored)?;
    say_notices(corpus.notices());
    say(format_args!("{} documents, {} tokens to learn from", corpus.len(), corpus.n_rows()));
    let dtype = args.dtype.name();
    Ok(Ready { model, tokenizer, corpus, folder, dtype })
}

fn open_set(args: &SetArgs, offline: bool, ready: &Ready) -> Result<TranscoderSet, Failure> {
    let found = Finder::new(offline).find(None, Some(&args.transcoder_set), false)?.1;
    let folder = found.ok_or_else(|| Failure::usage("no transcoder set"))?.folder;
    let (spec, model) = (ready.model.spec(), &ready.model);
    let set = TranscoderSet::open(&folder, spec.n_layers(), spec.d_model, model.wide_kind(), model.device())?;
    say_notices(set.notices());
    if set.is_joint() {
        let message = format!(
            "{}: its features are chosen over all layers together, and this command goes layer by layer",
            folder.path.display()
        );
        return Err(Failure::new(Code::Input, message));
    }
    Ok(set)
}

pub(crate) fn transcoders(args: TrainArgs) -> Result<String, Failure> {
    let settings = settings(&args);
    settings.check()?;
    let site = |name: &str| name.parse().map_err(|e: circuit_index::SiteError| Failure::usage(e.to_string()));
    let given = |name: &Option<String>| name.as_deref().map(site).transpose();
    let (reads, writes): (Option<LayerSite>, _) = (given(&args.reads)?, given(&args.writes)?);
    let unwritable = |path: &Path, e: std::io::Error| {
        Failure::new(Code::Output, format!("{}: cannot write: {e}", path.display()))
    };
    fs::create_dir_all(&args.output).map_err(|e| unwritable(&args.output, e))?;
    let ready = ready(&args.corpus, None)?;
    let usual = ready.model.spec().transcoder_hooks;
    let sites = Sites { reads: reads.unwrap_or(usual.reads), writes: writes.unwrap_or(usual.writes) };
    say(format_args!("features read {} and write {}", sites.reads, sites.writes));
    let mut trainer = Trainer::new(&ready.model, &ready.corpus, sites, settings.clone())?;
    let (checkpoint, metrics) = (args.output.join(CHECKPOINT), args.output.join(METRICS));
    if args.restart {
        for path in [&checkpoint, &metrics] {
            match fs::remove_file(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(unwritable(path, e)),
                _ => {}
            }
        }
    } else if checkpoint.exists() {
        trainer.resume(&checkpoint).map_err(|e| match e {
            TrainError::OtherRun { .. } => {
                Failure::from(e).hint("give the same arguments, another folder, or --restart")
            }
            e => e.into(),
        })?;
        say(format_args!("going on at step {}", trainer.steps_made()));
    } else if TranscoderSet::is_in(&args.output) {
        let message = format!("{}: holds a transcoder set already", args.output.display());
        return Err(Failure::new(Code::Output, message).hint("give another folder, or --restart"));
    }
    let mut log = Log::open(&metrics, trainer.steps_made()).map_err(|e| unwritable(&metrics, e))?;
    let _stop = CleanStop::begin()?;
    let (mut line, mut last) = (Line::new(), None);
    while !trainer.is_done() {
        let found = trainer.step()?;
        let (made, all) = (trainer.steps_made(), settings.steps);
        if made % args.log_every == 0 || made == all {
            log.write(&found).map_err(|e| unwritable(&metrics, e))?;
        }
        line.tell(made == all, || progress(&found, all));
        if args.checkpoint_every > 0 && made % args.checkpoint_every == 0 && made < all {
            log.flush().map_err(|e| unwritable(&metrics, e))?;
            trainer.save_checkpoint(&checkpoint)?;
        }
        last = Some(found);
    }
    log.flush().map_err(|e| unwritable(&metrics, e))?;
    let name = args.model_name.clone().unwrap_or_else(|| plan::folder_name(&ready.folder));
    let scan = args.scan.clone().unwrap_or_else(|| name.clone());
    let kind = match args.stored {
        StoredDtype::Float32 => StoredKind::Float32,
        StoredDtype::Bfloat16 => StoredKind::Bfloat16,
    };
    trainer.write_set(&args.output, &name, &scan, kind)?;
    // The set is whole; what the run would need to go on is not needed any more.
    let _ = fs::remove_file(&checkpoint);
    let told = last.map_or_else(String::new, |found| format!("{}\n", progress(&found, settings.steps)));
    Ok(format!("{told}{}\n", args.output.display()))
}

fn settings(args: &TrainArgs) -> Settings {
    let activation = match args.activation {
        Activation::Relu => ActivationChoice::Relu,
        Activation::Topk => ActivationChoice::TopK { k: args.k },
        Activation::Jumprelu => ActivationChoice::JumpRelu { bandwidth: args.bandwidth },
    };
    let usual = match args.activation {
        Activation::Relu => 0.006,
        Activation::Jumprelu => 0.001,
        Activation::Topk => 0.0,
    };
    Settings {
        features: args.features,
        cross_layer: args.cross_layer,
        skip: args.skip,
        activation,
        sparsity: args.sparsity.unwrap_or(usual),
        sparsity_warm_up: args.sparsity_warm_up,
        relative_error: args.relative_error,
        steps: args.steps,
        batch_rows: args.batch_rows,
        chunk_batches: args.chunk_batches,
        balance: args.balance,
        learning_rate: args.learning_rate,
        warm_up: args.warm_up,
        decay: args.decay,
        betas: (0.9, 0.999),
        dead_after: args.dead_after,
        seed: args.seed,
    }
}

/// One line about a step.
fn progress(found: &Metrics, steps: usize) -> String {
    let list = |values: &[f64], digits: usize| {
        values.iter().map(|v| format!("{v:.digits$}")).collect::<Vec<_>>().join(" ")
    };
    let mean = found.dead.iter().sum::<f64>() / found.dead.len().max(1) as f64;
    format!(
        "step {}/{steps}  loss {:.4}  explained {}  L0 {}  dead {:.1} %",
        found.step + 1,
        found.loss,
        list(&found.explained_variance, 3),
        list(&found.l0, 1),
        100.0 * mean
    )
}

/// The live line: in place on a terminal, now and then in a log.
struct Line {
    terminal: bool,
    told: Option<Instant>,
}

impl Line {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), told: None }
    }

    fn tell(&mut self, last: bool, text: impl FnOnce() -> String) {
        let pause = Duration::from_secs_f64(if self.terminal { 0.2 } else { 30.0 });
        if last || self.told.is_none_or(|told| told.elapsed() >= pause) {
            self.told = Some(Instant::now());
            let (start, end) =
                if self.terminal { ("\r\x1b[K", if last { "\n" } else { "" }) } else { ("", "\n") };
            let _ = write!(std::io::stderr(), "{start}{}{end}", text());
        }
    }
}

/// `metrics.jsonl`: a resumed run drops what an earlier one wrote past its checkpoint, a line cut off in the middle too.
struct Log(std::io::BufWriter<File>);

impl Log {
    fn open(path: &Path, steps: usize) -> std::io::Result<Self> {
        let mut kept = String::new();
        if steps > 0 && path.exists() {
            for line in BufReader::new(File::open(path)?).lines() {
                let line = line?;
                let step = serde_json::from_str::<serde_json::Value>(&line).ok();
                let step = step.and_then(|value| value["step"].as_u64());
                if step.is_some_and(|step| (step as usize) < steps) {
                    kept += &line;
                    kept.push('\n');
                }
            }
        }
        // Whole or not at all: killed here, a run must not lose what it told before.
        circuit_format::write_atomically(path, |out| out.write_all(kept.as_bytes()))
            .map_err(std::io::Error::other)?;
        Ok(Self(std::io::BufWriter::new(File::options().append(true).open(path)?)))
    }

    fn write(&mut self, found: &Metrics) -> std::io::Result<()> {
        writeln!(self.0, "{}", serde_json::to_string(found)?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

pub(crate) fn evaluate_transcoders(args: EvaluateArgs) -> Result<String, Failure> {
    let ready = ready(&args.corpus, Some(&args.set))?;
    let set = open_set(&args.set, args.corpus.offline, &ready)?;
    let all = ready.corpus.len();
    let mut line = Line::new();
    let found = evaluate(&ready.model, &set, &ready.corpus, |done| {
        line.tell(false, || format!("{done} of {all} documents"));
    })?;
    let (mut replacement, mut completeness) = (Vec::new(), Vec::new());
    // Spread over the corpus, whose neighbours are often alike.
    let step = all.div_ceil(args.prompts.max(1)).max(1);
    for document in (0..all).step_by(step).take(args.prompts) {
        line.tell(false, || format!("{} of {} prompts", replacement.len(), args.prompts));
        let (r, c) = prompt_scores(&ready, &set, &ready.corpus.document(document)?)?;
        replacement.extend(r);
        completeness.extend(c);
    }
    let mean = |v: &[f64]| (!v.is_empty()).then(|| v.iter().sum::<f64>() / v.len() as f64);
    let scores = [mean(&replacement), mean(&completeness)];
    Ok(if args.json { as_json(&found, args.prompts, scores) } else { as_text(&found, args.prompts, scores) })
}

fn prompt_scores(
    ready: &Ready,
    set: &TranscoderSet,
    tokens: &[TokenId],
) -> Result<(Option<f64>, Option<f64>), Failure> {
    // The last word is what the others lead to.
    let prompt = &tokens[..tokens.len().saturating_sub(1).max(ready.corpus.ignored() + 1).min(tokens.len())];
    let replacement = LocalReplacement::new(&ready.model, set, prompt, ready.corpus.ignored())?;
    let choice = TargetChoice::Automatic { max_n_logits: 10, desired_logit_prob: 0.95 };
    let targets = choice.resolve(&replacement)?;
    let config = AttributeConfig::default();
    let found = attribute(&replacement, &targets, config, |_| {})?;
    let word = |id: &TokenId| ready.tokenizer.decode_token(*id);
    let token_strings = prompt.iter().map(word).collect::<Result<_, _>>().map_err(Failure::text)?;
    let graph = Graph {
        tokens: prompt.to_vec(),
        token_strings,
        prompt: String::new(),
        active: replacement.active().to_vec(),
        activations: numbers(&replacement.activations())?,
        selected: found.selected,
        targets: named(&targets, &ready.tokenizer)?,
        rows: found.rows,
        model: model_info(
            &plan::folder_name(&ready.folder),
            ready.dtype,
            &ready.model,
            set,
            &ready.tokenizer,
        ),
    };
    graph.validate()?;
    let scores = graph_scores(&graph);
    Ok((scores.replacement, scores.completeness))
}

fn as_text(found: &Evaluation, prompts: usize, [replacement, completeness]: [Option<f64>; 2]) -> String {
    let mut text =
        format!("{:>5} {:>10} {:>8} {:>6} {:>9}\n", "layer", "explained", "L0", "dead", "features");
    for (l, layer) in found.layers.iter().enumerate() {
        let (explained, l0) = (layer.explained_variance, layer.l0);
        let _ = writeln!(text, "{l:>5} {explained:>10.4} {l0:>8.2} {:>6} {:>9}", layer.dead, layer.features);
    }
    let _ = writeln!(
        text,
        "\nnext-token loss on {} tokens: {:.4}; with MLPs replaced {:.4}; without MLPs {:.4}",
        found.rows, found.loss, found.loss_replaced, found.loss_without
    );
    if prompts > 0 {
        let (r, c) = (scores::share(replacement), scores::share(completeness));
        let _ = writeln!(text, "mean over {prompts} prompts at most: replacement {r}, completeness {c}");
    }
    text
}

fn as_json(found: &Evaluation, prompts: usize, [replacement, completeness]: [Option<f64>; 2]) -> String {
    let value = serde_json::json!({
        "evaluation": found, "prompts": prompts, "replacement": replacement, "completeness": completeness,
    });
    format!("{value}\n")
}

pub(crate) fn feature_pages(args: PagesArgs) -> Result<String, Failure> {
    let ready = ready(&args.corpus, Some(&args.set))?;
    let set = open_set(&args.set, args.corpus.offline, &ready)?;
    let folder: PathBuf = args.output.clone();
    fs::create_dir_all(&folder)
        .map_err(|e| Failure::new(Code::Output, format!("{}: cannot write: {e}", folder.display())))?;
    let settings = PageSettings {
        examples: args.examples,
        intervals: args.intervals,
        per_interval: args.per_interval,
        context: args.context,
        bars: args.bars,
        logits: args.logits,
        seed: args.seed,
        memory: args.memory_mib.saturating_mul(1 << 20),
    };
    let words = (0..ready.model.spec().d_vocab).map(|id| ready.tokenizer.decode_token(TokenId::from(id)));
    let words: Vec<String> = words.map(Result::unwrap_or_default).collect();
    let _stop = CleanStop::begin()?;
    let mut line = Line::new();
    let all = ready.corpus.len();
    let word = |id: TokenId| words.get(id.get()).cloned().unwrap_or_default();
    write_pages(&ready.model, &set, &ready.corpus, &settings, &word, &folder, |p| {
        let walk = if p.second { "examples" } else { "ranges" };
        line.tell(false, || {
            format!("{} of {} layers; {walk}: {} of {all} documents", p.layers_done, p.n_layers, p.documents)
        });
    })?;
    Ok(format!("{}\n", folder.display()))
}
