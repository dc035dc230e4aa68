//! Which heads carry an edge, and why a head looks where it looks: in f64, on the golden models and on random ones of every family.
//!
//! A head's share of an edge is what arrives if the source is added under full freezing while all other heads of the layer keep their
//! undisturbed values; the parts of a score are what the source changes in the head's query and key. And the commands that tell it.

use crate::cli::{run, text};
use crate::linearity::{all_reads, frozen_reads_with, in_f64, side_by_side, sources, worst};
use crate::random::recipes;
use circuit_attribution::{Part, PullBack, QueryKey, Read};
use circuit_index::{Layer, LayerSite, Pos, Site};
use circuit_model::{Hooks, TokenBatch};
use circuit_replacement::{FrozenPass, LocalReplacement};
use circuit_tests::{CASES, TRAINED, fixture};
use proptest::prelude::*;
use tch::{IndexOp, Kind, Tensor};

/// Largest allowed difference, of the larger of 1 and the largest number that goes into a sum.
const RELATIVE: f64 = 1e-9;

/// Splits the rows of these reads at a layer's attention and compares every head's share with what is measured.
fn check_heads(replacement: &LocalReplacement<'_>, reads: &[Read], layer: Layer) -> Result<(), String> {
    let model = replacement.model();
    let n_heads = model.spec().layers[layer.get()].attn.n_heads;
    let pull_back = PullBack::new(replacement).unwrap();
    let reads: Vec<_> = reads
        .iter()
        .filter(|read| match read {
            Read::Feature(i) => replacement.active()[i.get()].layer >= layer,
            _ => true,
        })
        .map(Read::shallow_clone)
        .collect();
    let rows = pull_back.dense_rows(&reads).unwrap(); // [read, source]
    let split: Vec<_> = reads.iter().map(|read| pull_back.row_by_head(read, layer).unwrap()).collect();
    let split = Tensor::stack(&split, 1); // [head + 1, read, source]
    let sum = split.sum_dim_intlist([0_i64].as_slice(), false, Kind::Double);
    let off = worst(&sum, &rows, &rows);
    if off.is_nan() || off > 1.0 {
        return Err(format!("shares do not add up: {off:e} of the tolerance"));
    }

    let z_site = Site::Block(layer, LayerSite::Z);
    let mut pass =
        FrozenPass::new(replacement.trace(), replacement.transcoders(), Hooks::new().record([z_site]));
    let tokens = TokenBatch::new(replacement.tokens(), model).unwrap();
    let _logits = model.forward(&tokens, &mut pass).unwrap();
    let undisturbed = pass.into_inner().finish().unwrap().remove(&z_site).unwrap(); // [1, pos, head, d_head]
    let sources = sources(replacement);
    let before = frozen_reads_with(replacement, &reads, 1, Hooks::new());
    for (nth, together) in sources.chunks(64).enumerate() {
        let batch = together.len();
        // What arrives if of this layer's heads only some respond.
        let arrives = |responds: &dyn Fn(usize) -> bool| {
            let hooks = side_by_side(replacement, together)
                .into_iter()
                .fold(Hooks::new(), |hooks, (site, addition)| hooks.add(site, addition));
            let hooks = hooks.edit(z_site, |z| {
                for head in (0..n_heads).filter(|&h| !responds(h)) {
                    let mut own = z.i((.., .., head as i64));
                    own.copy_(&undisturbed.i((.., .., head as i64)).expand_as(&own));
                }
                Ok(z)
            });
            (frozen_reads_with(replacement, &reads, batch, hooks) - &before).tr() // [read, source]
        };
        let columns = split.narrow(2, (nth * 64) as i64, batch as i64);
        let bypass = arrives(&|_| false);
        let compare = |name: String, found: &Tensor, measured: &Tensor| {
            let off = worst(found, measured, &rows);
            if off.is_nan() || off > 1.0 { Err(format!("{name}: {off:e} of the tolerance")) } else { Ok(()) }
        };
        compare("bypass".into(), &columns.get(n_heads as i64), &bypass)?;
        for head in 0..n_heads {
            compare(format!("head {head}"), &columns.get(head as i64), &(arrives(&|h| h == head) - &bypass))?;
        }
    }
    Ok(())
}

