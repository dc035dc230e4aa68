//! Edges are effects: under full freezing, adding what a node writes once more moves every feature's pre-activation and
//! every target by the node's column. In f64, on the models of all families.

use circuit_attribution::{PullBack, Read, TargetChoice};
use circuit_index::{ActiveIndex, Layer, Pos, Site};
use circuit_model::{Hooks, Model, TokenBatch};
use circuit_replacement::{FrozenPass, LocalReplacement};
use circuit_tests::{CASES, Expected, fixture};
use circuit_transcoder::TranscoderSet;
use tch::{Device, Kind, Tensor};

/// Sources added side by side in one pass.
const TOGETHER: usize = 64;

fn in_f64(case: &str, check: impl FnOnce(&LocalReplacement<'_>, &[Read])) {
    let model = Model::open(&fixture(case).join("model"), Kind::Double, Device::Cpu).unwrap();
    let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
    let folder = fixture(case).join("transcoders");
    let set = TranscoderSet::open(&folder, n_layers, d_model, Kind::Double, Device::Cpu).unwrap();
    let tokens: Vec<_> = Expected::of(case).indices("input_ids").into_iter().map(Into::into).collect();
    let replacement = LocalReplacement::new(&model, &set, &tokens, 1).unwrap();
    let targets =
        TargetChoice::Automatic { max_n_logits: 3, desired_logit_prob: 0.9 }.resolve(&replacement).unwrap();
    let mut reads: Vec<_> = targets.iter().map(|t| Read::Direction(t.direction.shallow_clone())).collect();
    reads.extend((0..replacement.active().len()).map(|i| Read::Feature(ActiveIndex::from(i))));
    check(&replacement, &reads);
}

/// Something added: at which site, at which position, what.
type Write = (Site, usize, Tensor);

/// Every source in source order: all that it writes.
fn sources(replacement: &LocalReplacement<'_>) -> Vec<Vec<Write>> {
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
fn frozen_reads(replacement: &LocalReplacement<'_>, reads: &[Read], added: &[Vec<Write>]) -> Tensor {
    let (model, set) = (replacement.model(), replacement.transcoders());
    let n_layers = model.spec().n_layers();
    let inputs = (0..n_layers).map(|l| Site::Block(Layer::from(l), set.info().reads));
    let mut hooks = Hooks::new().record(inputs).record([Site::UnembedIn]);
    let size = [added.len() as i64, replacement.n_pos() as i64, model.spec().d_model as i64];
    let writes = added.iter().enumerate().flat_map(|(row, source)| source.iter().map(move |w| (row, w)));
    for (row, (site, pos, write)) in writes {
        let addition = Tensor::zeros(size, (Kind::Double, Device::Cpu));
        addition.get(row as i64).get(*pos as i64).copy_(write);
        hooks = hooks.add(*site, addition);
    }
    let tokens = TokenBatch::new(replacement.tokens(), model).unwrap().repeat(added.len());
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
    };
    Tensor::stack(&reads.iter().map(read).collect::<Vec<_>>(), 1)
}

#[test]
fn edges_are_effects() {
    for case in CASES {
        in_f64(case, |replacement, reads| {
            let rows = PullBack::new(replacement).unwrap().dense_rows(reads).unwrap(); // [read, source]
            let allowed = rows.abs().amax([1], true).clamp_min(1.0) * 1e-9;
            let sources = sources(replacement);
            assert_eq!(rows.size(), [reads.len() as i64, sources.len() as i64]);
            let nothing = [vec![(
                Site::Embed,
                0,
                Tensor::zeros([rows_width(replacement)], (Kind::Double, Device::Cpu)),
            )]];
            let undisturbed = frozen_reads(replacement, reads, &nothing);
            for (nth, together) in sources.chunks(TOGETHER).enumerate() {
                let moved = (frozen_reads(replacement, reads, together) - &undisturbed).tr();
                let columns = rows.narrow(1, (nth * TOGETHER) as i64, together.len() as i64);
                let worst = ((moved - columns).abs() / &allowed).max();
                assert!(
                    worst.double_value(&[]) <= 1.0,
                    "{case}: {:e} of the tolerance",
                    worst.double_value(&[])
                );
            }
            assert!(rows.abs().max().double_value(&[]) > 0.01, "{case}: nothing affects anything");
        });
    }
}

fn rows_width(replacement: &LocalReplacement<'_>) -> i64 {
    replacement.model().spec().d_model as i64
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
