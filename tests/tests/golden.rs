//! Golden cases: every value of the reference on tiny models of each family, from files to rows.

use circuit_attribution::{AttributeConfig, Attribution, Direction, TargetChoice, attribute};
use circuit_graph::{Graph, ModelInfo, Target, Thresholds, prune, scores};
use circuit_index::{Layer, LayerSite, Site, TokenId};
use circuit_model::tokenizer::Tokenizer;
use circuit_model::{Hooks, Model, TokenBatch};
use circuit_replacement::LocalReplacement;
use circuit_tests::{CASES, Expected, SCORE, TRAINED, Tolerance, assert_close, fixture};
use circuit_transcoder::TranscoderSet;
use std::path::Path;
use tch::{Device, Kind, Tensor};

fn open(folder: &Path, kind: Kind) -> (Model, TranscoderSet) {
    open_with(folder, "transcoders", kind)
}

fn open_with(folder: &Path, set: &str, kind: Kind) -> (Model, TranscoderSet) {
    let model = Model::open(&folder.join("model"), kind, Device::Cpu).unwrap();
    let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
    let wide = model.wide_kind();
    let set = TranscoderSet::open(&folder.join(set), n_layers, d_model, wide, Device::Cpu).unwrap();
    (model, set)
}

fn tokens(expected: &Expected) -> Vec<TokenId> {
    expected.indices("input_ids").into_iter().map(TokenId::from).collect()
}

fn automatic(expected: &Expected) -> TargetChoice {
    TargetChoice::Automatic {
        max_n_logits: expected.count("/attribute_args/max_n_logits"),
        desired_logit_prob: expected.number("/attribute_args/desired_logit_prob"),
    }
}

const ALL: AttributeConfig = AttributeConfig { max_feature_nodes: None, batch_size: 64, update_interval: 4 };

/// The limits of a case's `limited_args`.
fn limited(expected: &Expected) -> AttributeConfig {
    AttributeConfig {
        max_feature_nodes: Some(expected.count("/limited_args/max_feature_nodes")),
        batch_size: expected.count("/limited_args/batch_size"),
        update_interval: expected.count("/limited_args/update_interval"),
    }
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.to_kind(Kind::Float).flatten(0, -1)).unwrap()
}

fn check_selected(found: &Attribution, expected: &Expected, name: &str) {
    let selected: Vec<_> = found.selected.iter().map(|i| i.get()).collect();
    assert_eq!(selected, expected.indices(name), "{name}");
}

fn check_rows(found: &Attribution, expected: &Expected, name: &str) {
    let (shape, rows) = expected.f32(name);
    assert_eq!([found.rows.n_rows(), found.rows.n_columns()], *shape, "{name}");
    assert_close(name, found.rows.as_slice(), &rows, Tolerance::Rows(shape[1]));
}

/// The graph of a replacement, with made-up words: pruning and scores need only numbers.
fn graph(replacement: &LocalReplacement<'_>, choice: &TargetChoice, attribution: Attribution) -> Graph {
    let targets = choice.resolve(replacement).unwrap();
    let spec = replacement.model().spec();
    Graph {
        prompt: String::new(),
        tokens: replacement.tokens().to_vec(),
        token_strings: vec![String::new(); replacement.n_pos()],
        active: replacement.active().to_vec(),
        activations: numbers(&replacement.activations()),
        selected: attribution.selected,
        targets: targets
            .iter()
            .map(|t| Target { label: String::new(), token_id: t.token_id, weight: t.weight })
            .collect(),
        rows: attribution.rows,
        model: ModelInfo {
            name: String::new(),
            architecture: spec.architecture.clone(),
            n_layers: spec.n_layers(),
            d_model: spec.d_model,
            d_head: spec.layers[0].attn.d_head,
            n_heads: spec.layers[0].attn.n_heads,
            n_key_value_heads: spec.layers[0].attn.n_kv_heads,
            d_mlp: spec.layers[0].mlp.d_mlp,
            d_vocab: spec.d_vocab,
            tokenizer_vocab: spec.d_vocab,
            dtype: "float32".into(),
            scan: String::new(),
            first_token: None,
        },
    }
}

