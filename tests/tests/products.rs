//! Rows whose products are taken in bfloat16: near those of wide products in every family, and not the same.

use crate::linearity::all_reads;
use circuit_attribution::PullBack;
use circuit_model::Model;
use circuit_replacement::{Cuts, LocalReplacement, Products};
use circuit_tests::{CASES, Expected, fixture};
use circuit_transcoder::TranscoderSet;
use tch::{Device, Kind};

/// Factors have 8 significant bits, so each is wrong by up to 2^-9; of a row that is a sum of many, the whole is hardly more.
#[test]
fn rounded_products_are_near_wide_ones() {
    for case in CASES {
        let model = Model::open(&fixture(case).join("model"), Kind::Float, Device::Cpu).unwrap();
        let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
        let folder = fixture(case).join("transcoders");
        let set = TranscoderSet::open(&folder, n_layers, d_model, Kind::Float, Device::Cpu).unwrap();
        let tokens: Vec<_> = Expected::of(case).indices("input_ids").into_iter().map(Into::into).collect();
        let rows = |cuts: Cuts| {
            let replacement =
                LocalReplacement::new_in(&model, &set, &tokens, 1, cuts, |_| Some(cuts)).unwrap();
            let reads = all_reads(&replacement);
            PullBack::new(&replacement).unwrap().rows(&reads, |_| {}).unwrap()
        };
        let wide = rows(Cuts::default());
        let length = |row: &mut dyn Iterator<Item = f32>| row.map(|x| f64::from(x * x)).sum::<f64>().sqrt();
        // Layers kept, on two threads; and folded for each group.
        for cuts in [Cuts { workers: 2, ..Cuts::default() }, Cuts { keep_folded: false, ..Cuts::default() }] {
            let rounded = rows(Cuts { products: Products::Bfloat16, rows: 5, ..cuts });
            assert_eq!(rounded.len(), wide.len());
            let mut largest = 0.0f64;
            for (a, b) in wide.iter().zip(&rounded) {
                assert_eq!(a.len(), b.len(), "{case}");
                let difference = length(&mut a.iter().zip(b).map(|(a, b)| a - b));
                largest = largest.max(difference / length(&mut a.iter().copied()).max(1e-6));
            }
            assert!(largest > 1e-5, "{case}: nothing was rounded ({largest:e})");
            assert!(largest < 2e-2, "{case}: {largest:e}");
        }
    }
}
