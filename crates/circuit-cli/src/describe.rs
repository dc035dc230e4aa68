//! `describe`: a model folder, a transcoder folder, or a graph file, on one page.

use crate::args::DescribeArgs;
use crate::failure::{Code, Failure};
use crate::files;
use circuit_format::read_graph_json;
use circuit_index::Site;
use circuit_model::Model;
use circuit_model::spec::{ExpertsSpec, Gate, LayerSpec, ModelSpec, NormPlaces, Reach};
use circuit_transcoder::{SetDescription, TranscoderSet};
use std::fmt::Write;
use std::path::Path;

pub(crate) fn run(args: DescribeArgs) -> Result<String, Failure> {
    let path = &args.path;
    // Some sets have a config.json too, about their training.
    if TranscoderSet::is_in(path) {
        return transcoders(path);
    }
    if path.join("config.json").is_file() {
        return Ok(model(&Model::describe(path)?));
    }
    if path.is_dir() {
        return transcoders(path)
            .map_err(|failure| failure.hint("a model's folder would have a config.json"));
    }
    if !path.exists() {
        return Err(Failure::new(Code::Input, format!("{}: no such file or folder", path.display())));
    }
    graph(path)
}

fn model(spec: &ModelSpec) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:18} {value}");
    };
    line("architecture", spec.architecture.clone());
    line("d_model", spec.d_model.to_string());
    line("d_vocab", spec.d_vocab.to_string());
    line("n_ctx", spec.n_ctx.to_string());
    line("n_layers", spec.n_layers().to_string());
    line("ignored positions", spec.ignored_positions.to_string());
    let scale = spec.embed.scale.map_or_else(|| "as it is".into(), |s| format!("times {s:.4}"));
    line(
        "embedding",
        format!("{scale}{}", if spec.embed.learned_positions { ", learned positions" } else { "" }),
    );
    line("last norm", format!("{:?}", spec.final_norm));
    let cap = spec.unembed.soft_cap.map_or_else(String::new, |c| format!(", soft cap {c}"));
    line("unembedding", format!("{}{cap}", if spec.unembed.tied { "tied" } else { "its own" }));
    // Layers that are alike are told once.
    let mut first = 0;
    while first < spec.n_layers() {
        let same = spec.layers[first..].iter().take_while(|l| **l == spec.layers[first]).count();
        line(&format!("layers {first}..{}", first + same - 1), layer(&spec.layers[first]));
        first += same;
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

fn layer(layer: &LayerSpec) -> String {
    let (attn, mlp) = (&layer.attn, &layer.mlp);
    let reach = match attn.reach {
        Reach::Global => "global".into(),
        Reach::Window(n) => format!("window {n}"),
    };
    let mut text = format!(
        "attention {reach}, {} heads of {} on {} key-value heads, scale {:.5}",
        attn.n_heads, attn.d_head, attn.n_kv_heads, attn.scale
    );
    if let Some(cap) = attn.soft_cap {
        let _ = write!(text, ", soft cap {cap}");
    }
    if attn.qk_norm.is_some() {
        text += ", q/k norms";
    }
    if let Some(rope) = &attn.rope {
        let _ = write!(text, ", rope {} {:?}", rope.theta, rope.scaling);
    }
    for (has, what) in
        [(attn.qkv_bias, ", qkv bias"), (attn.out_bias, ", output bias"), (attn.sinks, ", sinks")]
    {
        text += if has { what } else { "" };
    }
    let gate = match mlp.gate {
        Gate::None => String::new(),
        Gate::Linear => "gated ".into(),
        Gate::Clamped { limit } => format!("gated (clamped to {limit}) "),
    };
    let bias = if mlp.bias { ", bias" } else { "" };
    let _ = write!(text, "; mlp {gate}{:?} of {}{bias}", mlp.act, mlp.d_mlp);
    if let Some(ExpertsSpec { n_experts, n_chosen }) = mlp.experts {
        let _ = write!(text, ", {n_chosen} of {n_experts} experts");
    }
    let norms = match layer.norms {
        NormPlaces::Pre { .. } => "before",
        NormPlaces::PrePost { .. } => "before and after",
    };
    let _ = write!(
        text,
        "; norms {norms}: {:?} eps {:e} gain {:?}",
        layer.norms.attn().kind,
        layer.norms.attn().eps,
        layer.norms.attn().gain
    );
    text
}

fn transcoders(path: &Path) -> Result<String, Failure> {
    let SetDescription { info, cross_layer, layout, layers } = TranscoderSet::describe(path)?;
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
    let graph = files::read_raw(path)?;
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