/// Cumulative shares, where nodes of equal influence (to fp32) may stand in either order: the seeds of the tiny cases were
/// chosen so that there are none, the trained model's has two.
fn check_ranked(influence: &[f64], found: &[f64], wanted: &[f32]) {
    let sorted = |values: Vec<f64>| {
        let mut values = values;
        values.sort_by(f64::total_cmp);
        values
    };
    let wanted: Vec<f64> = wanted.iter().map(|&x| f64::from(x)).collect();
    assert_close("cumulative shares", &sorted(found.to_vec()), &sorted(wanted.clone()), SCORE);
    for node in (0..found.len()).filter(|&n| (found[n] - wanted[n]).abs() > 1e-5) {
        let tie = |other: usize| other != node && (influence[other] / influence[node] - 1.0).abs() < 1e-6;
        assert!((0..found.len()).any(tie), "node {node} stands elsewhere without a tie");
    }
}

fn forward_and_sites(case: &str) {
    let expected = Expected::of(case);
    let (model, set) = open(&fixture(case), Kind::Float);
    let tokens = TokenBatch::new(&tokens(&expected), &model).unwrap();
    let n_layers = model.spec().n_layers();
    let at = |site| move |l: usize| Site::Block(Layer::from(l), site);
    let layers = |site| (0..n_layers).map(at(site)).collect::<Vec<_>>();
    let info = set.info();
    let wanted = [LayerSite::ResidPre, LayerSite::Pattern, info.reads, info.writes];
    let mut hooks =
        Hooks::new().record(wanted.into_iter().flat_map(layers)).record([Site::UnembedIn, Site::Embed]);
    let logits = model.forward(&tokens, &mut hooks).unwrap();
    let values = hooks.finish().unwrap();
    let close = |name: &str, sites: Vec<Site>| {
        let found = sites.iter().flat_map(|site| numbers(&values[site])).collect::<Vec<_>>();
        assert_close(&format!("{case} {name}"), &found, &expected.f32(name).1, Tolerance::Tensor);
    };
    assert_close(&format!("{case} logits"), &numbers(&logits), &expected.f32("logits").1, Tolerance::Tensor);
    close("feature_input", layers(info.reads));
    close("feature_output", layers(info.writes));
    close("attention_patterns", layers(LayerSite::Pattern));
    close("token_vectors", vec![Site::Embed]);
    let mut stream = layers(LayerSite::ResidPre);
    stream.push(Site::UnembedIn);
    close("hidden_states", stream);
}

