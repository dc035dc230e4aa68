//! The settings by which the demo is trained, in one place.

use crate::facts::Subject;
use circuit_train::LanguageSettings;

/// What the drawn sentences are about.
#[must_use]
pub fn share(subject: Subject) -> f64 {
    match subject {
        Subject::TwoHop => 0.24,
        Subject::City => 0.18,
        Subject::Capital => 0.10,
        Subject::Opposite => 0.08,
        Subject::Translation => 0.08,
        Subject::Calendar => 0.08,
        Subject::Sum => 0.24,
    }
}

/// How the model is trained.
#[must_use]
pub fn language(seed: u64) -> LanguageSettings {
    LanguageSettings {
        steps: 3000,
        batch: 128,
        learning_rate: 2e-3,
        warm_up: 100,
        betas: (0.9, 0.98),
        weight_decay: 1.0,
        clip: 1.0,
        context_weight: 0.1,
        // Two choices that make the model readable: without them a city's state reaches the answer past every MLP.
        silent_attention: vec![0],
        embedding_norm: Some(0.5),
        first_scale: 0.02,
        seed,
    }
}
