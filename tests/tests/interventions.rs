//! Interventions: the reference's, entry by entry; and, in f64 on random models of every family, that an edit under full freezing is the
//! graph's column, and that rows of a batch do not see each other.

use crate::cli::{run, text};
use crate::linearity::all_reads;
use crate::random::recipes;
use circuit_attribution::{PullBack, Read};
use circuit_index::{FeatureIndex, Layer, Pos, TokenId};
use circuit_intervention::{
    Change, Edit, Freeze, GenerateConfig, InterventionError, Interventions, Outcome, Positions, Request,
    Source, effects,
};
use circuit_model::{Model, Sampling};
use circuit_replacement::LocalReplacement;
use circuit_tests::{CASES, Expected, TRAINED, Tolerance, assert_close, demo, fixture};
use circuit_transcoder::TranscoderSet;
use proptest::prelude::*;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

pub(crate) fn opened(case: &str, kind: Kind) -> (Model, TranscoderSet) {
    let model = Model::open(&fixture(case).join("model"), kind, Device::Cpu).unwrap();
    let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
    let folder = fixture(case).join("transcoders");
    let set = TranscoderSet::open(&folder, n_layers, d_model, model.wide_kind(), Device::Cpu).unwrap();
    (model, set)
}

pub(crate) fn ignored(case: &str) -> usize {
    Expected::of(case).count("/zero_positions/1")
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// The edits of an entry of `interventions.json`.
pub(crate) fn edits(entry: &Value) -> Vec<Edit> {
    let edit = |edit: &Value| {
        let positions = match &edit["pos"]["slice"] {
            Value::Null => Positions::At(Pos::from(number(&edit["pos"]))),
            slice => Positions::Slice(
                Pos::from(number(&slice[0])),
                slice[1].as_u64().map(|end| Pos::from(end as usize)),
            ),
        };
        Edit {
            layer: Layer::from(number(&edit["layer"])),
            feature: FeatureIndex::from(number(&edit["feature"])),
            positions,
            change: Change::Set(edit["value"].as_f64().unwrap()),
        }
    };
    entry["interventions"].as_array().unwrap().iter().map(edit).collect()
}

pub(crate) fn freeze(entry: &Value) -> Freeze {
    match entry["constrained_layers"].as_array() {
        Some(layers) => Freeze::Layers(number(&layers[0])..number(&layers[layers.len() - 1]) + 1),
        None if entry["freeze_attention"].as_bool().unwrap() => Freeze::Attention,
        None => Freeze::Nothing,
    }
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.to_kind(Kind::Float).contiguous().view(-1)).unwrap()
}

/// Logits and activations are those of an entry.
fn check_outcome(case: &str, entry: &Value, reference: &Expected, outcome: &Outcome<'_>) {
    let name = entry["name"].as_str().unwrap();
    let (_, logits) = reference.f32(&format!("{name}.logits"));
    assert_close(&format!("{case}: {name}: logits"), &floats(&outcome.logits), &logits, Tolerance::Tensor);
    let (_, activations) = reference.dense(&format!("{name}.activations"));
    let applied = entry["apply_activation_function"].as_bool().unwrap();
    let layers =
        (0..outcome.n_layers()).map(|l| outcome.activations(Layer::from(l), applied).unwrap().view(-1));
    let found = floats(&Tensor::cat(&layers.collect::<Vec<_>>(), 0));
    assert_close(&format!("{case}: {name}: activations"), &found, &activations, Tolerance::Tensor);
}

#[test]
fn interventions_are_the_reference_s() {
    for case in CASES {
        let (expected, reference) = (Expected::of(case), Expected::interventions(case));
        let tokens: Vec<_> = expected.indices("input_ids").into_iter().map(TokenId::from).collect();
        let (model, set) = opened(case, Kind::Float);
        let interventions = Interventions::new(&model, &set, ignored(case)).unwrap();
        let mut seen = 0;
        for entry in reference.json.as_array().unwrap() {
            if entry["call"] != "feature_intervention" {
                continue;
            }
            let request = Request { tokens: tokens.clone(), edits: edits(entry) };
            let outcome = interventions.run(&[request], &freeze(entry)).unwrap().remove(0);
            check_outcome(case, entry, &reference, &outcome);
            seen += 1;
        }
        assert!(seen >= 4, "{case}: only {seen} entries");
    }
}

