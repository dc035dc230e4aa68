//! The settings by which the demo is trained, in one place.

use crate::facts::Subject;
use circuit_index::TokenId;
use circuit_train::{ActivationChoice, LanguageSettings, PageSettings, Settings};

/// What the drawn sentences are about.
#[must_use]
pub fn share(subject: Subject) -> f64 {
    match subject {
        Subject::TwoHop => 0.11,
        Subject::City => 0.07,
        Subject::Capital => 0.03,
        Subject::Opposite => 0.06,
        Subject::Translation => 0.10,
        Subject::Calendar => 0.13,
        Subject::Sum => 0.50,
    }
}

/// How the model is trained. `numbers` are the tokens that are added.
#[must_use]
pub fn language(seed: u64, numbers: Vec<TokenId>) -> LanguageSettings {
    LanguageSettings {
        steps: 3400,
        batch: 128,
        learning_rate: 2e-3,
        warm_up: 100,
        betas: (0.9, 0.98),
        weight_decay: 1.0,
        clip: 1.0,
        context_weight: 0.1,
        // What makes the model readable: what a word means is what the first MLP makes of it. Otherwise a city's state reaches the
        // answer through the embedding, past every MLP, where no transcoder sees it. Rows that are long at first, and decay, become
        // one direction for all cities of a state, which one feature can mean; then they get so short that what the MLP writes
        // is all that counts. Numbers stay as they are: there is no such story about them, and sums are the harder.
        silent_attention: vec![0],
        embedding_norm: Some(0.3),
        embedding_left: 0.03,
        embedding_falls: 0.7,
        free_rows: numbers,
        embedding_decay: 1.0,
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
        steps: 1200,
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
