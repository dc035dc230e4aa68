//! What a graph predicts where nothing holds its features. In f64 on random models of every family: in the local replacement model, where
//! features respond and nothing else does, a small change of any source moves exactly what total effects say; and removing a feature
//! from the model is setting it to 0. On a trained model: that the prediction is better than a direct effect, and what `verify` reports.

use crate::cli::text;
use crate::interventions::{command, difference, folders};
use crate::linearity::all_reads;
use crate::random::recipes;
use circuit_attribution::{PullBack, Read};
use circuit_graph::{Agreement, Graph, ModelInfo, Pair, Reach, Rows, Target, total_effects};
use circuit_index::{ActiveIndex, FeatureId, Node, NodeIndex, NodeLayout, Site, TokenId};
use circuit_intervention::{
    Change, Edit, Freeze, Hold, Interventions, Positions, Request, Source, effects, removals,
};
use circuit_model::{Model, ModelError, TokenBatch, Visitor};
use circuit_replacement::{FrozenPass, LocalReplacement};
use circuit_tests::{CASES, Expected, TRAINED, fixture};
use circuit_transcoder::TranscoderSet;
use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

/// A change that moves no random feature over its threshold, and is far above rounding of f64.
const SMALL: f64 = 1e-4;

/// The graph of a replacement model from rows in f64: targets' first, as [`all_reads`] has them. What no algorithm looks at is made up.
fn graph(replacement: &LocalReplacement<'_>, reads: &[Read], rows: &Tensor) -> Graph {
    let (n_pos, n_layers) = (replacement.n_pos(), replacement.model().spec().n_layers());
    let active = replacement.active().to_vec();
    let n_targets = reads.len() - active.len();
    let layout = NodeLayout { n_features: active.len(), n_layers, n_pos, n_targets };
    let order = replacement.order();
    let columns: Vec<i64> = (0..layout.n_sources())
        .map(|column| match layout.node(column.into()).unwrap() {
            Node::Feature(i) => order.feature(active[i].layer, active[i].pos, i) as i64,
            Node::Error(layer, pos) => order.error(layer, pos) as i64,
            Node::Token(pos) => order.token(pos) as i64,
            Node::Target(_) => unreachable!("no column"),
        })
        .collect();
    let targets_last: Vec<i64> = (n_targets..reads.len()).chain(0..n_targets).map(|r| r as i64).collect();
    let rows = rows
        .index_select(0, &Tensor::from_slice(&targets_last))
        .index_select(1, &Tensor::from_slice(&columns));
    let numbers = |t: &Tensor| Vec::<f32>::try_from(t.to_kind(Kind::Float).contiguous().view(-1)).unwrap();
    let target = |i| Target { label: format!("x{i}"), token_id: TokenId(0), weight: 1.0 };
    let graph = Graph {
        prompt: String::new(),
        tokens: vec![TokenId(0); n_pos],
        token_strings: vec![String::new(); n_pos],
        activations: numbers(&replacement.activations()),
        selected: (0..active.len()).map(ActiveIndex::from).collect(),
        active,
        targets: (0..n_targets).map(target).collect(),
        rows: Rows::new(layout.n_sources(), numbers(&rows)).unwrap(),
        model: ModelInfo {
            name: "random".into(),
            architecture: "random".into(),
            n_layers,
            d_model: replacement.model().spec().d_model,
            d_head: 1,
            n_heads: 1,
            n_key_value_heads: 1,
            d_mlp: 1,
            d_vocab: replacement.model().spec().d_vocab,
            tokenizer_vocab: 1,
            dtype: "float64".into(),
            scan: "random".into(),
            first_token: None,
        },
    };
    graph.validate().unwrap();
    graph
}

/// The local replacement model: inside a frozen pass, features respond to what they read, and write. One source writes a little more.
struct Responding<'a> {
    replacement: &'a LocalReplacement<'a>,
    source: Source,
    /// How many times more it writes.
    amount: f64,
    /// What is still to be added at each layer's output, `[pos, d_model]`.
    pending: Vec<Tensor>,
    /// What each layer's encoders read, `[pos, d_model]`, and at last what the unembedding does.
    reads: Vec<Tensor>,
}

impl<'a> Responding<'a> {
    fn new(replacement: &'a LocalReplacement<'a>, source: Source, amount: f64) -> Self {
        let shape = [replacement.n_pos() as i64, replacement.model().spec().d_model as i64];
        let nothing = || Tensor::zeros(shape, (Kind::Double, Device::Cpu));
        let pending = (0..replacement.model().spec().n_layers()).map(|_| nothing()).collect::<Vec<_>>();
        if let Source::Error(layer, pos) = source {
            let pos = pos.get() as i64;
            pending[layer.get()].get(pos).copy_(&(replacement.errors(layer).get(pos) * amount));
        }
        Self { replacement, source, amount, pending, reads: Vec::new() }
    }
}

