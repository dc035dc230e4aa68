//! What runs otherwise on a GPU: encoders carried there piece by piece, rows that land while the next go down, rounded products that are
//! summed up in fp32. The results are the CPU's. Skipped, and said so, where there is no GPU.

use crate::linearity::all_reads;
use circuit_attribution::PullBack;
use circuit_model::Model;
use circuit_replacement::{Cuts, LocalReplacement, Products};
use circuit_tests::{CASES, Expected, fixture};
use circuit_torch::runtime;
use circuit_transcoder::TranscoderSet;
use tch::{Device, Kind};

/// Rows of all reads of a case, on a device.
fn rows(case: &str, device: Device, cuts: Cuts) -> Vec<Vec<f32>> {
    let model = Model::open(&fixture(case).join("model"), Kind::Float, device).unwrap();
    let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
    let set = TranscoderSet::open(&fixture(case).join("transcoders"), n_layers, d_model, Kind::Float, device)
        .unwrap();
    let tokens: Vec<_> = Expected::of(case).indices("input_ids").into_iter().map(Into::into).collect();
    let encode = circuit_transcoder::Cuts { weights: 5 * d_model, ..cuts.encode };
    let cuts = Cuts { encode, ..cuts };
    let replacement = LocalReplacement::new_in(&model, &set, &tokens, 1, cuts, |_| Some(cuts)).unwrap();
    let pull_back = PullBack::new(&replacement).unwrap();
    let reads = all_reads(&replacement);
    let first = pull_back.rows(&reads, |_| {}).unwrap();
    // Once more in the room of the first.
    assert_eq!(pull_back.rows(&reads, |_| {}).unwrap(), first, "{case}");
    first
}

#[test]
fn a_gpu_finds_the_same_rows() {
    let Ok(gpu) = runtime::parse_device("cuda") else {
        circuit_tests::skipped("a_gpu_finds_the_same_rows", "there is no GPU");
        return;
    };
    let length = |row: &mut dyn Iterator<Item = f32>| row.map(|x| f64::from(x * x)).sum::<f64>().sqrt();
    for case in CASES {
        let expected = rows(case, Device::Cpu, Cuts::default());
        for (products, bar) in [(Products::Wide, 1e-3), (Products::Bfloat16, 2e-2)] {
            let found = rows(case, gpu, Cuts { rows: 5, products, ..Cuts::default() });
            assert_eq!(found.len(), expected.len(), "{case}");
            for (a, b) in expected.iter().zip(&found) {
                assert_eq!(a.len(), b.len(), "{case}");
                let difference = length(&mut a.iter().zip(b).map(|(a, b)| a - b));
                let share = difference / length(&mut a.iter().copied()).max(1e-6);
                assert!(share < bar, "{case}, {products:?}: {share:e}");
            }
        }
    }
}
