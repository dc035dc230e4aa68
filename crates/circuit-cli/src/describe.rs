//! `describe`: a model folder, a transcoder folder, or a graph file, on one page.

use crate::args::DescribeArgs;
use crate::failure::{Code, Failure};
use crate::files;
use crate::hub::{self, Finder, Need, Place};
use crate::say::say_notices;
use circuit_format::read_graph_json;
use circuit_index::Site;
use circuit_model::spec::{
    Act, AttnSpec, ExpertsSpec, Gain, Gate, LayerSpec, MlpSpec, ModelSpec, NormKind, NormPlaces, NormSpec,
    Reach, RopeScaling,
};
use circuit_model::{IgnoredPositions, KnownAs};
use circuit_transcoder::{SetDescription, SetFolder, TranscoderSet};
use std::fmt::Write;
use std::path::Path;

pub(crate) fn run(args: DescribeArgs) -> Result<String, Failure> {
    let name = match hub::place(&args.path, "file or")? {
        Place::Local(path) => return local(&path, &args),
        // A mistyped file is no reason to ask anybody.
        Place::Hub(_) if is_graph_file(&args.path) => {
            return Err(Failure::new(Code::Input, format!("{}: no such file", args.path)));
        }
        Place::Hub(name) => name,
    };
    let finder = Finder::new(args.offline).strict(args.strict_config);
    if !hub::is_set_on_hub(&finder, &name)? {
        // Its config is all that is needed.
        let found = finder.model_part(&args.path, Need::Config)?;
        return Ok(model(finder.config(&found.folder)?.spec(), found.ignored()));
    }
    transcoders(&finder.cached_set(&args.path)?.folder)
}

fn is_graph_file(path: &str) -> bool {
    [".json", ".safetensors", ".pt"].iter().any(|ending| path.ends_with(ending))
}

fn local(path: &Path, args: &DescribeArgs) -> Result<String, Failure> {
    // Some sets have a config.json too, about their training.
    if TranscoderSet::is_in(path) {
        return transcoders(&Finder::new(args.offline).cached_set(&args.path)?.folder);
    }
    if path.join("config.json").is_file() {
        let known = KnownAs { hub: None, folder: path, set: None };
        let finder = Finder::new(args.offline).strict(args.strict_config);
        return Ok(model(finder.config(path)?.spec(), known.ignored_positions()));
    }
    if path.is_dir() {
        return transcoders(&path.into())
            .map_err(|failure| failure.hint("a model's folder would have a config.json"));
    }
    graph(path)
}

fn model(spec: &ModelSpec, ignored: Option<IgnoredPositions>) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:18} {value}");
    };
    line("architecture", spec.architecture.clone());
    line("d_model", spec.d_model.to_string());
    line("d_vocab", spec.d_vocab.to_string());
    line("n_ctx", spec.n_ctx.to_string());
    line("n_layers", spec.n_layers().to_string());
    let ignored = ignored.map(|ignored| format!("{}, by {}", ignored.count, ignored.because));
    line("ignored positions", ignored.unwrap_or_else(|| spec.ignored_positions.to_string()));
    let scale = spec.embed.scale.map_or_else(|| "as it is".into(), |s| format!("times {s:.4}"));
    line(
        "embedding",
        format!("{scale}{}", if spec.embed.learned_positions { ", learned positions" } else { "" }),
    );
    line("last norm", norm(spec.final_norm));
    let cap = spec.unembed.soft_cap.map_or_else(String::new, |c| format!(", soft cap {c}"));
    line("unembedding", format!("{}{cap}", if spec.unembed.tied { "tied" } else { "its own" }));
    // Layers that are alike are told once.
    let mut kinds: Vec<(&LayerSpec, Vec<String>)> = Vec::new();
    for (l, layer) in spec.layers.iter().enumerate() {
        match kinds.iter_mut().find(|(kind, _)| *kind == layer) {
            Some((_, at)) => at.push(l.to_string()),
            None => kinds.push((layer, vec![l.to_string()])),
        }
    }
    for (kind, at) in kinds {
        line("layers", at.join(" "));
        line("  attention", attention(&kind.attn));
        line("  mlp", mlp(&kind.mlp));
        line("  norms", norms(&kind.norms));
    }
    let _ = writeln!(text, "hooks");
    for site in spec.sites() {
        // Those of the first block stand for all.
        if !matches!(site, Site::Block(l, _) if l.get() > 0) {
            let _ = writeln!(text, "  {}", site.to_string().replace("blocks.0.", "blocks.N."));
        }
    }
    text
}