impl Visitor for Responding<'_> {
    fn visit(&mut self, site: Site, value: Tensor) -> Result<Tensor, ModelError> {
        let (set, trace) = (self.replacement.transcoders(), self.replacement.trace());
        match (site, self.source) {
            (Site::Embed, Source::Token(pos)) => {
                let more = trace.token_vectors.get(pos.get() as i64) * self.amount;
                let moved = value.copy();
                moved.get(0).get(pos.get() as i64).copy_(&(value.get(0).get(pos.get() as i64) + more));
                return Ok(moved);
            }
            (Site::UnembedIn, _) => self.reads.push(value.get(0)),
            (Site::Block(layer, part), source) if part == set.info().reads => {
                let (layer, transcoder) = (layer.get(), &set.layers()[layer.get()]);
                let activations = |input: &Tensor| {
                    let found = transcoder.activate(&transcoder.pre_activations(input));
                    let _ = found.narrow(0, 0, self.replacement.ignored() as i64).zero_();
                    found
                };
                let before = activations(&trace.layers[layer].feature_input);
                let more = activations(&value.get(0)) - &before;
                if let Source::Feature(i) = source
                    && self.replacement.active()[i.get()].layer.get() == layer
                {
                    let feature = self.replacement.active()[i.get()];
                    let place = [i64::from(feature.pos.0), i64::from(feature.index.0)];
                    let mut own = more.get(place[0]).get(place[1]);
                    own.copy_(&(&own + before.get(place[0]).get(place[1]) * self.amount));
                }
                let all = Tensor::arange(transcoder.n_features() as i64, (Kind::Int64, Device::Cpu));
                let decoder = transcoder.decoder_rows(&all); // [feature, output, d_model]
                for j in 0..transcoder.n_outputs() {
                    if let Some(pending) = self.pending.get_mut(layer + j) {
                        *pending = &*pending + more.matmul(&decoder.select(1, j as i64));
                    }
                }
                self.reads.push(value.get(0));
            }
            (Site::Block(layer, part), _) if part == set.info().writes => {
                return Ok(value + &self.pending[layer.get()]);
            }
            _ => {}
        }
        Ok(value)
    }

    fn needs(&self) -> Vec<Site> {
        vec![Site::UnembedIn]
    }
}

