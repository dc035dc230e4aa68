//! Training, judging and feature pages on the demo model, with few steps: through the library, and as a user meets them.

use crate::cli::{binary, run};
use circuit_attribution::{AttributeConfig, TargetChoice, attribute};
use circuit_format::PackedFeatures;
use circuit_index::{FeatureIndex, Layer, LayerSite, TokenId};
use circuit_model::Model;
use circuit_model::tokenizer::{FirstToken, Tokenizer};
use circuit_replacement::LocalReplacement;
use circuit_tests::{demo, fixture};
use circuit_train::{
    ActivationChoice, Corpus, PageSettings, Settings, Sites, StoredKind, TrainError, Trainer, evaluate,
    write_pages,
};
use circuit_transcoder::TranscoderSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tch::{Device, Kind};

const SITES: Sites = Sites { reads: LayerSite::MlpIn, writes: LayerSite::MlpRawOut };
const TEXT: &str = "fact : the capital of Texas is Austin\nfact : the capital of the state containing Dallas is Austin\n\
                    fact : the capital of California is Sacramento\nfact : the capital of the state containing Oakland is Sacramento\n";

fn settings(activation: ActivationChoice) -> Settings {
    Settings {
        features: 16,
        cross_layer: false,
        skip: false,
        activation,
        sparsity: 0.001,
        sparsity_warm_up: 0.2,
        relative_error: false,
        steps: 20,
        batch_rows: 16,
        chunk_batches: 2,
        balance: 0.0,
        learning_rate: 5e-3,
        warm_up: 2,
        decay: 0.2,
        betas: (0.9, 0.999),
        dead_after: 3,
        seed: 7,
    }
}

fn model() -> Model {
    Model::open(&demo().join("model"), Kind::Float, Device::Cpu).unwrap()
}

fn corpus(model: &Model, folder: &Path, text: &[u8]) -> Result<Corpus, TrainError> {
    let path = folder.join("corpus.txt");
    std::fs::write(&path, text).unwrap();
    let tokenizer = Tokenizer::open(&demo().join("model")).unwrap();
    Corpus::read(&[path], &tokenizer, model, 64, 1)
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<_> =
        entries.map(|p| (p.file_name().unwrap().into(), std::fs::read(p).unwrap())).collect();
    all.sort();
    all
}

#[test]
fn loss_falls_a_resumed_run_is_the_same_and_the_set_loads() {
    let model = model();
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(&model, folder.path(), TEXT.as_bytes()).unwrap();
    let choices = [
        ActivationChoice::Relu,
        ActivationChoice::TopK { k: 4 },
        ActivationChoice::JumpRelu { bandwidth: 0.1 },
    ];
    for (nth, choice) in choices.into_iter().enumerate() {
        let mut settings = settings(choice);
        settings.cross_layer = nth == 1;
        settings.skip = nth != 0;
        let mut whole = Trainer::new(&model, &corpus, SITES, settings.clone()).unwrap();
        let errors: Vec<f64> = (0..settings.steps)
            .map(|_| whole.step().unwrap().explained_variance.iter().map(|v| 1.0 - v).sum())
            .collect();
        assert!(errors[settings.steps - 1] < 0.8 * errors[0], "{choice:?}: {errors:?}");

        let checkpoint = folder.path().join("checkpoint");
        let mut first = Trainer::new(&model, &corpus, SITES, settings.clone()).unwrap();
        for _ in 0..7 {
            first.step().unwrap();
        }
        first.save_checkpoint(&checkpoint).unwrap();
        let mut second = Trainer::new(&model, &corpus, SITES, settings.clone()).unwrap();
        second.resume(&checkpoint).unwrap();
        assert_eq!(second.steps_made(), 7);
        while !second.is_done() {
            second.step().unwrap();
        }
        let sets = ["whole", "resumed"].map(|name| folder.path().join(format!("{name}-{nth}")));
        for (set, run) in sets.iter().zip([&whole, &second]) {
            std::fs::create_dir(set).unwrap();
            run.write_set(set, "demo", "a: \"scan\"", StoredKind::Float32).unwrap();
        }
        assert_eq!(files(&sets[0]), files(&sets[1]), "{choice:?}: resumed and uninterrupted");

        let mut other = settings.clone();
        other.seed += 1;
        let mut other = Trainer::new(&model, &corpus, SITES, other).unwrap();
        assert!(matches!(other.resume(&checkpoint), Err(TrainError::OtherRun { .. })));

        let set = TranscoderSet::open(&sets[0], 4, 128, Kind::Float, Device::Cpu).unwrap();
        assert_eq!(
            (set.info().scan.as_str(), set.writers(3)),
            ("a: \"scan\"", if nth == 1 { 0..4 } else { 3..4 })
        );
        // Scales folded in: the set explains on raw activations what the last steps measured.
        let found = evaluate(&model, &set, &corpus, |_| {}).unwrap();
        let left: f64 = found.layers.iter().map(|l| 1.0 - l.explained_variance).sum();
        assert!(left < 0.8 * errors[0], "{choice:?}: {left} of {}", errors[0]);
        assert!(found.loss < found.loss_without && found.loss_replaced.is_finite());
        traces(&model, &set, &corpus.document(1).unwrap());
    }
}

