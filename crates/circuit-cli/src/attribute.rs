//! `attribute`: open, run, trace, prune, write, tell.

use crate::args::{AttributeArgs, ProductsArg};
use crate::budget::{self, Budget, Request};
use crate::failure::{Code, Failure};
use crate::files;
use crate::hub::Ahead;
use crate::machine::{self, Held, Watch};
use crate::open;
use crate::plan::{self, Plan};
use crate::say::{say, say_notices};
use crate::serve;
use crate::stop::CleanStop;
use crate::summary::Summary;
use crate::targets_file;
use circuit_attribution::{AttributeConfig, ResolvedTarget, TargetChoice, attribute_within};
use circuit_format::{GenerationSettings, GraphFileOptions, Neuronpedia};
use circuit_graph::{FirstToken, Graph, ModelInfo, Target, prune};
use circuit_index::NodeLayout;
use circuit_model::Model;
use circuit_model::tokenizer::Tokenizer;
use circuit_replacement::{BestSite, LocalReplacement};
use circuit_torch::runtime;
use circuit_transcoder::TranscoderSet;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;
use tch::{Kind, Tensor};

/// A transcoder that leaves more than this unexplained, on average over layers, explains next to nothing.
const UNEXPLAINED_WARNING: f64 = 0.9;

pub(crate) fn run(mut args: AttributeArgs) -> Result<String, Failure> {
    let (mut plan, ahead) = Plan::new(&args)?;
    // From here on it does not matter who said it.
    args.model.ignored_positions = args.model.ignored_positions.or(plan.model.ignored_positions());
    let server = plan.server.take();
    let text = trace(&args, &plan, ahead)?;
    let Some(server) = server else { return Ok(text) };
    // The server may run for days: what is known is said before.
    let _ = std::io::stdout().write_all(text.as_bytes());
    serve::serve(server)?;
    Ok(String::new())
}

/// Everything but the server; what to tell.
fn trace(args: &AttributeArgs, plan: &Plan, mut ahead: Ahead) -> Result<String, Failure> {
    say_habits(args);
    if args.budget.products == ProductsArg::Bfloat16 {
        say(format_args!(
            "products are rounded to {}: effects are less exact than with wide products",
            args.budget.products.name()
        ));
    }
    let mut clock = Clock::new(args.json);

    let tokenizer = open::tokenizer(&plan.model.folder, args.model.first_token.as_ref())?;
    let prompt = open::prompt(&args.prompt, &tokenizer)?;
    let file_targets = args.targets.as_deref().map(targets_file::read).transpose()?;
    let mut budget = Budget::new(&mut ahead, request(args, plan, prompt.tokens.len())?)?;
    budget.note(&prompt.tokens);
    if args.dry_run {
        let raw = plan.raw.as_ref();
        return Ok(if args.json { format!("{}\n", budget.json(raw)) } else { budget.text(raw) });
    }
    if let Some(warning) = budget.check()? {
        say(format_args!("warning: {warning}"));
    }
    if let Some(raw) = &plan.raw {
        budget.check_disk(raw)?;
    }
    let planned = args.json.then(|| budget.json(plan.raw.as_ref()));
    ahead.fetch()?;
    budget.fetched(&plan.model.folder);
    clock.lap("plan and fetch");
    let model = Model::open(&plan.model.folder, plan.kind, plan.device)?;
    say_notices(model.notices());
    let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
    let set = TranscoderSet::open(&plan.transcoders, n_layers, d_model, model.wide_kind(), plan.device)?;
    say_notices(set.notices());
    clock.lap("open");

    let ignored = args.model.ignored_positions.unwrap_or(model.spec().ignored_positions);
    let (mut no_room, cuts) = (None, budget.cuts());
    let admit = |n_active: &[usize]| budget.counted(n_active).map_err(|failure| no_room = Some(failure)).ok();
    let replacement = LocalReplacement::new_in(&model, &set, &prompt.tokens, ignored, cuts, admit);
    let replacement = match (replacement, no_room) {
        (Err(_), Some(failure)) => return Err(failure),
        (replacement, _) => replacement?,
    };
    clock.lap("forward and encode");
    say_unexplained(&replacement, budget.allows_second_look())?;

    let choice = match (&args.target_ids, &args.target_strings, &file_targets) {
        (Some(ids), _, _) => targets_file::ids(ids),
        (_, Some(texts), _) => targets_file::strings(texts, &tokenizer)?,
        (_, _, Some(targets)) => targets.choice(&model, &tokenizer)?,
        _ => TargetChoice::Automatic {
            max_n_logits: args.max_n_logits,
            desired_logit_prob: args.desired_logit_prob,
        },
    };
    let targets = choice.resolve(&replacement)?;
    if let Some(raw) = &plan.raw {
        let n_active = replacement.active().len();
        raw.check_size(NodeLayout {
            n_features: config(args).n_selected(n_active),
            n_layers,
            n_pos: replacement.n_pos(),
            n_targets: targets.len(),
        })?;
    }
    clock.lap("targets");
    let bar = progress_bar();
    let found = attribute_within(&replacement, &targets, config(args), &budget.row_room(), |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
    });
    bar.finish_and_clear();
    let found = found?;
    clock.lap("rows");

    let unselected = found.unselected_influence;
    let graph = Graph {
        tokens: prompt.tokens,
        token_strings: prompt.token_strings,
        prompt: prompt.text,
        active: replacement.active().to_vec(),
        activations: numbers(&replacement.activations())?,
        selected: found.selected,
        targets: named(&targets, &tokenizer)?,
        rows: found.rows,
        model: model_info(
            &model_name(plan, set.info().model_name.as_deref()),
            plan.dtype,
            &model,
            &set,
            &tokenizer,
        ),
    };
    drop(replacement); // What the prompt left behind makes room for pruning.
    runtime::trim();
    graph.validate()?;
    let pruned = prune(&graph, plan.thresholds);
    clock.lap("prune");

    // Both are tried before a failure is told: one must not cost the other.
    let _stop = CleanStop::begin()?;
    let json = plan.json.as_ref().map(|(dir, slug)| {
        let neuronpedia = args.neuronpedia.then(|| Neuronpedia {
            generation_settings: GenerationSettings {
                max_n_logits: Some(args.max_n_logits as u64),
                desired_logit_prob: Some(args.desired_logit_prob),
                batch_size: Some(args.batch_size as u64),
                max_feature_nodes: args.max_feature_nodes.0.map(|n| n as u64),
            },
            edge_threshold: Some(plan.thresholds.edge()),
            ..Neuronpedia::default()
        });
        let options = GraphFileOptions {
            slug: slug.clone(),
            scan: None,
            transcoder_list: Vec::new(),
            node_threshold: Some(plan.thresholds.node()),
            view: plan.view.clone(),
            neuronpedia,
        };
        files::write_json(dir, &graph, (&pruned, plan.thresholds), &options)
    });
    let raw = plan.raw.as_ref().map(|raw| raw.write(&graph));
    let written: Vec<_> = [raw, json].into_iter().flatten().collect::<Result<_, _>>()?;
    clock.lap("write");
    clock.finish();

    let other_tools = tokenizer.first_token_note();
    let summary = Summary {
        graph: &graph,
        pruned: &pruned,
        unselected,
        other_tools: other_tools.as_ref().map(|note| note.message.as_str()),
        written: &written,
    };
    let Some(planned) = planned else { return Ok(summary.text()) };
    let mut value = summary.json();
    clock.lap("summary");
    let peak = runtime::process_memory().map(|memory| memory.peak);
    let device = runtime::device_memory(plan.device).ok().flatten().map(|memory| memory.peak);
    value["seconds"] = clock.laps.iter().map(|(lap, seconds)| ((*lap).to_owned(), json!(seconds))).collect();
    value["memory"] = json!({
        "planned": planned,
        "counted": budget.json(plan.raw.as_ref()),
        "measured": budget::measured(peak, &clock.held, device),
    });
    Ok(format!("{value}\n"))
}