/// What each row reads in the local replacement model where a source writes a little more, and whether other features are active then.
fn responding_reads(
    replacement: &LocalReplacement<'_>,
    reads: &[Read],
    source: Source,
    amount: f64,
) -> (Tensor, bool) {
    let (model, set) = (replacement.model(), replacement.transcoders());
    let tokens = TokenBatch::new(replacement.tokens(), model).unwrap();
    let mut pass = FrozenPass::new(replacement.trace(), set, Responding::new(replacement, source, amount));
    let _logits = model.forward(&tokens, &mut pass).unwrap();
    let values = pass.into_inner().reads;
    let read = |read: &Read| match read {
        Read::Direction(w) => values[values.len() - 1].get(-1).dot(w),
        Read::Feature(i) => {
            let f = replacement.active()[i.get()];
            let row = set.layers()[f.layer.get()].encoder_rows(&Tensor::from_slice(&[i64::from(f.index.0)]));
            values[f.layer.get()].get(i64::from(f.pos.0)).dot(&row.get(0))
        }
        Read::Stream(..) => unreachable!("no graph has such a row"),
    };
    let switched = set.layers().iter().enumerate().any(|(l, transcoder)| {
        let active = |x: &Tensor| transcoder.activate(&transcoder.pre_activations(x)).ne(0.0);
        active(&values[l]) != active(&replacement.trace().layers[l].feature_input)
    });
    (Tensor::stack(&reads.iter().map(read).collect::<Vec<_>>(), 0), switched)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    /// The sum over all paths, by a dense solution in f64 and by the graph's own substitution over its rows in f32.
    #[test]
    fn total_effects_are_the_local_replacement_model(recipe in recipes(), which in any::<prop::sample::Index>()) {
        let made = recipe.make();
        let replacement = LocalReplacement::new(&made.model, &made.set, &made.tokens, made.ignored).unwrap();
        let reads = all_reads(&replacement);
        let rows = PullBack::new(&replacement).unwrap().dense_rows(&reads).unwrap(); // [read, source]
        let graph = graph(&replacement, &reads, &rows);
        let (layout, order, n_active) = (graph.layout(), replacement.order(), graph.active.len());
        let node = NodeIndex::from(which.index(layout.n_sources()));
        let (source, place) = match layout.node(node).unwrap() {
            Node::Feature(i) => (Source::Feature(i.into()), order.feature(graph.active[i].layer, graph.active[i].pos, i)),
            Node::Error(layer, pos) => (Source::Error(layer, pos), order.error(layer, pos)),
            Node::Token(pos) => (Source::Token(pos), order.token(pos)),
            Node::Target(_) => unreachable!("no source"),
        };

        let (still, _) = responding_reads(&replacement, &reads, source, 0.0);
        let (moved, switched) = responding_reads(&replacement, &reads, source, SMALL);
        prop_assume!(!switched);
        let measured = (moved - still) / SMALL;

        // (1 - A / a) x = A[.., s], targets first.
        let n_targets = (reads.len() - n_active) as i64;
        let columns: Vec<i64> = graph.active.iter().enumerate().map(|(i, f)| order.feature(f.layer, f.pos, i) as i64).collect();
        let per_unit = rows.index_select(1, &Tensor::from_slice(&columns)) / replacement.activations();
        let matrix = Tensor::eye(reads.len() as i64, (Kind::Double, Device::Cpu));
        let mut of_features = matrix.narrow(1, n_targets, n_active as i64);
        let _ = of_features.subtract_(&per_unit);
        let direct = rows.select(1, place as i64);
        let dense = matrix.inverse().mv(&direct);
        prop_assert!(difference(&measured, &dense) < 1e-9, "{}", difference(&measured, &dense));

        // The graph's numbers are rounded to 24 bits.
        let found = Tensor::from_slice(&total_effects(&graph, &[node])[0]);
        let found = Tensor::cat(&[found.narrow(0, n_active as i64, n_targets), found.narrow(0, 0, n_active as i64)], 0);
        prop_assert!(difference(&found, &dense) < 1e-5, "{}", difference(&found, &dense));
    }

    /// Whatever is held, and whatever else is removed in the same pass.
    #[test]
    fn removing_a_feature_is_setting_it_to_0(recipe in recipes(), patterns in any::<bool>()) {
        let made = recipe.make();
        let replacement = LocalReplacement::new(&made.model, &made.set, &made.tokens, made.ignored).unwrap();
        let active = replacement.active();
        let sources: Vec<_> = (0..active.len()).map(|i| Source::Feature(i.into())).collect();
        let (hold, freeze) = if patterns { (Hold::Patterns, Freeze::Attention) } else { (Hold::Nothing, Freeze::Nothing) };
        let removed = removals(&replacement, &sources, hold).unwrap();
        let interventions = Interventions::new(&made.model, &made.set, made.ignored).unwrap();
        let request = |edits| Request { tokens: made.tokens.clone(), edits };
        let edit = |f: &FeatureId| Edit {
            layer: f.layer, feature: f.index, positions: Positions::At(f.pos), change: Change::Set(0.0),
        };
        let requests: Vec<_> = std::iter::once(request(vec![])).chain(active.iter().map(|f| request(vec![edit(f)]))).collect();
        let outcomes = interventions.run(&requests, &freeze).unwrap();
        let reads = |nth: usize| {
            let of = |f: &FeatureId| {
                let pre = outcomes[nth].activations(f.layer, false).unwrap();
                pre.double_value(&[i64::from(f.pos.0), i64::from(f.index.0)])
            };
            Tensor::from_slice(&active.iter().map(of).collect::<Vec<_>>())
        };
        let demeaned = |nth: usize| {
            let last = outcomes[nth].logits.get(-1);
            &last - last.mean(Kind::Double)
        };
        for nth in 0..active.len() {
            let off = difference(&removed.features.get(nth as i64), &(reads(nth + 1) - reads(0)));
            prop_assert!(off < 1e-9, "features: {off}");
            if made.model.spec().unembed.soft_cap.is_none() {
                let off = difference(&removed.logits.get(nth as i64), &(demeaned(nth + 1) - demeaned(0)));
                prop_assert!(off < 1e-9, "logits: {off}");
            }
        }
    }
}