#[test]
fn generation_is_the_reference_s() {
    for case in CASES {
        let (expected, reference) = (Expected::of(case), Expected::interventions(case));
        let tokens: Vec<_> = expected.indices("input_ids").into_iter().map(TokenId::from).collect();
        let (model, set) = opened(case, Kind::Float);
        let interventions = Interventions::new(&model, &set, ignored(case)).unwrap();
        let mut seen = 0;
        for entry in reference.json.as_array().unwrap() {
            let Some(max_new_tokens) = entry["max_new_tokens"].as_u64() else { continue };
            let name = entry["name"].as_str().unwrap();
            let request = Request { tokens: tokens.clone(), edits: edits(entry) };
            let stop = if reference_stops(case) { vec![end(case)] } else { Vec::new() };
            let config =
                GenerateConfig { max_new_tokens: max_new_tokens as usize, sampling: Sampling::GREEDY, stop };
            let mut streamed = Vec::new();
            let found = interventions
                .generate(&request, &freeze(entry), &config, |token| {
                    streamed.push(token);
                    true
                })
                .unwrap();
            let written: Vec<_> = found.tokens.iter().map(|t| t.get()).collect();
            let wanted: Vec<_> = entry["tokens"].as_array().unwrap().iter().map(number).collect();
            assert_eq!(written, wanted, "{case}: {name}");
            assert_eq!(streamed, found.tokens[found.n_prompt..], "{case}: {name}");
            check_outcome(case, entry, &reference, &found.outcome);
            seen += 1;
        }
        assert!(seen >= 1, "{case}: no entry");
    }
}

/// The cases of one of the reference's back ends stop at the end of a sequence, those of the other run on.
fn reference_stops(case: &str) -> bool {
    case.starts_with("gemma3") || case.starts_with("gpt_oss")
}

