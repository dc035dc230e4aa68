//! Trains small transcoders of the demo model for some steps and judges them.
//!
//! `cargo run -p circuit-train --example few_steps`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use circuit_index::LayerSite;
use circuit_model::{Model, tokenizer::Tokenizer};
use circuit_train::{ActivationChoice, Corpus, Settings, Sites, Trainer};
use std::path::Path;
use tch::{Device, Kind};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo");
    let model = Model::open(&demo.join("model"), Kind::Float, Device::Cpu)?;
    let tokenizer = Tokenizer::open(&demo.join("model"))?;
    let corpus = Corpus::read(&[demo.join("corpus.txt")], &tokenizer, &model, 64, 1)?;
    let sites = Sites { reads: LayerSite::MlpIn, writes: LayerSite::MlpRawOut };
    let settings = Settings {
        features: 64,
        cross_layer: false,
        skip: false,
        activation: ActivationChoice::Relu,
        sparsity: 0.006,
        sparsity_warm_up: 0.2,
        relative_error: false,
        steps: 50,
        batch_rows: 256,
        chunk_batches: 4,
        balance: 0.0,
        learning_rate: 2e-3,
        warm_up: 5,
        decay: 0.3,
        betas: (0.9, 0.999),
        dead_after: 20,
        seed: 0,
    };
    let mut trainer = Trainer::new(&model, &corpus, sites, settings)?;
    while !trainer.is_done() {
        let found = trainer.step()?;
        if found.step % 10 == 9 {
            println!(
                "step {}: loss {:.4}, explained {:.3?}",
                found.step, found.loss, found.explained_variance
            );
        }
    }
    Ok(())
}
