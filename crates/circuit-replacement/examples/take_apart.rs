//! Takes the demo prompt apart: active features, what the transcoders leave over, and a second run with everything held.
//!
//! `cargo run -p circuit-replacement --example take_apart`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use circuit_index::Layer;
use circuit_model::{Model, TokenBatch, tokenizer::Tokenizer};
use circuit_replacement::{FrozenPass, LocalReplacement};
use circuit_transcoder::TranscoderSet;
use std::path::Path;
use tch::{Device, Kind};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo");
    let model = Model::open(&demo.join("model"), Kind::Float, Device::Cpu)?;
    let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
    let set =
        TranscoderSet::open(&demo.join("transcoders"), n_layers, d_model, model.wide_kind(), Device::Cpu)?;
    let prompt = Tokenizer::open(&demo.join("model"))?.encode_prompt("fact : the capital of Texas is")?;

    let replacement = LocalReplacement::new(&model, &set, &prompt.tokens, model.spec().ignored_positions)?;
    println!("{} active features, the first is {}", replacement.active().len(), replacement.active()[0]);
    for (l, share) in replacement.unexplained().iter().enumerate() {
        let norm = replacement.errors(Layer::from(l)).norm().double_value(&[]);
        println!("layer {l}: {:.1} % unexplained, errors of norm {norm:.3}", 100.0 * share);
    }

    // With patterns, denominators and MLP outputs held, and nothing added, the run repeats itself.
    let mut pass = FrozenPass::new(replacement.trace(), &set, ());
    let logits = model.forward(&TokenBatch::new(&prompt.tokens, &model)?, &mut pass)?;
    let change = (logits.get(0) - &replacement.trace().logits).abs().max().double_value(&[]);
    println!("largest change of a logit: {change:e}");
    Ok(())
}