fn graph_of(case: &str, set: &str) {
    let expected = Expected::of(case);
    let (model, set) = open_with(&fixture(case), set, Kind::Float);
    let ignored = if case == TRAINED { 1 } else { expected.count("/zero_positions/1") };
    // That a checkpoint is instruction-tuned stands in its name alone, so there the user says it.
    if !case.contains("-it-") {
        assert_eq!(ignored, model.spec().ignored_positions, "{case}");
    }
    let replacement = LocalReplacement::new(&model, &set, &tokens(&expected), ignored).unwrap();
    assert_eq!(replacement.active(), expected.active_features(), "{case}");
    let activations = numbers(&replacement.activations());
    assert_close(case, &activations, &expected.f32("activation_values").1, Tolerance::Tensor);
    if expected.has("error_vectors") {
        let errors: Vec<f32> =
            (0..model.spec().n_layers()).flat_map(|l| numbers(replacement.errors(Layer::from(l)))).collect();
        assert_close(&format!("{case} errors"), &errors, &expected.f32("error_vectors").1, Tolerance::Tensor);
    }

    let choice = if case == TRAINED {
        TargetChoice::Automatic { max_n_logits: 10, desired_logit_prob: 0.95 }
    } else {
        automatic(&expected)
    };
    let targets = choice.resolve(&replacement).unwrap();
    let ids: Vec<_> = targets.iter().map(|t| t.token_id.get()).collect();
    assert_eq!(ids, expected.indices("logit_token_ids"), "{case}");
    let weights: Vec<f32> = targets.iter().map(|t| t.weight).collect();
    assert_close(case, &weights, &expected.f32("logit_probabilities").1, SCORE);
    if expected.has("logit_vectors") {
        let vectors: Vec<f32> = targets.iter().flat_map(|t| numbers(&t.direction)).collect();
        assert_close(case, &vectors, &expected.f32("logit_vectors").1, Tolerance::Tensor);
    }

    let all = attribute(&replacement, &targets, ALL, |_| {}).unwrap();
    check_selected(&all, &expected, "selected_features");
    check_rows(&all, &expected, "rows");
    assert_eq!(all.unselected_influence, 0.0, "{case}");
    if expected.has("limited.rows") {
        let few = attribute(&replacement, &targets, limited(&expected), |_| {}).unwrap();
        check_selected(&few, &expected, "limited.selected_features");
        check_rows(&few, &expected, "limited.rows");
        assert!((0.0..1.0).contains(&few.unselected_influence), "{case}");
    }

    let graph = graph(&replacement, &choice, all);
    graph.validate().unwrap();
    let found = scores(&graph);
    if case != TRAINED {
        assert_close(case, &[found.replacement.unwrap()], &[expected.number("/replacement_score")], SCORE);
        assert_close(case, &[found.completeness.unwrap()], &[expected.number("/completeness_score")], SCORE);
    }
    for i in 0..2 {
        let name = |what: &str| format!("prune{i}.{what}");
        if !expected.has(&name("kept_nodes")) {
            continue;
        }
        let (node, edge) = match case {
            TRAINED => (0.8, 0.98),
            _ => {
                let at = |what: &str| expected.number(&format!("/prune/{i}/{what}"));
                (at("node_threshold"), at("edge_threshold"))
            }
        };
        let pruned = prune(&graph, Thresholds::new(node, edge).unwrap());
        let kept: Vec<_> = pruned.nodes().map(|n| n.get()).collect();
        assert_eq!(kept, expected.indices(&name("kept_nodes")), "{case} prune{i}");
        if expected.has(&name("kept_edges")) {
            let edges: Vec<_> = pruned.edges(&graph).flat_map(|e| [e.target.get(), e.source.get()]).collect();
            assert_eq!(edges, expected.indices(&name("kept_edges")), "{case} prune{i}");
        }
        let (found, wanted) = (pruned.cumulative(), expected.f32(&name("cumulative_scores")).1);
        if case == TRAINED {
            check_ranked(pruned.influence(), found, &wanted);
        } else {
            assert_close(case, found, &wanted, SCORE);
        }
    }
}

#[test]
fn forward_pass_and_sites_are_the_reference_s() {
    CASES.iter().for_each(|case| forward_and_sites(case));
}

#[test]
fn graphs_are_the_reference_s() {
    CASES.iter().for_each(|case| graph_of(case, "transcoders"));
}

#[test]
fn the_graph_of_a_trained_model_is_the_reference_s() {
    graph_of(TRAINED, "transcoders");
}

#[test]
fn the_graph_of_an_npz_set_is_the_reference_s() {
    graph_of("gemma2-plt-jumprelu", "transcoders_npz");
}

