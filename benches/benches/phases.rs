//! One criterion group for each phase of attribution: forward, encode, rows, ranking, prune, JSON.
//!
//! On the shape `bench`, fp32, on as many threads as LibTorch takes. What each phase needs, docs/lab-notes/speed.md says; the share of the floor
//! that rows reach, `circuit-tracer bench` tells. Not here: inputs (`src/lib.rs`).

use circuit_attribution::{PullBack, Read};
use circuit_benches::{CONFIG, ROWS, large_graph, model, replacement, rows, targets};
use circuit_format::{GraphFileOptions, Kept, QParams, Slug, write_graph_files};
use circuit_graph::{Ranking, Thresholds, prune};
use circuit_replacement::{LocalReplacement, Trace};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

fn phases(c: &mut Criterion) {
    let made = model();
    let mut group = c.benchmark_group("forward");
    group.bench_function("24 tokens", |b| {
        b.iter(|| {
            let ignored = made.model.spec().ignored_positions;
            black_box(Trace::record(&made.model, &made.set, &made.tokens, ignored, true).expect("a run"))
        });
    });
    group.finish();

    // Taking a prompt apart runs the model too.
    let mut group = c.benchmark_group("encode");
    let ignored = made.model.spec().ignored_positions;
    group.bench_function("24 tokens, with the forward pass", |b| {
        b.iter(|| {
            black_box(LocalReplacement::new(&made.model, &made.set, &made.tokens, ignored).expect("a run"))
        });
    });
    group.finish();

    let replacement = replacement(&made);
    let targets = targets(&replacement);
    let found = rows(&replacement, &targets);
    let chosen = found.selected.clone();
    let directions = targets.iter().map(|t| Read::Direction(t.direction.shallow_clone()));
    let reads: Vec<_> = directions.chain(chosen.iter().map(|&i| Read::Feature(i))).collect();
    let mut group = c.benchmark_group("rows");
    group.throughput(Throughput::Elements(reads.len() as u64));
    group.bench_function(format!("{ROWS} features"), |b| {
        b.iter(|| {
            let pull_back = PullBack::new(&replacement).expect("memory");
            black_box(pull_back.rows(&reads, |_| {}).expect("memory"))
        });
    });
    group.finish();

    // All rounds: rows come, and the next features are chosen.
    let values = PullBack::new(&replacement).and_then(|p| p.rows(&reads, |_| {})).expect("memory");
    let (spec, round) = (made.model.spec(), CONFIG.batch_size);
    let mut group = c.benchmark_group("ranking");
    group.bench_function(format!("{ROWS} features in rounds of {round}"), |b| {
        b.iter_batched(
            || Ranking::new(spec.n_layers(), replacement.n_pos(), replacement.active().to_vec()),
            |mut ranking| {
                for (target, row) in targets.iter().zip(&values) {
                    ranking.add_target_row(target.weight, row).expect("memory");
                }
                for (features, rows) in chosen.chunks(round).zip(values[targets.len()..].chunks(round)) {
                    black_box(ranking.next(round).expect("memory"));
                    let mut rows = features.iter().zip(rows);
                    rows.try_for_each(|(&i, row)| ranking.add_feature_row(i, row)).expect("memory");
                }
                black_box(ranking.into_rows().expect("memory"))
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();

    let thresholds = Thresholds::new(0.8, 0.98).expect("thresholds");
    let graph = made.graph(&replacement, found, targets.len());
    let pruned = prune(&graph, thresholds);
    let mut group = c.benchmark_group("json");
    let cumulative: Vec<f32> = pruned.cumulative().iter().map(|&share| share as f32).collect();
    let options = GraphFileOptions {
        slug: Slug::new("bench").expect("a name"),
        scan: None,
        transcoder_list: Vec::new(),
        node_threshold: Some(thresholds.node()),
        view: QParams::default(),
        neuronpedia: None,
    };
    let folder = tempfile::tempdir().expect("a folder");
    group.throughput(Throughput::Elements(pruned.n_edges() as u64));
    group.bench_function("pruned graph, written to the disk", |b| {
        b.iter(|| {
            let edges = (0..graph.rows.n_rows())
                .flat_map(|row| pruned.row(row).iter().map(move |&column| (row, column as usize)));
            let kept = Kept { nodes: pruned.kept(), edges, cumulative: &cumulative };
            black_box(write_graph_files(folder.path(), &graph, &kept, &options).expect("room on the disk"));
        });
    });
    group.finish();

    let mut group = c.benchmark_group("prune");
    group.bench_function(format!("{ROWS} features"), |b| b.iter(|| black_box(prune(&graph, thresholds))));
    drop(pruned);
    let graph = large_graph(graph, 8192, 60_000);
    let (n_rows, n_sources) = (graph.rows.n_rows(), graph.rows.n_columns());
    group.bench_function(format!("{n_rows} rows of {n_sources} sources"), |b| {
        b.iter(|| black_box(prune(&graph, thresholds)));
    });
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    targets = phases
}
criterion_main!(all);