fn attention(attn: &AttnSpec) -> String {
    let reach = match attn.reach {
        Reach::Global => "global".into(),
        Reach::Window(n) => format!("window of {n} tokens"),
    };
    let mut text = format!(
        "{reach}, {} heads of {} on {} key-value heads, scale {:.5}",
        attn.n_heads, attn.d_head, attn.n_kv_heads, attn.scale
    );
    if let Some(cap) = attn.soft_cap {
        let _ = write!(text, ", soft cap {cap}");
    }
    if attn.qk_norm.is_some() {
        text += ", q/k norms";
    }
    if let Some(rope) = &attn.rope {
        let _ = write!(text, ", rotary with base {}{}", rope.theta, stretch(rope.scaling));
    }
    let more = [
        (attn.qkv_bias, ", q/k/v biases"),
        (attn.out_bias, ", output bias"),
        (attn.sinks, ", a sink per head"),
    ];
    for (has, what) in more {
        text += if has { what } else { "" };
    }
    text
}

fn mlp(mlp: &MlpSpec) -> String {
    let gate = match mlp.gate {
        Gate::None => String::new(),
        Gate::Linear => "gated ".into(),
        Gate::Clamped { limit } => format!("gated, clamped to {limit}, "),
    };
    let bias = if mlp.bias { ", biases" } else { "" };
    let experts = mlp.experts.map_or_else(String::new, |ExpertsSpec { n_experts, n_chosen }| {
        format!(", {n_chosen} of {n_experts} experts")
    });
    format!("{gate}{} of {}{bias}{experts}", act(mlp.act), mlp.d_mlp)
}

fn norms(places: &NormPlaces) -> String {
    let at = match places {
        NormPlaces::Pre { .. } => "before each",
        NormPlaces::PrePost { .. } => "before and after each",
    };
    format!("{at}: {}", norm(places.attn()))
}

fn norm(norm: NormSpec) -> String {
    let kind = match norm.kind {
        NormKind::Rms => "RMS",
        NormKind::Layer => "LayerNorm",
    };
    let gain = match norm.gain {
        Gain::Plain => "",
        Gain::OnePlus => ", gain 1 + w",
    };
    format!("{kind}, eps {:e}{gain}", norm.eps)
}

fn act(act: Act) -> &'static str {
    match act {
        Act::Silu => "SiLU",
        Act::GeluTanh => "GELU (tanh)",
        Act::Gelu => "GELU",
        Act::Relu => "ReLU",
        Act::QuickGelu => "x · sigmoid(1.702 x)",
    }
}

fn stretch(scaling: RopeScaling) -> String {
    match scaling {
        RopeScaling::None => String::new(),
        RopeScaling::Linear { factor } => format!(", stretched by {factor}"),
        RopeScaling::Llama3 { factor, original_max_position_embeddings: original, .. } => {
            format!(", low frequencies stretched by {factor} beyond {original} tokens")
        }
        RopeScaling::Yarn { factor, original_max_position_embeddings: original, .. } => {
            format!(", YaRN by {factor} beyond {original} tokens")
        }
    }
}

fn transcoders(folder: &SetFolder) -> Result<String, Failure> {
    let SetDescription { info, cross_layer, layout, layers, notices } = TranscoderSet::describe(folder)?;
    say_notices(&notices);
    let kind = if cross_layer { "cross-layer" } else { "per layer" };
    let mut text = format!(
        "transcoder set     {kind}, {} layers\nlayout             {layout}\nscan               {}\nmodel              {}\nreads              {}\nwrites             {}\n",
        layers.len(),
        info.scan,
        info.model_name.as_deref().unwrap_or("not named"),
        info.reads,
        info.writes
    );
    for (l, tensors) in layers.iter().enumerate() {
        let tensors: Vec<_> = tensors.iter().map(|(name, shape)| format!("{name} {shape:?}")).collect();
        let _ = writeln!(text, "layer {l:<12} {}", tensors.join(", "));
    }
    Ok(text)
}

fn graph(path: &Path) -> Result<String, Failure> {
    if path.extension().is_some_and(|e| e == "json") {
        let file = read_graph_json(path).map_err(Failure::reading)?.file;
        return Ok(format!(
            "pruned graph       {}\nscan               {}\nprompt             {:?}\nnodes              {}\nlinks              {}\n",
            file.metadata.slug,
            file.metadata.scan,
            file.metadata.prompt,
            file.nodes.len(),
            file.links.len()
        ));
    }
    let graph = files::read_raw(path)?.graph;
    let layout = graph.layout();
    Ok(format!(
        "raw graph          {}\nscan               {}\nprompt             {:?}\ntokens             {}\nlayers             {}\nactive features    {}\nselected features  {}\ntargets            {}\nrows               {} x {}\n",
        graph.model.name,
        graph.model.scan,
        graph.prompt,
        layout.n_pos,
        layout.n_layers,
        graph.active.len(),
        layout.n_features,
        layout.n_targets,
        layout.n_rows(),
        layout.n_sources()
    ))
}
