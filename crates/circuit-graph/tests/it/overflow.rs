//! Rows that overflow to disk: rankings and rows are the same, bit by bit, wherever rows are.

use circuit_graph::{Ranking, Rows};
use circuit_index::{ActiveIndex, FeatureId, SourceOrder};
use proptest::prelude::*;
use std::path::Path;

/// A prompt's sizes, its active features, and a seed for all rows.
#[derive(Clone, Debug)]
struct Prompt {
    n_layers: usize,
    n_pos: usize,
    n_targets: usize,
    active: Vec<FeatureId>,
    seed: u64,
}

fn prompts() -> impl Strategy<Value = Prompt> {
    (1..=4_usize, 1..=5_usize, 1..=3_usize, any::<u64>()).prop_flat_map(
        |(n_layers, n_pos, n_targets, seed)| {
            prop::collection::btree_set((0..n_layers, 0..n_pos, 0..20_usize), 0..=40).prop_map(
                move |places| Prompt {
                    n_layers,
                    n_pos,
                    n_targets,
                    active: places.into_iter().map(|(l, p, i)| FeatureId::new(l, p, i)).collect(),
                    seed,
                },
            )
        },
    )
}

impl Prompt {
    /// The row that reads at a layer and position: the same for the same `nth`.
    fn row(&self, order: &SourceOrder, layer: usize, pos: usize, nth: usize) -> Vec<f32> {
        let mut state = self.seed ^ (nth as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut row = vec![0.0; order.visible_from(layer)];
        let seen = (0..=pos)
            .chain((0..layer).flat_map(|l| (0..=pos).flat_map(move |p| order.group(l.into(), p.into()))));
        for place in seen {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            row[place] = ((state >> 40) as f32 / (1 << 24) as f32) * 2.0 - 1.0;
        }
        row
    }

    /// All rounds: the influence before each, the features in the order in which they were chosen, rows; bytes in memory and on disk.
    fn ranked(
        &self,
        round: usize,
        disk: Option<(&Path, usize)>,
    ) -> (Vec<Vec<u64>>, Vec<ActiveIndex>, Rows, usize, u64) {
        let mut ranking = Ranking::new(self.n_layers, self.n_pos, self.active.clone());
        if let Some((folder, memory)) = disk {
            ranking = ranking.overflowing_to(folder, memory).unwrap();
        }
        let order = ranking.order().clone();
        for nth in 0..self.n_targets {
            let row = self.row(&order, self.n_layers, self.n_pos - 1, 1000 + nth);
            ranking.add_target_row(1.0 / (nth + 1) as f32, &row).unwrap();
        }
        let (mut influence, mut chosen) = (Vec::new(), Vec::new());
        loop {
            influence.push(ranking.influence().unwrap().into_iter().map(f64::to_bits).collect());
            let next = ranking.next(round).unwrap();
            if next.is_empty() {
                break;
            }
            for &i in &next {
                let FeatureId { layer, pos, .. } = self.active[i.get()];
                ranking.add_feature_row(i, &self.row(&order, layer.get(), pos.get(), i.get())).unwrap();
            }
            chosen.extend(next);
        }
        let (held, on_disk) = (ranking.held_bytes(), ranking.disk_bytes());
        let (_, rows) = ranking.into_rows().unwrap();
        (influence, chosen, rows, held, on_disk)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_on_disk_are_those_in_memory(prompt in prompts(), round in 1..8_usize, share in 0.0..1.0_f64) {
        let folder = tempfile::tempdir().unwrap();
        let (influence, chosen, rows, held, on_disk) = prompt.ranked(round, None);
        prop_assert_eq!(on_disk, 0);
        let memory = (share * held as f64) as usize;
        for (memory, some_on_disk) in [(0, true), (memory, true), (held, false)] {
            let found = prompt.ranked(round, Some((folder.path(), memory)));
            prop_assert_eq!(&influence, &found.0);
            prop_assert_eq!(&chosen, &found.1);
            prop_assert!(rows.iter().flatten().map(|x| x.to_bits()).eq(found.2.iter().flatten().map(|x| x.to_bits())));
            // Every number is in one of the two places, and memory keeps within what it may take but for what each row needs.
            prop_assert_eq!(held as u64, found.3 as u64 + found.4);
            prop_assert_eq!(found.4 > 0, some_on_disk);
        }
        prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn no_folder_is_told_before_any_row_comes() {
    let ranking = Ranking::new(1, 1, Vec::new());
    let error = ranking.overflowing_to(Path::new("/no/such/folder"), 0).unwrap_err();
    assert!(error.to_string().contains("/no/such/folder"), "{error}");
}