#[test]
fn what_is_not_there_cannot_be_removed() {
    let model = Model::open(&fixture(CASES[0]).join("model"), Kind::Float, Device::Cpu).unwrap();
    let spec = model.spec();
    let folder = fixture(CASES[0]).join("transcoders");
    let set = TranscoderSet::open(&folder, spec.n_layers(), spec.d_model, Kind::Float, Device::Cpu).unwrap();
    let tokens: Vec<_> = Expected::of(CASES[0]).indices("input_ids").into_iter().map(TokenId::from).collect();
    let replacement = LocalReplacement::new(&model, &set, &tokens, 1).unwrap();
    let error = removals(&replacement, &[Source::Feature(99_999.into())], Hold::Nothing).unwrap_err();
    assert!(error.to_string().contains("99999"), "{error}");
    let none = removals(&replacement, &[], Hold::Nothing).unwrap();
    assert_eq!((none.features.size()[0], none.logits.size()[0]), (0, 0));
    // Patterns that are held make a difference; with everything held it is the frozen effect, turned round.
    let some: Vec<_> = (0..40).map(|i| Source::Feature(i.into())).collect();
    let held = removals(&replacement, &some, Hold::Patterns).unwrap();
    let free = removals(&replacement, &some, Hold::Nothing).unwrap();
    let frozen = effects(&replacement, &some).unwrap();
    assert!(difference(&held.features, &free.features) > 1e-4);
    assert!(difference(&held.features, &-frozen.features) > 1e-4);
}

/// A guard against a fall, no claim of quality. Two and more layers above, with every fourth feature removed, Pearson's correlation was
/// 0.745 when this was written, and 0.641 for direct effects; of ranks direct effects had the better one (0.503 against 0.464).
#[test]
fn total_effects_predict_a_trained_model_better_than_direct_ones() {
    let folder = fixture(TRAINED);
    let model = Model::open(&folder.join("model"), Kind::Float, Device::Cpu).unwrap();
    let spec = model.spec();
    let set = TranscoderSet::open(
        &folder.join("transcoders"),
        spec.n_layers(),
        spec.d_model,
        Kind::Float,
        Device::Cpu,
    )
    .unwrap();
    let tokens: Vec<_> = Expected::of(TRAINED).indices("input_ids").into_iter().map(TokenId::from).collect();
    let replacement = LocalReplacement::new(&model, &set, &tokens, 1).unwrap();
    let reads = all_reads(&replacement);
    let rows = PullBack::new(&replacement).unwrap().dense_rows(&reads).unwrap();
    let graph = graph(&replacement, &reads, &rows);
    let nodes: Vec<_> = (0..graph.active.len()).step_by(4).map(NodeIndex::from).collect();
    let sources: Vec<_> = nodes.iter().map(|node| Source::Feature(node.get().into())).collect();
    let measured = removals(&replacement, &sources, Hold::Nothing).unwrap().features;
    let totals = total_effects(&graph, &nodes);
    let (mut total, mut direct) = (Vec::new(), Vec::new());
    for (nth, node) in nodes.iter().enumerate() {
        let from = graph.active[node.get()];
        for (row, to) in graph.active.iter().enumerate() {
            if to.layer.get() < from.layer.get() + 2 || to.pos < from.pos {
                continue;
            }
            let pair = |effect: f64| Pair {
                reach: Reach::Layers(to.layer.get() - from.layer.get()),
                predicted: -effect,
                measured: measured.double_value(&[nth as i64, row as i64]),
                rounding: 1e-4,
            };
            total.push(pair(totals[nth][row]));
            direct.push(pair(f64::from(graph.rows.row(row)[node.get()])));
        }
    }
    let (total, direct) = (Agreement::of(&total), Agreement::of(&direct));
    assert!(total.pearson > Some(0.6) && total.pearson > direct.pearson, "{total:?}, direct {direct:?}");
    assert!(total.same_sign > Some(0.6), "{total:?}");
}

const DALLAS: &str = "fact : the capital of the state containing Dallas is";

/// The trained model's graph in a folder, and words to open its model and set.
fn trained_graph(folder: &std::path::Path, more: &[&str]) -> (String, Vec<String>) {
    let path = folder.join("graph.safetensors").to_str().unwrap().to_owned();
    let folders = folders(&fixture(TRAINED));
    let made = command(&[&["attribute", "-p", DALLAS, "-o", &path], more].concat(), &folders);
    assert!(made.status.success(), "{}", text(&made.stderr));
    (path, folders)
}

