//! Edges are effects, and the pull-back is the gradient: in f64, on the golden models and on random ones of every family.
//!
//! Under full freezing, adding what a node writes once more moves every feature's pre-activation and every target by the node's
//! column of the rows; and LibTorch's autograd, run backwards through the same frozen pass, finds the same rows.

use crate::random::recipes;
use circuit_attribution::{PullBack, Read, TargetChoice};
use circuit_index::{ActiveIndex, Layer, Pos, Site};
use circuit_model::{Hooks, Model, TokenBatch};
use circuit_replacement::{FrozenPass, LocalReplacement};
use circuit_tests::{CASES, Expected, fixture};
use circuit_transcoder::TranscoderSet;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// Sources added side by side in one pass.
const TOGETHER: usize = 64;
/// Of the largest number of a row, at least of 1.
const RELATIVE: f64 = 1e-9;

/// Rows of all features and of a few targets.
pub(crate) fn all_reads(replacement: &LocalReplacement<'_>) -> Vec<Read> {
    let max_n_logits = 3.min(replacement.model().spec().d_vocab);
    let choice = TargetChoice::Automatic { max_n_logits, desired_logit_prob: 0.9 };
    let targets = choice.resolve(replacement).unwrap().into_iter().map(|t| Read::Direction(t.direction));
    targets.chain((0..replacement.active().len()).map(|i| Read::Feature(ActiveIndex::from(i)))).collect()
}