/// The token that ends a sequence.
fn end(case: &str) -> TokenId {
    let text = std::fs::read_to_string(fixture(case).join("model/generation_config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    TokenId::from(number(&config["eos_token_id"]))
}

/// Largest difference, of the larger of 1 and the largest expected number.
pub(crate) fn difference(found: &Tensor, expected: &Tensor) -> f64 {
    if expected.numel() == 0 {
        return 0.0;
    }
    (found - expected).abs().max().double_value(&[]) / expected.abs().max().double_value(&[]).max(1.0)
}

fn same(found: &Outcome<'_>, expected: &Outcome<'_>, n_layers: usize) -> f64 {
    let of = |o: &Outcome<'_>, l: usize| o.activations(Layer::from(l), false).unwrap();
    let activations = (0..n_layers).map(|l| difference(&of(found, l), &of(expected, l)));
    activations.fold(difference(&found.logits, &expected.logits), f64::max)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    /// Setting an active feature from a to a' with every layer held moves every feature's pre-activation by (a' - a) / a times the
    /// graph's column; and effects measured by additions are the same columns.
    #[test]
    fn an_edit_with_everything_held_is_a_column(recipe in recipes(), factor in -2.0..3.0_f64, which in any::<prop::sample::Index>()) {
        let made = recipe.make();
        let replacement = LocalReplacement::new(&made.model, &made.set, &made.tokens, made.ignored).unwrap();
        prop_assume!(!replacement.active().is_empty());
        let nth = which.index(replacement.active().len());
        let feature = replacement.active()[nth];
        let n_layers = made.model.spec().n_layers();
        let reads = all_reads(&replacement);
        let rows = PullBack::new(&replacement).unwrap().dense_rows(&reads).unwrap(); // [read, source]
        let column = rows.select(1, replacement.order().feature(feature.layer, feature.pos, nth) as i64);

        let measured = effects(&replacement, &[Source::Feature(nth.into())]).unwrap();
        let on_features = reads.iter().position(|read| matches!(read, Read::Feature(_))).unwrap() as i64;
        let of_features = column.narrow(0, on_features, replacement.active().len() as i64);
        prop_assert!(difference(&measured.features.get(0), &of_features) < 1e-9);

        let interventions = Interventions::new(&made.model, &made.set, made.ignored).unwrap();
        let edit = Edit { layer: feature.layer, feature: feature.index, positions: Positions::At(feature.pos), change: Change::Scale(factor) };
        let freeze = Freeze::Layers(0..n_layers);
        let request = |edits| Request { tokens: made.tokens.clone(), edits };
        let outcomes = interventions.run(&[request(vec![]), request(vec![edit])], &freeze).unwrap();
        let moved = replacement.active().iter().map(|f| {
            let at = |o: &Outcome<'_>| {
                let pre = o.activations(f.layer, false).unwrap();
                pre.double_value(&[i64::from(f.pos.0), i64::from(f.index.0)])
            };
            at(&outcomes[1]) - at(&outcomes[0])
        });
        let moved = Tensor::from_slice(&moved.collect::<Vec<_>>());
        let expected = of_features * (factor - 1.0);
        prop_assert!(difference(&moved, &expected) < 1e-9, "{}", difference(&moved, &expected));
    }

    /// Whatever stands in the other rows, a row is what it is alone: other prompts, longer ones, other edits.
    #[test]
    fn rows_do_not_see_each_other(recipe in recipes(), values in prop::collection::vec(-3.0..3.0_f64, 3), how in 0..4_usize) {
        let made = recipe.make();
        let n_layers = made.model.spec().n_layers();
        let interventions = Interventions::new(&made.model, &made.set, made.ignored).unwrap();
        let freeze = match how {
            0 => Freeze::Nothing,
            1 => Freeze::Attention,
            2 => Freeze::Layers(0..n_layers),
            _ => Freeze::Layers(n_layers - 1..n_layers),
        };
        let edit = |pos: usize, change| Edit {
            layer: Layer::from(n_layers / 2), feature: FeatureIndex::from(0), positions: Positions::At(Pos::from(pos)), change,
        };
        let last = made.tokens.len() - 1;
        let requests = [
            Request { tokens: made.tokens.clone(), edits: vec![edit(last, Change::Set(values[0]))] },
            Request { tokens: made.tokens[..1].to_vec(), edits: vec![edit(0, Change::Add(values[1]))] },
            Request { tokens: made.tokens.iter().rev().copied().collect(), edits: vec![edit(last, Change::Scale(values[2]))] },
            Request { tokens: made.tokens.clone(), edits: vec![] },
        ];
        let together = interventions.run(&requests, &freeze).unwrap();
        for (request, found) in requests.iter().zip(&together) {
            let alone = interventions.run(std::slice::from_ref(request), &freeze).unwrap().remove(0);
            let off = same(found, &alone, n_layers);
            prop_assert!(off < 1e-9, "{off}");
        }
        // Without edits nothing happens, whatever is held.
        let plain = interventions.run(&requests[3..], &Freeze::Nothing).unwrap().remove(0);
        prop_assert!(same(&together[3], &plain, n_layers) < 1e-9);
    }
}

#[test]
fn changes_say_the_same_in_other_words() {
    let case = CASES[0];
    let (model, set) = opened(case, Kind::Double);
    let expected = Expected::of(case);
    let tokens: Vec<_> = expected.indices("input_ids").into_iter().map(TokenId::from).collect();
    let interventions = Interventions::new(&model, &set, 1).unwrap();
    let plain = interventions
        .run(&[Request { tokens: tokens.clone(), edits: vec![] }], &Freeze::Nothing)
        .unwrap()
        .remove(0);
    let feature = expected.active_features()[5];
    let active = plain.activations(feature.layer, true).unwrap();
    let activation = active.double_value(&[i64::from(feature.pos.0), i64::from(feature.index.0)]);
    assert!(activation > 0.0);
    let run = |change, freeze: &Freeze| {
        let edit = Edit {
            layer: feature.layer,
            feature: feature.index,
            positions: Positions::At(feature.pos),
            change,
        };
        interventions.run(&[Request { tokens: tokens.clone(), edits: vec![edit] }], freeze).unwrap().remove(0)
    };
    for freeze in
        [Freeze::Nothing, Freeze::Attention, Freeze::Layers(0..4), Freeze::Layers(feature.layer.get()..4)]
    {
        let set = run(Change::Set(1.5 * activation), &freeze);
        assert!(difference(&set.logits, &plain.logits) > 1e-4, "{freeze:?}: the edit does nothing");
        for same in [Change::Scale(1.5), Change::Add(0.5 * activation)] {
            let off = difference(&run(same, &freeze).logits, &set.logits);
            assert!(off < 1e-9, "{freeze:?}, {same:?}: {off}");
        }
    }
    let outside = run(Change::Set(0.0), &Freeze::Layers(feature.layer.get() + 1..4));
    assert_eq!(outside.outside, [0], "an edit outside the held layers is reported");
    assert!(difference(&outside.logits, &plain.logits) < 1e-12, "and writes nothing");
    let error = plain.activations(Layer(9), true).unwrap_err().to_string();
    assert_eq!(error, "there is no layer 9: the transcoders have 4");
}

#[test]
fn impossible_edits_are_errors() {
    let (model, set) = opened(CASES[0], Kind::Float);
    let interventions = Interventions::new(&model, &set, 1).unwrap();
    let tokens: Vec<_> = Expected::of(CASES[0]).indices("input_ids").into_iter().map(TokenId::from).collect();
    let edit = |layer: usize, feature: usize, positions, change| Edit {
        layer: Layer::from(layer),
        feature: FeatureIndex::from(feature),
        positions,
        change,
    };
    let at = |pos: usize| Positions::At(Pos::from(pos));
    let slice = |start: usize, end: usize| Positions::Slice(Pos::from(start), Some(Pos::from(end)));
    let refused = |edits: Vec<Edit>, freeze: &Freeze| -> InterventionError {
        interventions.run(&[Request { tokens: tokens.clone(), edits }], freeze).unwrap_err()
    };
    let set_one = Change::Set(1.0);
    let free = &Freeze::Nothing;
    for (edits, says) in [
        (vec![edit(9, 0, at(1), set_one)], "there is no layer 9: the transcoders have 4"),
        (vec![edit(0, 5000, at(1), set_one)], "layer 0 has no feature 5000: it has 112"),
        (vec![edit(0, 0, at(99), set_one)], "there is no position 99: the prompt has 13 tokens"),
        (vec![edit(0, 0, slice(2, 14), set_one)], "there is no position 13: the prompt has 13 tokens"),
        (vec![edit(0, 0, slice(4, 4), set_one)], "the slice from 4 to before 4 has no position"),
        (
            vec![edit(0, 0, at(1), Change::Set(f64::NAN))],
            "feature 0 of layer 0: NaN is not within the range of float32",
        ),
        (vec![edit(0, 0, at(1), Change::Add(1e300))], "is not within the range of float32"),
        (
            vec![edit(0, 0, at(1), set_one), edit(0, 0, slice(0, 3), set_one)],
            "feature 0 of layer 0 is edited twice at position 1",
        ),
    ] {
        let error = refused(edits, free).to_string();
        assert!(error.contains(says), "{error}");
    }
    let layers = refused(vec![], &Freeze::Layers(2..9)).to_string();
    assert_eq!(layers, "layers 2 to 8 cannot be held: the model has 4");
    assert!(matches!(interventions.run(&[], free), Err(InterventionError::NoRequest)));
}

/// Arguments for the model and set in a folder.
pub(crate) fn folders(root: &std::path::Path) -> Vec<String> {
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    vec!["-m".into(), path("model"), "-t".into(), path("transcoders")]
}

pub(crate) fn command(words: &[&str], folders: &[String]) -> std::process::Output {
    run(&words.iter().copied().chain(folders.iter().map(String::as_str)).collect::<Vec<_>>())
}

const DALLAS: &str = "fact : the capital of the state containing Dallas is";

#[test]
fn verify_passes_on_true_graphs_and_fails_where_one_entry_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let graph = folder.path().join("graph.safetensors");
    for case in CASES.iter().copied().chain([TRAINED]) {
        let root = fixture(case);
        let (expected, ids) = (Expected::of(case), Expected::of(case).indices("input_ids"));
        let ids = ids.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let ignored =
            if case == TRAINED { "1".into() } else { expected.count("/zero_positions/1").to_string() };
        let folders = [folders(&root), vec!["--ignored-positions".into(), ignored]].concat();
        let path = graph.to_str().unwrap();
        let made = command(&["attribute", "--prompt-ids", &ids, "-o", path, "--json"], &folders);
        assert!(made.status.success(), "{case}: {}", text(&made.stderr));
        let passed = command(&["verify", path, "--all", "--json"], &folders);
        let report: Value = serde_json::from_str(&text(&passed.stdout)).unwrap();
        assert!(passed.status.success() && report["pass"] == true, "{case}: {report}");
        assert!(report["nodes"].as_array().unwrap().len() > 50, "{case}");
        // Every feature was removed too; how well the graph predicted that neither passes nor fails.
        let n_features = expected.active_features().len();
        assert_eq!(report["unfrozen"]["removed"], n_features, "{case}");
        if case != CASES[0] {
            continue;
        }
        // One entry of one row, by ten times what is allowed.
        let mut bytes = std::fs::read(&graph).unwrap();
        let last = bytes.len() - 4;
        let value = f32::from_le_bytes(bytes[last..].try_into().unwrap());
        bytes[last..].copy_from_slice(&(value + 0.01).to_le_bytes());
        std::fs::write(&graph, bytes).unwrap();
        let failed = command(&["verify", path, "--all"], &folders);
        assert_eq!(failed.status.code(), Some(1), "{}", text(&failed.stdout));
        assert!(
            text(&failed.stdout).contains("FAIL") && text(&failed.stderr).contains("1 of "),
            "{}",
            text(&failed.stderr)
        );
        let sampled = command(&["verify", path, "--nodes", "0_-1_1"], &folders);
        assert!(sampled.status.success(), "another node is as it was: {}", text(&sampled.stdout));
    }
}