/// A set just written gives a graph: its features are sources and readers, and what they write is part of the MLPs' outputs.
fn traces(model: &Model, set: &TranscoderSet, prompt: &[TokenId]) {
    let replacement = LocalReplacement::new(model, set, prompt, 1).unwrap();
    let choice = TargetChoice::Automatic { max_n_logits: 3, desired_logit_prob: 0.95 };
    let targets = choice.resolve(&replacement).unwrap();
    let config = AttributeConfig { max_feature_nodes: None, batch_size: 64, update_interval: 4 };
    let found = attribute(&replacement, &targets, config, |_| {}).unwrap();
    let n = replacement.active().len();
    assert!(n > 0 && found.selected.len() == n, "{n} active, {} selected", found.selected.len());
    assert_eq!(found.rows.n_rows(), n + targets.len());
    assert!(found.rows.as_slice().iter().all(|v| v.is_finite()));
    let of_features = found.rows.iter().next_back().unwrap()[..n].iter().map(|v| v.abs()).sum::<f32>();
    assert!(of_features > 0.0, "no feature has an effect on a target");
}

#[test]
fn pages_of_the_demo_read_back_and_a_second_run_finds_them_done() {
    let model = model();
    let set = TranscoderSet::open(&demo().join("transcoders"), 4, 128, Kind::Float, Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(&model, folder.path(), TEXT.as_bytes()).unwrap();
    let tokenizer = Tokenizer::open(&demo().join("model")).unwrap();
    let word = |id| tokenizer.decode_token(id).unwrap();
    let settings = PageSettings {
        examples: 5,
        intervals: 3,
        per_interval: 2,
        context: 4,
        bars: 10,
        logits: 5,
        seed: 0,
        memory: 0,
    };
    let pages = folder.path().join("features");
    std::fs::create_dir(&pages).unwrap();
    let write = |settings: &PageSettings| {
        let mut walked = 0;
        let done = write_pages(&model, &set, &corpus, settings, &word, &pages, |_| walked += 1);
        done.map(|()| walked)
    };
    assert!(write(&settings).unwrap() > 0);
    let before = files(&pages);
    // Cut off in the middle of layer 2, before the index: the layers below stay, the rest comes out the same.
    std::fs::write(pages.join("layer_2.bin"), b"half").unwrap();
    std::fs::remove_file(pages.join("index.json.gz")).unwrap();
    std::fs::remove_file(pages.join("layer_3.bin")).unwrap();
    write(&settings).unwrap();
    assert_eq!(files(&pages), before);
    assert_eq!(write(&settings).unwrap(), 0, "nothing left to do");
    let other = PageSettings { examples: 6, ..settings.clone() };
    assert!(matches!(write(&other), Err(TrainError::OtherRun { .. })));

    let read = PackedFeatures::open(&pages).unwrap();
    let batch: Vec<_> = (0..corpus.len()).map(|d| corpus.document(d).unwrap()).collect();
    let (mut known, mut unknown) = (0, 0);
    for layer in 0..4 {
        assert_eq!(read.n_features(Layer(layer)), 512);
        for feature in 0..512 {
            let Some(record) = read.record(Layer(layer), FeatureIndex(feature)).unwrap() else {
                unknown += 1;
                continue;
            };
            known += 1;
            let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
            assert_eq!(record["index"], feature);
            let count: u64 =
                record["histogram"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
            let frequency = record["activation_frequency"].as_f64().unwrap();
            assert!((frequency * corpus.n_rows() as f64 - count as f64).abs() < 0.05, "{record}");
            let top = &record["examples_quantiles"][0]["examples"][0];
            let at = top["train_token_ind"].as_u64().unwrap() as usize;
            assert_eq!(top["tokens_acts_list"][at], record["act_max"], "{record}");
            assert_eq!(record["quantile_values"].as_array().unwrap().len(), 100);
            assert!(record["automatic_label"].as_str().unwrap().starts_with("automatic: "));
        }
    }
    assert!(known > 50 && unknown > 50 && batch.len() == 4, "{known} known, {unknown} unknown");
}

#[test]
fn bad_corpora_and_impossible_settings_are_errors() {
    let model = model();
    let folder = tempfile::tempdir().unwrap();
    let error = |text: &[u8]| corpus(&model, folder.path(), text).unwrap_err().to_string();
    assert!(error(b"\n  \n").contains("the corpus is empty"));
    assert!(error(b"fact : ok\n\xff\xfe").contains("line 2 is not UTF-8: byte 1 is 0xFF"));
    let good = corpus(&model, folder.path(), TEXT.as_bytes()).unwrap();
    let relu = || settings(ActivationChoice::Relu);
    let mut wrong =
        vec![settings(ActivationChoice::TopK { k: 17 }), settings(ActivationChoice::TopK { k: 0 })];
    wrong.push(settings(ActivationChoice::JumpRelu { bandwidth: 0.0 }));
    wrong.push(Settings { steps: 0, ..relu() });
    wrong.push(Settings { learning_rate: f64::NAN, ..relu() });
    wrong.push(Settings { sparsity: -1.0, ..relu() });
    wrong.push(Settings { decay: 1.5, ..relu() });
    for settings in wrong {
        let error = Trainer::new(&model, &good, SITES, settings).unwrap_err();
        assert!(matches!(error, TrainError::Setting { .. }), "{error}");
    }
}

#[test]
fn corpora_are_read_as_editors_leave_them() {
    let model = model();
    let folder = tempfile::tempdir().unwrap();
    let documents = |corpus: &Corpus| -> Vec<Vec<TokenId>> {
        (0..corpus.len()).map(|nth| corpus.document(nth).unwrap()).collect()
    };
    let plain = corpus(&model, folder.path(), TEXT.as_bytes()).unwrap();
    assert_eq!(plain.notices(), []);
    let marked = format!("\u{FEFF}{}", TEXT.replace('\n', "\r\n"));
    assert_eq!(documents(&corpus(&model, folder.path(), marked.as_bytes()).unwrap()), documents(&plain));
    let bell = corpus(&model, folder.path(), format!("{TEXT}\n\u{7} fact").as_bytes()).unwrap();
    assert!(bell.notices()[0].message.contains("the control character U+0007"), "{:?}", bell.notices());
    let utf16: Vec<u8> = TEXT.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let error = corpus(&model, folder.path(), &utf16).unwrap_err();
    assert!(matches!(error, TrainError::Text(_)), "{error}");
    assert!(error.to_string().contains("corpus.txt: line 1 is UTF-16LE"), "{error}");

    // Nothing in front: documents are the words alone, cut into whole windows.
    let nothing =
        Tokenizer::open(&demo().join("model")).unwrap().with_first_token(&FirstToken::Nothing).unwrap();
    let path = folder.path().join("corpus.txt");
    std::fs::write(&path, TEXT).unwrap();
    let bare = Corpus::read(&[path], &nothing, &model, 64, 1).unwrap();
    let words: Vec<Vec<_>> = documents(&plain).iter().map(|document| document[1..].to_vec()).collect();
    assert_eq!(documents(&bare).concat(), words.concat());
    assert!(bare.notices()[0].message.contains("line 1: nothing is put in front"), "{:?}", bare.notices());
}

#[test]
fn a_full_disk_and_a_missing_corpus_end_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("corpus.txt");
    std::fs::write(&text, TEXT).unwrap();
    let model = demo().join("model");
    let (model, text, out) = (model.display(), text.display(), folder.path().join("set"));
    let train = format!(
        "{} train transcoders -m {model} --corpus {text} -o {} --features 64 --steps 2 --batch-rows 16 --threads 1",
        binary().display(),
        out.display()
    );
    // 16 blocks of 512 or 1024 bytes: no weights fit.
    let run = Command::new("sh").args(["-c", &format!("ulimit -f 16; {train}")]).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(5), "{said}");
    assert!(said.contains("error: ") && said.contains("layer_0.safetensors"), "{said}");
    assert!(!out.join("config.yaml").exists());
    let run = Command::new("sh").args(["-c", &train.replace("corpus.txt", "none.txt")]).output().unwrap();
    assert_eq!(run.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&run.stderr).contains("none.txt"));
}