/// Takes the scores of every head of a layer from the last position apart, and compares sums with the model and parts with what
/// sources change.
fn check_scores(replacement: &LocalReplacement<'_>, layer: Layer, keys: &[Pos]) -> Result<(), String> {
    let model = replacement.model();
    let spec = &model.spec().layers[layer.get()].attn;
    let pull_back = PullBack::new(replacement).unwrap();
    let sites = [LayerSite::RotQ, LayerSite::RotK, LayerSite::AttnScores].map(|s| Site::Block(layer, s));
    let tokens = TokenBatch::new(replacement.tokens(), model).unwrap();
    let run = |batch: usize, hooks: Hooks<'_>| {
        let mut pass = FrozenPass::new(replacement.trace(), replacement.transcoders(), hooks.record(sites));
        let _logits = model.forward(&tokens.repeat(batch), &mut pass).unwrap();
        let values = pass.into_inner().finish().unwrap();
        sites.map(|site| values[&site].shallow_clone())
    };
    let [q, k, scores] = run(1, Hooks::new());
    let sources = sources(replacement);
    let changed: Vec<_> = sources
        .chunks(64)
        .map(|together| {
            let added = side_by_side(replacement, together).into_iter();
            let hooks = added.fold(Hooks::new(), |hooks, (site, addition)| hooks.add(site, addition));
            let [with_q, with_k, _] = run(together.len(), hooks);
            (with_q - &q, with_k - &k)
        })
        .collect();
    let (dq, dk): (Vec<_>, Vec<_>) = changed.into_iter().unzip();
    let (dq, dk) = (Tensor::cat(&dq, 0), Tensor::cat(&dk, 0)); // [source, pos, head, d_head]
    let query = replacement.n_pos() as i64 - 1;
    for head in 0..spec.n_heads {
        let (h, kv) = (head as i64, (head / (spec.n_heads / spec.n_kv_heads)) as i64);
        let taken =
            QueryKey::new(&pull_back, layer, head, Pos::from(query as usize)).map_err(|e| e.to_string())?;
        for &key in keys {
            let p = key.get() as i64;
            let score = taken.score(key).map_err(|e| e.to_string())?;
            let pairs = score.all_pairs().unwrap();
            let name = format!("layer {layer}, head {head}, key {key}");
            let total = pairs.sum(Kind::Double);
            // Pairs may be far larger than what is left of them: what is lost is a share of the largest.
            let terms = pairs.abs().max().double_value(&[]).max(score.measured.abs()).max(1.0);
            let off = (total.double_value(&[]) - score.measured).abs();
            let off = off.max((score.total - score.measured).abs()) / (RELATIVE * terms);
            if off.is_nan() || off > 1.0 {
                return Err(format!("{name}: pairs add up to {total:?}, the score is {}", score.measured));
            }
            let of_model = scores.double_value(&[0, h, query, p]);
            if of_model.is_finite() {
                let capped = spec.soft_cap.map_or(score.measured, |cap| cap * (score.measured / cap).tanh());
                if (capped - of_model).abs() > RELATIVE * of_model.abs().max(1.0) {
                    return Err(format!("{name}: the model's score is {of_model}, found {capped}"));
                }
            }
            let ends = (q.i((0, query, h)), k.i((0, p, kv)));
            let by_query = dq.i((.., query, h)).mv(&ends.1) * spec.scale;
            let by_key = dk.i((.., p, kv)).mv(&ends.0) * spec.scale;
            let n = sources.len() as i64;
            for (side, dim, expected) in [("query", 1, by_query), ("key", 0, by_key)] {
                let found =
                    pairs.sum_dim_intlist([dim as i64].as_slice(), false, Kind::Double).narrow(0, 0, n);
                let off = (found - expected).abs().max().double_value(&[]) / (RELATIVE * terms);
                if off.is_nan() || off > 1.0 {
                    return Err(format!("{name}: parts of the {side}: {off:e} of the tolerance"));
                }
            }
            let largest = score.pairs(3).unwrap();
            let top = pairs.abs().max().double_value(&[]);
            if largest.first().map_or(0.0, |pair| pair.share.abs()) != top {
                return Err(format!("{name}: the largest pair is {top}, told {largest:?}"));
            }
            for pair in largest {
                let place = |part| if let Part::Source(i) = part { i as i64 } else { n };
                if pairs.double_value(&[place(pair.query), place(pair.key)]) != pair.share {
                    return Err(format!("{name}: {pair:?} is not in the table"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn heads_carry_the_edges_of_golden_models() {
    for case in CASES {
        in_f64(case, |replacement, reads| {
            let few: Vec<_> =
                reads.iter().step_by(reads.len().div_ceil(25)).map(Read::shallow_clone).collect();
            let last = replacement.model().spec().n_layers() - 1;
            for layer in [0, last] {
                check_heads(replacement, &few, Layer::from(layer))
                    .unwrap_or_else(|wrong| panic!("{case}, layer {layer}: {wrong}"));
            }
        });
    }
}

#[test]
fn pairs_make_up_the_scores_of_golden_models() {
    for case in CASES {
        in_f64(case, |replacement, _| {
            let last = Layer::from(replacement.model().spec().n_layers() - 1);
            let keys = [Pos::from(0), Pos::from(replacement.n_pos() - 2)];
            check_scores(replacement, last, &keys).unwrap_or_else(|wrong| panic!("{case}: {wrong}"));
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn heads_and_pairs_add_up_on_random_models(recipe in recipes()) {
        let made = recipe.make();
        let replacement = LocalReplacement::new(&made.model, &made.set, &made.tokens, made.ignored).unwrap();
        let reads = all_reads(&replacement);
        for layer in (0..made.model.spec().n_layers()).map(Layer::from) {
            check_heads(&replacement, &reads, layer).map_err(TestCaseError::fail)?;
            let keys: Vec<_> = (0..replacement.n_pos()).map(Pos::from).collect();
            check_scores(&replacement, layer, &keys).map_err(TestCaseError::fail)?;
        }
    }
}

#[test]
fn what_is_not_there_is_an_error() {
    in_f64(CASES[0], |replacement, reads| {
        let pull_back = PullBack::new(replacement).unwrap();
        let n_layers = replacement.model().spec().n_layers();
        let above = pull_back.row_by_head(&reads[0], Layer::from(n_layers)).unwrap_err().to_string();
        assert_eq!(
            above,
            format!(
                "the attention of layer {n_layers} is not below what is read: only layers under {n_layers} are"
            )
        );
        let feature = reads.iter().find(|read| matches!(read, Read::Feature(_))).unwrap();
        assert!(
            pull_back.row_by_head(feature, Layer(1)).is_err(),
            "a feature of layer 0 reads below layer 1"
        );
        let end = |head, pos| {
            QueryKey::new(&pull_back, Layer(0), head, Pos::from(pos)).map(|_| ()).unwrap_err().to_string()
        };
        assert!(end(99, 0).contains("head 99"), "{}", end(99, 0));
        assert!(end(0, 99).contains("position 99"), "{}", end(0, 99));
        let query = QueryKey::new(&pull_back, Layer(0), 0, Pos::from(1)).unwrap();
        assert!(query.score(Pos::from(2)).is_err(), "a query sees nothing after itself");
    });
}

/// The raw graph of the prompt about Dallas, and the program's arguments for its model and set.
fn trained_graph(folder: &std::path::Path) -> (String, Vec<String>) {
    let graph = folder.join("trained.safetensors").to_str().unwrap().to_owned();
    let folders = ["-m", "model", "-t", "transcoders"].map(|word| {
        if word.starts_with('-') { word.into() } else { fixture(TRAINED).join(word).to_str().unwrap().into() }
    });
    let prompt = ["-p", DALLAS, "-o", &graph, "--json"].map(String::from);
    let arguments = [vec!["attribute".into()], folders.to_vec(), prompt.to_vec()].concat();
    let output = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", text(&output.stderr));
    (graph, folders.to_vec())
}

const DALLAS: &str = "fact : the capital of the state containing Dallas is";

#[test]
fn edges_paths_and_scores_are_explained_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let (graph, folders) = trained_graph(folder.path());
    let command = |words: &[&str], with_folders: bool| {
        let folders = folders.iter().map(String::as_str).filter(|_| with_folders);
        run(&words.iter().copied().chain(folders).collect::<Vec<_>>())
    };
    let told = |words: &[&str], with_folders: bool| {
        let output = command(words, with_folders);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let json = |words: &[&str], with_folders: bool| -> serde_json::Value {
        serde_json::from_str(&told(words, with_folders)).unwrap()
    };

    let paths = json(&["paths", &graph, "--json"], false);
    let strongest: Vec<_> =
        paths[0]["nodes"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    assert!(strongest.len() > 2 && strongest[0].starts_with("E_"), "{paths}");
    let from_feature = json(&["paths", &graph, "--from", strongest[1], "--to", "Austin", "--json"], false);
    assert_eq!(from_feature[0]["nodes"][0], strongest[1]);
    assert!(told(&["paths", &graph, "--top", "2"], false).lines().count() == 2);

    for pair in strongest.windows(2) {
        let edge = json(&["explain-edge", &graph, "--from", pair[0], "--to", pair[1], "--json"], true);
        let whole = edge["edge"].as_f64().unwrap();
        assert!(whole != 0.0, "{edge}");
        for layer in edge["layers"].as_array().unwrap() {
            let heads: f64 = layer["heads"].as_array().unwrap().iter().map(|h| h.as_f64().unwrap()).sum();
            let sum = heads + layer["bypass"].as_f64().unwrap();
            assert!((sum - whole).abs() < 1e-4, "{pair:?}, {layer}: {sum}, the edge is {whole}");
        }
    }
    let last = [strongest[1], "Austin"];
    let one =
        json(&["explain-edge", &graph, "--from", last[0], "--to", last[1], "--layer", "2", "--json"], true);
    assert_eq!(one["layers"].as_array().unwrap().len(), 1);
    assert!(told(&["explain-edge", &graph, "--from", last[0], "--to", last[1]], true).contains("bypass"));

    let score = ["query-key", "-p", DALLAS, "--layer", "1", "--head", "0"];
    for key in json(&[&score[..], &["--json"]].concat(), true)["keys"].as_array().unwrap() {
        let (measured, pairs) = (key["score"].as_f64().unwrap(), key["all_pairs"].as_f64().unwrap());
        assert!((measured - pairs).abs() < 1e-4, "{key}");
    }
    assert!(
        told(&[&score[..], &["--key", "-2", "--top", "3"]].concat(), true).contains("key at 9:\"Dallas\"")
    );

    let refused = |words: &[&str], with_folders: bool, says: &str| {
        let output = command(words, with_folders);
        let stderr = text(&output.stderr);
        assert!(output.status.code() == Some(2) && stderr.contains(says), "{words:?}: {stderr}");
    };
    refused(&["explain-edge", &graph, "--from", "Texas", "--to", "Austin"], true, "`Texas` is no node");
    refused(&["explain-edge", &graph, "--from", "Austin", "--to", "Austin"], true, "writes nothing");
    refused(&["explain-edge", &graph, "--from", strongest[1], "--to", strongest[0]], true, "reads nothing");
    refused(
        &["explain-edge", &graph, "--from", strongest[1], "--to", "Austin", "--layer", "9"],
        true,
        "layer 9",
    );
    refused(&["paths", &graph, "--to", strongest[1]], false, "is no target");
    refused(&["paths", &graph, "--from", "Austin"], false, "is a target");
    refused(&[&score[..], &["--key", "99"]].concat(), true, "no position 99");
    refused(&["query-key", "-p", DALLAS, "--layer", "1", "--head", "77"], true, "no head 77");
    refused(&["query-key", "--layer", "1", "--head", "0"], true, "no prompt");
}

#[test]
fn a_graph_of_another_model_is_not_explained() {
    let folder = tempfile::tempdir().unwrap();
    let (graph, _) = trained_graph(folder.path());
    let (model, set) = (fixture(CASES[0]).join("model"), fixture(CASES[0]).join("transcoders"));
    let output = run(&[
        "explain-edge",
        &graph,
        "--from",
        "0_369_9",
        "--to",
        "Austin",
        "-m",
        model.to_str().unwrap(),
        "-t",
        set.to_str().unwrap(),
    ]);
    assert!(matches!(output.status.code(), Some(3 | 4)), "{}", text(&output.stderr));
}