pub(crate) fn in_f64(case: &str, check: impl FnOnce(&LocalReplacement<'_>, &[Read])) {
    let model = Model::open(&fixture(case).join("model"), Kind::Double, Device::Cpu).unwrap();
    let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
    let folder = fixture(case).join("transcoders");
    let set = TranscoderSet::open(&folder, n_layers, d_model, Kind::Double, Device::Cpu).unwrap();
    let tokens: Vec<_> = Expected::of(case).indices("input_ids").into_iter().map(Into::into).collect();
    let replacement = LocalReplacement::new(&model, &set, &tokens, 1).unwrap();
    check(&replacement, &all_reads(&replacement));
}

/// Something added: at which site, at which position, what.
pub(crate) type Write = (Site, usize, Tensor);

/// Every source in source order: all that it writes.
pub(crate) fn sources(replacement: &LocalReplacement<'_>) -> Vec<Vec<Write>> {
    let (n_pos, writes) = (replacement.n_pos(), replacement.transcoders().info().writes);
    let n_layers = replacement.model().spec().n_layers();
    let mut all: Vec<_> =
        (0..n_pos).map(|p| vec![(Site::Embed, p, replacement.trace().token_vectors.get(p as i64))]).collect();
    let activations = replacement.activations();
    let site = |l| Site::Block(Layer::from(l), writes);
    for (l, transcoder) in replacement.transcoders().layers().iter().enumerate() {
        for p in 0..n_pos {
            for i in replacement.order().group_features(Layer::from(l), Pos::from(p)) {
                let index = Tensor::from_slice(&[i64::from(replacement.active()[i].index.0)]);
                let rows = transcoder.decoder_rows(&index).get(0) * activations.get(i as i64); // [n_outputs, d_model]
                let outputs = (l..n_layers).take(transcoder.n_outputs()).enumerate();
                all.push(outputs.map(|(j, output)| (site(output), p, rows.get(j as i64))).collect());
            }
            all.push(vec![(site(l), p, replacement.errors(Layer::from(l)).get(p as i64))]);
        }
    }
    all
}

/// What each row reads after a frozen pass with additions, `[batch, n_reads]`.
fn frozen_reads(
    replacement: &LocalReplacement<'_>,
    reads: &[Read],
    batch: usize,
    added: impl IntoIterator<Item = (Site, Tensor)>,
) -> Tensor {
    let hooks = added.into_iter().fold(Hooks::new(), |hooks, (site, addition)| hooks.add(site, addition));
    frozen_reads_with(replacement, reads, batch, hooks)
}

/// The same with any hooks.
pub(crate) fn frozen_reads_with(
    replacement: &LocalReplacement<'_>,
    reads: &[Read],
    batch: usize,
    hooks: Hooks<'_>,
) -> Tensor {
    let (model, set) = (replacement.model(), replacement.transcoders());
    let inputs = (0..model.spec().n_layers()).map(|l| Site::Block(Layer::from(l), set.info().reads));
    let hooks = hooks.record(inputs).record([Site::UnembedIn]);
    let tokens = TokenBatch::new(replacement.tokens(), model).unwrap().repeat(batch);
    let mut pass = FrozenPass::new(replacement.trace(), set, hooks);
    let _logits = model.forward(&tokens, &mut pass).unwrap();
    let values = pass.into_inner().finish().unwrap();
    let read = |read: &Read| match read {
        Read::Direction(w) => values[&Site::UnembedIn].select(1, -1).mv(w),
        Read::Feature(i) => {
            let f = replacement.active()[i.get()];
            let row = set.layers()[f.layer.get()].encoder_rows(&Tensor::from_slice(&[i64::from(f.index.0)]));
            values[&Site::Block(f.layer, set.info().reads)].select(1, i64::from(f.pos.0)).mv(&row.get(0))
        }
        Read::Stream(..) => unreachable!("no graph has such a row"),
    };
    Tensor::stack(&reads.iter().map(read).collect::<Vec<_>>(), 1)
}

/// Nothing, `[batch, pos, d_model]`.
pub(crate) fn nothing(replacement: &LocalReplacement<'_>, batch: usize) -> Tensor {
    let d_model = replacement.model().spec().d_model as i64;
    Tensor::zeros([batch as i64, replacement.n_pos() as i64, d_model], (Kind::Double, Device::Cpu))
}

/// Each of these sources added in a batch row of its own.
pub(crate) fn side_by_side(
    replacement: &LocalReplacement<'_>,
    sources: &[Vec<Write>],
) -> Vec<(Site, Tensor)> {
    let writes = sources.iter().enumerate().flat_map(|(row, source)| source.iter().map(move |w| (row, w)));
    let added = writes.map(|(row, (site, pos, write))| {
        let addition = nothing(replacement, sources.len());
        addition.get(row as i64).get(*pos as i64).copy_(write);
        (*site, addition)
    });
    added.collect()
}

/// The worst difference of two `[row, column]`, in multiples of what is allowed in its row.
pub(crate) fn worst(found: &Tensor, rows: &Tensor, of: &Tensor) -> f64 {
    let allowed = of.abs().amax([1], true).clamp_min(1.0) * RELATIVE;
    ((found - rows).abs() / allowed).max().double_value(&[])
}

/// Adds every source once more, a few at a time, and compares what moves with the rows.
fn check_effects(replacement: &LocalReplacement<'_>, reads: &[Read], rows: &Tensor) -> Result<(), String> {
    let sources = sources(replacement);
    assert_eq!(rows.size(), [reads.len() as i64, sources.len() as i64]);
    let undisturbed = frozen_reads(replacement, reads, 1, []);
    for (nth, together) in sources.chunks(TOGETHER).enumerate() {
        let added = side_by_side(replacement, together);
        let moved = (frozen_reads(replacement, reads, together.len(), added) - &undisturbed).tr();
        let columns = rows.narrow(1, (nth * TOGETHER) as i64, together.len() as i64);
        let worst = worst(&moved, &columns, rows);
        if worst.is_nan() || worst > 1.0 {
            return Err(format!("effects: {worst:e} of the tolerance in columns from {}", nth * TOGETHER));
        }
    }
    Ok(())
}

/// Runs autograd backwards from every read to an addition at each site where sources write, and compares the inner products
/// with what they write.
fn check_autograd(replacement: &LocalReplacement<'_>, reads: &[Read], rows: &Tensor) -> Result<(), String> {
    let sources = sources(replacement);
    let mut leaves: BTreeMap<Site, Tensor> = BTreeMap::new();
    for (site, _, _) in sources.iter().flatten() {
        leaves.entry(*site).or_insert_with(|| nothing(replacement, 1).set_requires_grad(true));
    }
    let added = leaves.iter().map(|(site, leaf)| (*site, leaf.shallow_clone()));
    let values = frozen_reads(replacement, reads, 1, added).get(0); // [read]
    let inputs: Vec<_> = leaves.values().collect();
    let found = (0..reads.len()).map(|read| {
        // A site that a read cannot see has no gradient; a zero keeps autograd from calling it an error.
        let seen =
            inputs.iter().fold(values.get(read as i64), |sum, leaf| sum + leaf.sum(Kind::Double) * 0.0);
        let gradients = Tensor::run_backward(&[seen], &inputs, true, false);
        let gradients: BTreeMap<_, _> = leaves.keys().zip(gradients).collect();
        let effect = |(site, pos, write): &Write| gradients[site].get(0).get(*pos as i64).dot(write);
        let effects = sources.iter().map(|source| source.iter().map(effect).sum::<Tensor>());
        Tensor::stack(&effects.collect::<Vec<_>>(), 0)
    });
    let found = Tensor::stack(&found.collect::<Vec<_>>(), 0);
    let worst = worst(&found, rows, rows);
    if worst.is_nan() || worst > 1.0 { Err(format!("autograd: {worst:e} of the tolerance")) } else { Ok(()) }
}

#[test]
fn edges_are_effects() {
    for case in CASES {
        in_f64(case, |replacement, reads| {
            let rows = PullBack::new(replacement).unwrap().dense_rows(reads).unwrap(); // [read, source]
            check_effects(replacement, reads, &rows).unwrap_or_else(|wrong| panic!("{case}: {wrong}"));
            assert!(rows.abs().max().double_value(&[]) > 0.01, "{case}: nothing affects anything");
        });
    }
}

#[test]
fn the_pull_back_is_the_gradient() {
    for case in CASES {
        in_f64(case, |replacement, reads| {
            let few: Vec<_> =
                reads.iter().step_by(reads.len().div_ceil(40)).map(Read::shallow_clone).collect();
            let rows = PullBack::new(replacement).unwrap().dense_rows(&few).unwrap();
            check_autograd(replacement, &few, &rows).unwrap_or_else(|wrong| panic!("{case}: {wrong}"));
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    /// Both, on random small models of every family with random transcoders at all sites. A failure prints its recipe, seed
    /// included.
    #[test]
    fn edges_are_effects_and_gradients_on_random_models(recipe in recipes()) {
        let made = recipe.make();
        let replacement = LocalReplacement::new(&made.model, &made.set, &made.tokens, made.ignored).unwrap();
        let reads = all_reads(&replacement);
        let rows = PullBack::new(&replacement).unwrap().dense_rows(&reads).unwrap();
        check_effects(&replacement, &reads, &rows).map_err(TestCaseError::fail)?;
        check_autograd(&replacement, &reads, &rows).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn how_rows_are_cut_changes_nothing() {
    in_f64(CASES[2], |replacement, reads| {
        let pull_back = PullBack::new(replacement).unwrap();
        let together = pull_back.dense_rows(reads).unwrap();
        for (i, read) in reads.iter().enumerate().step_by(17) {
            let alone = pull_back.dense_rows(std::slice::from_ref(read)).unwrap().get(0);
            let difference = (alone - together.get(i as i64)).abs().max().double_value(&[]);
            assert!(difference < 1e-12, "row {i}: {difference:e}");
        }
    });
}

#[test]
fn a_frozen_pass_without_edits_reproduces_the_run() {
    for case in CASES {
        in_f64(case, |replacement, _| {
            let model = replacement.model();
            let tokens = TokenBatch::new(replacement.tokens(), model).unwrap();
            let mut pass = FrozenPass::new(replacement.trace(), replacement.transcoders(), ());
            let logits = model.forward(&tokens, &mut pass).unwrap().get(0);
            let difference = (logits - &replacement.trace().logits).abs().max().double_value(&[]);
            assert!(difference < 1e-12, "{case}: {difference:e}");
        });
    }
}