fn config(args: &AttributeArgs) -> AttributeConfig {
    AttributeConfig {
        max_feature_nodes: args.max_feature_nodes.0,
        batch_size: args.batch_size,
        update_interval: args.update_interval,
    }
}

fn request(args: &AttributeArgs, plan: &Plan, n_pos: usize) -> Result<Request, Failure> {
    let given = args.target_ids.as_ref().map(Vec::len).or(args.target_strings.as_ref().map(Vec::len));
    Ok(Request {
        kind: plan.kind,
        device: plan.device,
        n_pos,
        ignored: args.model.ignored_positions,
        n_targets: given.unwrap_or(args.max_n_logits),
        config: config(args),
        memory: args.budget.memory,
        expected_active: args.budget.expected_active,
        products: args.budget.products.products(),
        spare: args.budget.spare.clone(),
        scratch: machine::scratch(args.budget.scratch_dir.as_deref())?,
    })
}

pub(crate) fn numbers(tensor: &Tensor) -> Result<Vec<f32>, Failure> {
    let numbers = Vec::<f32>::try_from(tensor.to_device(tch::Device::Cpu).to_kind(Kind::Float));
    numbers.map_err(|e: tch::TchError| Failure::new(Code::Device, e.to_string()))
}

/// Targets with their texts: a token's own, or the direction's name.
pub(crate) fn named(targets: &[ResolvedTarget], tokenizer: &Tokenizer) -> Result<Vec<Target>, Failure> {
    let name = |target: &ResolvedTarget| {
        let label = match &target.label {
            Some(label) => label.clone(),
            None => tokenizer.decode_token(target.token_id).map_err(Failure::text)?,
        };
        Ok(Target { label, token_id: target.token_id, weight: target.weight })
    };
    targets.iter().map(name).collect()
}