#[test]
fn verify_tells_how_well_the_graph_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let (graph, folders) = trained_graph(folder.path(), &[]);
    let plot = folder.path().join("plot.svg");
    let told = command(&["verify", &graph, "--plot", plot.to_str().unwrap()], &folders);
    assert!(told.status.success(), "{}", text(&told.stderr));
    // Figures are a matter of the last bits of a measurement here and there.
    let told = text(&told.stdout);
    let (_, table) = told.split_once("pass\n\n").unwrap();
    let masked: String = table.lines().map(masked).collect();
    assert_snapshot!(masked, @r"
    20 features removed from the model, one by one, nothing held
    predicted: the graph's total effects, over all paths through its ### features (### are active)

      layers above      pairs  Pearson  Spearman  same sign   slope
      1                  ####    #.###     #.###     ##.# %   #.###
      2                   ###    #.###     #.###     ##.# %   #.###
      3                   ###    #.###     #.###     ##.# %   #.###
      all features       ####    #.###     #.###     ##.# %   #.###
      targets              ##    #.###     #.###     ##.# %   #.###

    Effects on features are changes of pre-activation, those on targets of logits less their mean. ## pairs are left out,
    whose effects, predicted and measured, are below rounding: #.#### of the largest edge of their row, at least of #.
    ");

    let json = command(&["verify", &graph, "--json"], &folders);
    let report: Value = serde_json::from_str(&text(&json.stdout)).unwrap();
    let unfrozen = &report["unfrozen"];
    assert_eq!((&unfrozen["removed"], &unfrozen["held"]), (&20.into(), &"nothing".into()));
    let count = |of: &Value, what: &str| of[what].as_u64().unwrap() as usize;
    let groups = unfrozen["by_distance"].as_array().unwrap();
    let layers: Vec<_> = groups.iter().map(|group| group["layers"].to_string()).collect();
    assert_eq!(layers, ["[1,1]", "[2,2]", "[3,3]"]);
    for what in ["pairs", "left_out"] {
        let sum: usize = groups.iter().map(|group| count(group, what)).sum();
        assert_eq!(sum, count(&unfrozen["features"], what));
    }
    assert!(count(&unfrozen["features"], "pairs") > 1000);

    // One point for each pair, each distance and target in its table.
    let svg = std::fs::read_to_string(&plot).unwrap();
    let svg = roxmltree::Document::parse(&svg).unwrap();
    assert_eq!(svg.root_element().tag_name().name(), "svg");
    let points = |class: &str, name: &str| {
        let groups = svg.descendants().filter(|n| n.attribute("class") == Some(class));
        groups.flat_map(|g| g.children().filter(|n| n.tag_name().name() == name)).count()
    };
    assert_eq!(points("points", "circle"), count(&unfrozen["features"], "pairs"));
    assert_eq!(points("target", "path"), count(&unfrozen["targets"], "pairs") + 1);
    let words: Vec<_> = svg.descendants().filter_map(|n| n.text()).map(str::trim).collect();
    for word in ["layers above", "all features", "targets", "measured in the model"] {
        assert!(words.contains(&word), "{word}: {words:?}");
    }
}

/// A line with its figures masked, but for the distance at its head.
fn masked(line: &str) -> String {
    let mut out = String::new();
    for (at, c) in line.char_indices() {
        out.push(if at > 8 && c.is_ascii_digit() { '#' } else { c });
    }
    out + "\n"
}

#[test]
fn verify_of_a_part_says_what_it_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let (graph, folders) = trained_graph(folder.path(), &["--max-feature-nodes", "60"]);
    let verify = |more: &[&str]| command(&[&["verify", &graph], more].concat(), &folders);
    let told = verify(&["--freeze-attention"]);
    let told = text(&told.stdout);
    assert!(told.contains("attention patterns held"), "{told}");
    assert!(told.contains("over all paths through its 60 features (556 are active)"), "{told}");
    let frozen = verify(&["--frozen-only", "--json"]);
    let frozen: Value = serde_json::from_str(&text(&frozen.stdout)).unwrap();
    assert!(frozen["pass"] == true && frozen["unfrozen"].is_null(), "{frozen}");
    // Tokens and errors are not removed.
    let errors = verify(&["--nodes", "0_-1_1"]);
    assert!(errors.status.success() && !text(&errors.stdout).contains("removed"), "{}", text(&errors.stdout));

    let plot = folder.path().join("plot.svg");
    let plot = plot.to_str().unwrap();
    for (more, says) in [
        (&["--nodes", "0_-1_1", "--plot", plot][..], "nothing to plot"),
        (&["--plot", "plot.png"], "plots are written as .svg"),
        (&["--plot", plot, "--frozen-only"], "cannot be used with"),
        (&["--plot", "/dev/null/plot.svg"], "plot.svg"),
    ] {
        let refused = verify(more);
        assert!(
            !refused.status.success() && text(&refused.stderr).contains(says),
            "{}",
            text(&refused.stderr)
        );
    }
    assert!(!std::path::Path::new(plot).exists());
}