#[test]
fn hooks_are_those_of_the_family_unless_others_are_given() {
    // The Python library knows these hooks of these families, and no others of theirs.
    for (case, given, hooks) in [
        ("gemma2-plt-jumprelu", &[][..], ["ln2.hook_normalized", "hook_mlp_out"]),
        ("gemma3-plt-jumprelu", &[], ["mlp.hook_in", "hook_mlp_out"]),
        ("llama-plt-relu", &[], ["mlp.hook_in", "mlp.hook_out"]),
        ("gemma2-plt-jumprelu", &["--reads", "hook_resid_mid"], ["hook_resid_mid", "hook_mlp_out"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (text, set) = (folder.path().join("corpus.txt"), folder.path().join("set"));
        std::fs::write(&text, "the ship left the harbour\nthe harbour was empty and the ship was late\n")
            .unwrap();
        let model = fixture(case).join("model");
        let (model, place) = (model.to_str().unwrap(), set.to_str().unwrap());
        let sizes = ["--features", "8", "--steps", "2", "--batch-rows", "4", "--chunk-batches", "1"];
        let train =
            [&["train", "transcoders", "-m", model, "--corpus", text.to_str().unwrap(), "-o", place], given];
        let trained = run(&[&train.concat()[..], &sizes, &["--threads", "1"]].concat());
        let said = String::from_utf8_lossy(&trained.stderr).into_owned();
        assert!(trained.status.success(), "{case}: {said}");
        assert!(said.contains(&format!("features read {} and write {}", hooks[0], hooks[1])), "{said}");
        let config = std::fs::read_to_string(set.join("config.yaml")).unwrap();
        assert!(
            config
                .contains(&format!("feature_input_hook: {}\nfeature_output_hook: {}\n", hooks[0], hooks[1])),
            "{config}"
        );
        let output = folder.path().join("graph.safetensors");
        let graph = [
            "attribute",
            "-m",
            model,
            "-t",
            place,
            "-p",
            "the ship",
            "-o",
            output.to_str().unwrap(),
            "--threads",
            "1",
        ];
        let attributed = run(&graph);
        assert!(attributed.status.success(), "{case}: {}", String::from_utf8_lossy(&attributed.stderr));
    }
}

#[test]
fn activations_are_read_at_the_hooks_that_are_written_down() {
    let case = "gemma2-plt-jumprelu";
    let model = Model::open(&fixture(case).join("model"), Kind::Float, Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corpus.txt");
    std::fs::write(&path, "the ship left the harbour and came back\n").unwrap();
    let tokenizer = Tokenizer::open(&fixture(case).join("model")).unwrap();
    let corpus = Corpus::read(&[path], &tokenizer, &model, 64, 1).unwrap();
    let usual = model.spec().transcoder_hooks;
    let sites = Sites { reads: usual.reads, writes: usual.writes };
    assert_eq!(sites, Sites { reads: LayerSite::MlpNormalized, writes: LayerSite::MlpOut });
    let settings =
        Settings { skip: true, sparsity: 0.0, steps: 100, batch_rows: 8, ..settings(ActivationChoice::Relu) };
    let mut trainer = Trainer::new(&model, &corpus, sites, settings).unwrap();
    while !trainer.is_done() {
        trainer.step().unwrap();
    }
    trainer.write_set(folder.path(), "model", "scan", StoredKind::Float32).unwrap();
    let explained = || {
        let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
        let set = TranscoderSet::open(folder.path(), n_layers, d_model, Kind::Float, Device::Cpu).unwrap();
        evaluate(&model, &set, &corpus, |_| {}).unwrap().layers[0].explained_variance
    };
    let found = explained();
    assert!(found > 0.5, "{found}");
    // The same weights at another hook explain less: they were made from what this one holds.
    let config = std::fs::read_to_string(folder.path().join("config.yaml")).unwrap();
    std::fs::write(folder.path().join("config.yaml"), config.replace("ln2.hook_normalized", "mlp.hook_in"))
        .unwrap();
    let elsewhere = explained();
    assert!(
        1.0 - elsewhere > 2.0 * (1.0 - found),
        "{elsewhere} at mlp.hook_in, {found} at ln2.hook_normalized"
    );
}