#[test]
fn targets_can_be_ids_strings_and_directions() {
    let case = "llama-plt-relu";
    let expected = Expected::of(case);
    let (model, set) = open(&fixture(case), Kind::Float);
    let tokenizer = Tokenizer::open(&fixture(case).join("model")).unwrap();
    let replacement = LocalReplacement::new(&model, &set, &tokens(&expected), 1).unwrap();
    let given = |way: &str| expected.at(&format!("/custom_targets/{way}/given")).as_array().unwrap().clone();
    let ids = given("token_ids").iter().map(|id| TokenId(id.as_u64().unwrap() as u32)).collect();
    let strings = given("strings");
    let strings =
        strings.iter().map(|text| tokenizer.single_token(text.as_str().unwrap()).unwrap()).collect();
    let columns = |list: &serde_json::Value| {
        let rows = list.as_array().unwrap().iter().map(|id| model.W_U().get(id.as_i64().unwrap()));
        rows.fold(Tensor::zeros([model.spec().d_model as i64], (Kind::Float, Device::Cpu)), |sum, row| {
            sum + row
        })
    };
    let directions = given("custom").into_iter().map(|d| Direction {
        label: d["label"].as_str().unwrap().into(),
        weight: d["weight"].as_f64().unwrap(),
        vector: (columns(&d["plus"]) - columns(&d["minus"])) * d["scale"].as_f64().unwrap(),
    });
    let directions = directions.collect();
    let ways = [
        ("token_ids", TargetChoice::Tokens(ids)),
        ("strings", TargetChoice::Tokens(strings)),
        ("custom", TargetChoice::Directions(directions)),
    ];
    for (way, choice) in ways {
        let name = |what: &str| format!("targets.{way}.{what}");
        let targets = choice.resolve(&replacement).unwrap();
        let ids: Vec<_> = targets.iter().map(|t| t.token_id.get()).collect();
        assert_eq!(ids, expected.indices(&name("logit_token_ids")), "{way}");
        let weights: Vec<f32> = targets.iter().map(|t| t.weight).collect();
        assert_close(way, &weights, &expected.f32(&name("logit_probabilities")).1, SCORE);
        let few = attribute(&replacement, &targets, limited(&expected), |_| {}).unwrap();
        check_selected(&few, &expected, &name("limited.selected_features"));
        let all = attribute(&replacement, &targets, ALL, |_| {}).unwrap();
        // The reference keeps the columns of sources and, as zeros, those of features' targets are not among them.
        let (shape, rows) = expected.f32(&name("logit_rows"));
        let n = all.rows.n_columns();
        let found = all.rows.as_slice()[(all.rows.n_rows() - targets.len()) * n..].to_vec();
        let rows: Vec<f32> = rows.chunks(shape[1]).flat_map(|row| row[..n].to_vec()).collect();
        assert_close(way, &found, &rows, Tolerance::Rows(n));
        let graph = graph(&replacement, &choice, all);
        let found = scores(&graph);
        let at = |what: &str| [expected.number(&format!("/custom_targets/{way}/{what}"))];
        assert_close(way, &[found.replacement.unwrap()], &at("replacement_score"), SCORE);
        assert_close(way, &[found.completeness.unwrap()], &at("completeness_score"), SCORE);
    }
}

#[test]
fn two_runs_are_equal_bit_by_bit() {
    let run = || {
        let (model, set) = open(&fixture(TRAINED), Kind::Float);
        let replacement = LocalReplacement::new(&model, &set, &tokens(&Expected::of(TRAINED)), 1).unwrap();
        let choice = TargetChoice::Automatic { max_n_logits: 10, desired_logit_prob: 0.95 };
        let targets = choice.resolve(&replacement).unwrap();
        let config = AttributeConfig { max_feature_nodes: Some(100), batch_size: 16, update_interval: 1 };
        let found = attribute(&replacement, &targets, config, |_| {}).unwrap();
        (found.selected, found.rows.as_slice().iter().map(|x| x.to_bits()).collect::<Vec<_>>())
    };
    assert_eq!(run(), run());
}

#[test]
fn bf16_agrees_with_fp32_on_a_trained_model() {
    let run = |kind| {
        let (model, set) = open(&fixture(TRAINED), kind);
        let replacement = LocalReplacement::new(&model, &set, &tokens(&Expected::of(TRAINED)), 1).unwrap();
        let choice = TargetChoice::Automatic { max_n_logits: 10, desired_logit_prob: 0.95 };
        let targets = choice.resolve(&replacement).unwrap();
        let found = attribute(&replacement, &targets, ALL, |_| {}).unwrap();
        (targets[0].token_id, replacement.active().to_vec(), found)
    };
    let ((top, active, rows), (top16, active16, rows16)) = (run(Kind::Float), run(Kind::BFloat16));
    assert_eq!(top, top16);
    let common: Vec<_> = active.iter().filter(|f| active16.contains(f)).copied().collect();
    let jaccard = common.len() as f64 / (active.len() + active16.len() - common.len()) as f64;
    assert!(jaccard >= 0.95, "Jaccard of active features {jaccard}");
    // Entries of common features by common features, then errors and tokens; the first target's row last.
    let entries = |active: &[circuit_index::FeatureId], found: &Attribution| {
        let place = |f| active.iter().position(|a| a == f).unwrap();
        let columns: Vec<_> = common.iter().map(place).chain(active.len()..found.rows.n_columns()).collect();
        let rows: Vec<_> = common.iter().map(place).chain([active.len()]).collect();
        rows.iter()
            .flat_map(|&r| columns.iter().map(move |&c| f64::from(found.rows.row(r)[c])))
            .collect::<Vec<_>>()
    };
    let (a, b) = (entries(&active, &rows), entries(&active16, &rows16));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
    assert!(cosine >= 0.995, "cosine of common rows {cosine}");
}