#[test]
fn intervene_tells_before_and_after_and_writes_what_the_reference_has() {
    let folder = tempfile::tempdir().unwrap();
    let trained_folders = folders(&fixture(TRAINED));
    let words = [
        "intervene",
        "-p",
        DALLAS,
        "--ablate",
        "0_369@9",
        "--scale",
        "0_388@-2=0",
        "--watch",
        "2_494@-1",
        "--json",
    ];
    let output = command(&words, &trained_folders);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    let watched = &told["features"][0];
    assert!(watched["before"].as_f64().unwrap() > watched["after"].as_f64().unwrap() + 0.5, "{told}");
    let plain = command(&["intervene", "-p", DALLAS, "--set", "0_0@1:3=1.5"], &trained_folders);
    assert!(text(&plain.stdout).contains("0_0@1:3 set to 1.5"), "{}", text(&plain.stdout));
    let groups = [
        "intervene",
        "-p",
        DALLAS,
        "--graph",
        demo().join("view.json").to_str().unwrap(),
        "--ablate-group",
        "nowhere",
    ]
    .map(str::to_owned);
    let groups = command(&groups.iter().map(String::as_str).collect::<Vec<_>>(), &trained_folders);
    assert!(
        groups.status.code() == Some(2) && text(&groups.stderr).contains("there are: "),
        "{}",
        text(&groups.stderr)
    );

    // The reference's own file.
    let case = CASES[0];
    let reference = Expected::interventions(case);
    let entries: Vec<_> = reference.json.as_array().unwrap().clone();
    let file = folder.path().join("edits.json");
    std::fs::write(&file, Value::Array(entries.clone()).to_string()).unwrap();
    let ids =
        Expected::of(case).indices("input_ids").iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let out = folder.path().join("out.safetensors");
    let output = command(
        &[
            "intervene",
            "--prompt-ids",
            &ids,
            "--edits",
            file.to_str().unwrap(),
            "-o",
            out.to_str().unwrap(),
            "--json",
        ],
        &folders(&fixture(case)),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let bytes = std::fs::read(&out).unwrap();
    let written = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for entry in &entries {
        let name = entry["name"].as_str().unwrap();
        for (part, (shape, expected)) in [
            ("logits", reference.f32(&format!("{name}.logits"))),
            ("activations", reference.dense(&format!("{name}.activations"))),
        ] {
            let tensor = written.tensor(&format!("{name}.{part}")).unwrap();
            assert_eq!(tensor.shape(), shape, "{name}.{part}");
            let found: Vec<f32> =
                tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            assert_close(&format!("{name}.{part}"), &found, &expected, Tolerance::Tensor);
        }
    }
}

#[test]
fn generate_writes_on_with_edits_and_without() {
    let folders = folders(&fixture(TRAINED));
    let prompt = ["generate", "-p", DALLAS, "--max-new-tokens", "3", "--json"];
    let said = |more: &[&str]| {
        let output = command(&[&prompt[..], more].concat(), &folders);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_str::<Value>(&text(&output.stdout)).unwrap()
    };
    let plain = said(&[]);
    assert_eq!(plain["new_tokens"][0]["token"], "Austin", "{plain}");
    let edited = said(&["--ablate", "0_369@9", "--ablate", "0_388@9", "--ablate", "2_494@:"]);
    assert_ne!(edited["new_tokens"][0]["token"], "Austin", "{edited}");
    let drawn = said(&["--temperature", "2", "--top-k", "5", "--seed", "7", "--ignore-eos"]);
    assert_eq!(drawn, said(&["--temperature", "2", "--top-k", "5", "--seed", "7", "--ignore-eos"]));
    assert_eq!(drawn["new_tokens"].as_array().unwrap().len(), 3);
    let words = command(&["generate", "-p", DALLAS, "--max-new-tokens", "1"], &folders);
    assert!(text(&words.stdout).contains("\"Austin\""), "{}", text(&words.stdout));
    for (wrong, says) in
        [(["--top-k", "0"], "--top-k"), (["--temperature", "-1"], "temperature"), (["--top-p", "7"], "top_p")]
    {
        let output = command(&[&prompt[..], &wrong].concat(), &folders);
        assert!(
            !output.status.success() && text(&output.stderr).contains(says),
            "{wrong:?}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn bad_edits_are_refused_on_the_command_line() {
    let trained_folders = folders(&fixture(TRAINED));
    let refused = |words: &[&str], says: &str| {
        let output = command(&[&["intervene", "-p", DALLAS], words].concat(), &trained_folders);
        let stderr = text(&output.stderr);
        assert!(matches!(output.status.code(), Some(2 | 3)) && stderr.contains(says), "{words:?}: {stderr}");
        assert!(text(&output.stdout).is_empty());
    };
    refused(&[], "nothing to do");
    refused(&["--set", "0_5@3"], "`0_5@3`: expected a feature");
    refused(&["--set", "0_5=3"], "expected layer_feature@position");
    refused(&["--set", "0_5@x=3"], "expected layer_feature@position");
    refused(&["--set", "0_5@3=nan"], "NaN is not within the range");
    refused(&["--ablate", "9_5@3"], "there is no layer 9");
    refused(&["--ablate", "0_99999@3"], "layer 0 has no feature 99999");
    refused(&["--ablate", "0_5@11"], "there is no position 11: the prompt has 11 tokens");
    refused(&["--ablate", "0_5@-12"], "there is no position -12");
    refused(&["--ablate", "0_5@3", "--set", "0_5@3=1"], "edited twice at position 3");
    refused(&["--ablate", "0_5@3", "--constrain", "2-9"], "layers 2 to 9 cannot be held");
    refused(&["--ablate", "0_5@3", "--constrain", "some"], "expected `all` or layers");
    refused(&["--ablate", "0_5@3", "--watch", "0_99999@3"], "no such feature or position");
    refused(&["--ablate-group", "Texas"], "give it with --graph");
    refused(&["--edits", "/nowhere.json"], "/nowhere.json");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edits.json");
    for (entries, says) in [
        (r#"[{"name": "a", "interventions": []}, {"name": "a", "interventions": []}]"#, "called `a`"),
        (
            r#"[{"name": "a", "interventions": [], "constrained_layers": [0, 2]}]"#,
            "expected consecutive layers",
        ),
        (
            r#"[{"name": "a", "interventions": [], "constrained_layers": [18446744073709551615]}]"#,
            "cannot be held",
        ),
        (r#"[{"name": "a"}]"#, "`interventions` is missing"),
    ] {
        std::fs::write(&file, entries).unwrap();
        refused(&["--edits", file.to_str().unwrap()], says);
    }
    refused(&["--ablate", "0_5@3", "-o", "out.json"], "results are written as .safetensors");
}
