//! The settings by which the demo is trained, in one place.

use crate::facts::Subject;
use circuit_train::{ActivationChoice, LanguageSettings, PageSettings, Settings};

/// What the drawn sentences are about.
#[must_use]
pub fn share(subject: Subject) -> f64 {
    match subject {
        Subject::TwoHop => 0.14,
        Subject::City => 0.10,
        Subject::Capital => 0.05,
        Subject::Opposite => 0.08,
        Subject::Translation => 0.12,
        Subject::Calendar => 0.15,
        Subject::Sum => 0.36,
    }
}

/// How the model is trained.
#[must_use]
pub fn language(seed: u64) -> LanguageSettings {
    LanguageSettings {
        steps: 4000,
        batch: 128,
        learning_rate: 2e-3,
        warm_up: 100,
        betas: (0.9, 0.98),
        weight_decay: 1.0,
        clip: 1.0,
        context_weight: 0.1,
        // What makes the model readable: words come in short, and what they mean is the first MLP's to say. Otherwise a city's
        // state reaches the answer through the embedding, past every MLP, where no transcoder sees it.
        silent_attention: vec![0],
        embedding_norm: Some(0.05),
        embedding_rate: 0.2,
        first_scale: 0.02,
        seed,
    }
}

/// How the sets are trained.
#[must_use]
pub fn transcoders(cross_layer: bool, seed: u64) -> Settings {
    Settings {
        features: 512,
        cross_layer,
        skip: false,
        activation: ActivationChoice::Relu,
        sparsity: 0.07,
        sparsity_warm_up: 0.2,
        relative_error: true,
        steps: 1000,
        batch_rows: 1024,
        chunk_batches: 24,
        balance: 0.5,
        learning_rate: 2e-3,
        warm_up: 50,
        decay: 0.3,
        betas: (0.9, 0.999),
        dead_after: 100,
        seed,
    }
}

/// What the pages hold: little of it, since they lie in the repository.
#[must_use]
pub fn pages() -> PageSettings {
    PageSettings {
        examples: 10,
        intervals: 4,
        per_interval: 2,
        context: 12,
        bars: 20,
        logits: 10,
        seed: 0,
        memory: 1 << 30,
    }
}
