//! Training a tiny language model from nothing, with few steps.

use circuit_index::TokenId;
use circuit_model::Model;
use circuit_tests::demo;
use circuit_train::{LanguageSettings, LanguageTrainer, StoredKind, Subject, TrainError, predict};
use std::path::Path;
use tch::{Device, Kind};

fn settings() -> LanguageSettings {
    LanguageSettings {
        steps: 60,
        batch: 16,
        learning_rate: 1e-2,
        warm_up: 5,
        betas: (0.9, 0.98),
        weight_decay: 0.1,
        clip: 1.0,
        context_weight: 0.1,
        silent_attention: vec![0],
        embedding_norm: Some(0.5),
        embedding_left: 0.5,
        embedding_falls: 0.5,
        free_rows: vec![TokenId(10)],
        embedding_decay: 0.1,
        first_scale: 0.05,
        seed: 3,
    }
}

/// The demo's config, two layers high and narrow.
fn config(folder: &Path) {
    let text = std::fs::read_to_string(demo().join("model/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (name, value) in [
        ("num_hidden_layers", 2),
        ("hidden_size", 32),
        ("intermediate_size", 48),
        ("head_dim", 8),
        ("vocab_size", 40),
    ] {
        config[name] = value.into();
    }
    config["layer_types"] = ["full_attention"; 2].to_vec().into();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

/// Which of ten words follows: a word's partner, for two ways to ask.
fn subjects() -> Vec<Subject> {
    let document = |ask: u32, word: u32, answer: u32| [1, ask, word, 4, answer].map(TokenId).to_vec();
    let one = (0..10).map(|w| document(2, 10 + w, 20 + w)).collect();
    let other = (0..10).map(|w| document(3, 10 + w, 20 + (w + 1) % 10)[..].to_vec()).collect();
    vec![Subject { share: 0.5, documents: one }, Subject { share: 0.5, documents: other }]
}

fn train(folder: &Path, settings: &LanguageSettings) -> Vec<f64> {
    config(folder);
    let mut trainer = LanguageTrainer::new(folder, subjects(), settings.clone()).unwrap();
    let mut losses = Vec::new();
    while !trainer.is_done() {
        losses.push(trainer.step().unwrap().loss);
    }
    trainer.write(StoredKind::Bfloat16).unwrap();
    losses
}

#[test]
fn loss_falls_the_seed_decides_and_the_written_model_opens() {
    let dir = tempfile::tempdir().unwrap();
    let folders = ["one", "again", "other"].map(|name| dir.path().join(name));
    let losses = train(&folders[0], &settings());
    assert!(losses[59] < 0.5 * losses[0], "{losses:?}");
    assert_eq!(train(&folders[1], &settings()), losses);
    assert_ne!(train(&folders[2], &LanguageSettings { seed: 4, ..settings() }), losses);
    let [one, again, other] =
        folders.each_ref().map(|folder| std::fs::read(folder.join("model.safetensors")).unwrap());
    assert!(one == again && one != other);

    let model = Model::open(&folders[0], Kind::Float, Device::Cpu).unwrap();
    let documents: Vec<_> = subjects().into_iter().flat_map(|s| s.documents).collect();
    let prompts: Vec<_> = documents.iter().map(|d| d[..4].to_vec()).collect();
    let said = predict(&model, None, &prompts, 1).unwrap();
    let right = documents.iter().zip(&said).filter(|(d, s)| d[4] == **s).count();
    assert!(right >= 15, "{right} of 20");
    // What is held stays where it is held, and what is free does not.
    let file = circuit_torch::TensorFile::open(&folders[0].join("model.safetensors")).unwrap();
    let rows = file.tensor("model.embed_tokens.weight", &[40, 32]).unwrap().to_kind(Kind::Float);
    let norms = rows.square().sum_dim_intlist(-1, false, Kind::Float).sqrt();
    let norms = Vec::<f32>::try_from(norms).unwrap();
    for (token, norm) in norms.iter().enumerate() {
        assert!(token == 10 || *norm < 0.251, "token {token}: a row of length {norm}");
    }
    assert!(norms[10] > 0.26, "{}", norms[10]);
    assert_eq!(model.blocks()[0].attn.out.weight.abs().max().double_value(&[]), 0.0);
    assert!(model.blocks()[1].attn.out.weight.abs().max().double_value(&[]) > 0.0);
}

#[test]
fn impossible_settings_and_documents_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path());
    let good = settings();
    let refused = |settings: LanguageSettings, subjects: Vec<Subject>, said: &str| {
        let error = LanguageTrainer::new(dir.path(), subjects, settings).unwrap_err();
        assert!(matches!(error, TrainError::Setting { .. }) && error.to_string().contains(said), "{error}");
    };
    refused(LanguageSettings { steps: 0, ..good.clone() }, subjects(), "steps: 0");
    refused(LanguageSettings { learning_rate: f64::NAN, ..good.clone() }, subjects(), "learning-rate: NaN");
    refused(LanguageSettings { betas: (0.9, 1.0), ..good.clone() }, subjects(), "beta2: 1");
    refused(LanguageSettings { embedding_norm: Some(0.0), ..good.clone() }, subjects(), "embedding-norm: 0");
    refused(LanguageSettings { embedding_left: 0.0, ..good.clone() }, subjects(), "embedding-left: 0");
    refused(LanguageSettings { embedding_falls: 1.5, ..good.clone() }, subjects(), "embedding-falls: 1.5");
    refused(LanguageSettings { embedding_decay: -1.0, ..good.clone() }, subjects(), "embedding-decay: -1");
    refused(
        LanguageSettings { free_rows: vec![TokenId(40)], ..good.clone() },
        subjects(),
        "free-rows: token 40",
    );
    refused(LanguageSettings { silent_attention: vec![2], ..good.clone() }, subjects(), "layer 2");
    refused(good.clone(), vec![], "shares");
    refused(good.clone(), vec![Subject { share: 1.0, documents: vec![] }], "none for a subject");
    let short = vec![Subject { share: 1.0, documents: vec![vec![TokenId(1)]] }];
    refused(good.clone(), short, "one of 1 tokens");
    // Words that the model does not have, and a folder without a description.
    let unknown = vec![Subject { share: 1.0, documents: vec![vec![TokenId(1), TokenId(40), TokenId(2)]] }];
    let mut trainer = LanguageTrainer::new(dir.path(), unknown, good.clone()).unwrap();
    assert!(trainer.step().unwrap_err().to_string().contains("40"));
    assert!(LanguageTrainer::new(&dir.path().join("nothing"), subjects(), good).is_err());
}