pub(crate) fn model_info(
    name: &str,
    dtype: &str,
    model: &Model,
    set: &TranscoderSet,
    tokenizer: &Tokenizer,
) -> ModelInfo {
    let (spec, info) = (model.spec(), set.info());
    let first = spec.layers.first();
    let attn = |get: fn(&circuit_model::spec::AttnSpec) -> usize| first.map_or(0, |l| get(&l.attn));
    ModelInfo {
        name: name.into(),
        architecture: spec.architecture.clone(),
        n_layers: spec.n_layers(),
        d_model: spec.d_model,
        d_head: attn(|a| a.d_head),
        n_heads: attn(|a| a.n_heads),
        n_key_value_heads: attn(|a| a.n_kv_heads),
        d_mlp: first.map_or(0, |l| l.mlp.d_mlp),
        d_vocab: spec.d_vocab,
        tokenizer_vocab: tokenizer.vocab_size(),
        dtype: dtype.into(),
        scan: info.scan.clone(),
        first_token: Some(match tokenizer.first_token() {
            // A token that cannot be decoded still has its id.
            Some(id) => FirstToken::Token { id, text: tokenizer.decode_token(id).unwrap_or_default() },
            None => FirstToken::Nothing,
        }),
    }
}

/// A model's name: as the set gives it, else as on the hub, else its folder's.
fn model_name(plan: &Plan, by_the_set: Option<&str>) -> String {
    let on_hub = || plan.model.name.as_ref().map(|name| name.repo.to_string());
    by_the_set.map(str::to_owned).or_else(on_hub).unwrap_or_else(|| plan::folder_name(&plan.model.folder))
}

/// What flags of the Python command line mean here.
fn say_habits(args: &AttributeArgs) {
    let given = [
        (args.backend.is_some(), "--backend: there is one engine"),
        (args.lazy_encoder, "--lazy-encoder: encoders are always read from the mapped files"),
        (
            args.lazy_decoder,
            "--lazy-decoder and --no-lazy-decoder: decoder rows are always read for active features alone",
        ),
        (
            args.offload.is_some(),
            "--offload: weights stay in the mapped files and encoders are streamed, there is nothing to move away",
        ),
        (args.verbose, "--verbose: progress and timings are always told"),
        (
            !args.server && (args.port.is_some() || !args.features_dirs.is_empty()),
            "--port and --features-dir: without --server nothing is served",
        ),
    ];
    for (_, meaning) in given.iter().filter(|(given, _)| *given) {
        say(format_args!("note: {meaning}"));
    }
}

/// The reconstruction error of each layer, and a warning where it shows that the wrong site is read.
fn say_unexplained(replacement: &LocalReplacement<'_>, look_again: bool) -> Result<(), Failure> {
    let shares = replacement.unexplained();
    let mut line = String::from("unexplained by layer:");
    for share in shares {
        let _ = write!(line, " {share:.3}");
    }
    say(line);
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    if mean <= UNEXPLAINED_WARNING {
        return Ok(());
    }
    let reads = replacement.transcoders().info().reads;
    let better = if look_again { Some(replacement.best_input_site()?) } else { None };
    let better = better.filter(|best| best.site != reads && best.unexplained < best.now / 2.0);
    if let Some(BestSite { site, unexplained, now }) = better {
        say(format_args!(
            "warning: the set says that it reads {reads}, but leaves {mean:.2} of the MLP outputs unexplained; on a few positions \
             of the first layers it leaves {now:.2}, and reading {site} would leave {unexplained:.2}: feature_input_hook in its \
             config.yaml is probably wrong"
        ));
    } else {
        say(format_args!(
            "warning: the transcoders leave {mean:.2} of the MLP outputs unexplained on this prompt: are they made for this \
             model and this site ({reads})?"
        ));
    }
    Ok(())
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("rows {bar:40} {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

/// Times of the phases, told at the end together with the peak of memory.
struct Clock {
    start: Instant,
    last: Instant,
    laps: Vec<(&'static str, f64)>,
    /// Only where what it sees is told.
    watch: Option<Watch>,
    held: Vec<(&'static str, Held)>,
}

impl Clock {
    fn new(watch: bool) -> Self {
        let now = Instant::now();
        Self { start: now, last: now, laps: Vec::new(), watch: watch.then(Watch::start), held: Vec::new() }
    }

    fn lap(&mut self, name: &'static str) {
        self.laps.push((name, self.last.elapsed().as_secs_f64()));
        self.held.extend(self.watch.as_ref().map(|watch| (name, watch.take())));
        self.last = Instant::now();
    }

    fn finish(&self) {
        let laps: Vec<_> = self.laps.iter().map(|(name, seconds)| format!("{name} {seconds:.2} s")).collect();
        let total = self.start.elapsed().as_secs_f64();
        let peak =
            runtime::process_memory().map(|m| format!(", peak memory {:.0} MiB", m.peak as f64 / 1048576.0));
        say(format_args!("{}; {total:.2} s in all{}", laps.join(", "), peak.unwrap_or_default()));
    }
}
