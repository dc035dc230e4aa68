//! The demo model on a two-hop question, before and after the feature that says Texas at "Dallas" is removed.
//!
//! `cargo run -p circuit-intervention --example steer`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use circuit_index::{FeatureIndex, Layer, Pos};
use circuit_intervention::{Change, Edit, Freeze, GenerateConfig, Interventions, Positions, Request};
use circuit_model::tokenizer::Tokenizer;
use circuit_model::{Model, Sampling};
use circuit_transcoder::TranscoderSet;
use std::path::Path;
use tch::{Device, Kind};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo");
    let model = Model::open(&demo.join("model"), Kind::Float, Device::Cpu)?;
    let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
    let set =
        TranscoderSet::open(&demo.join("transcoders"), n_layers, d_model, model.wide_kind(), Device::Cpu)?;
    let tokenizer = Tokenizer::open(&demo.join("model"))?;
    let tokens = tokenizer.encode_prompt("fact : the capital of the state containing Dallas is")?.tokens;

    let remove = |feature: u32| Edit {
        layer: Layer(0),
        feature: FeatureIndex(feature),
        positions: Positions::At(Pos(9)),
        change: Change::Set(0.0),
    };
    let interventions = Interventions::new(&model, &set, model.spec().ignored_positions)?;
    let config = GenerateConfig { max_new_tokens: 1, sampling: Sampling::GREEDY, stop: Vec::new() };
    for (what, edits) in [("undisturbed", vec![]), ("Texas removed", vec![remove(464)])] {
        let request = Request { tokens: tokens.clone(), edits };
        let found = interventions.generate(&request, &Freeze::Attention, &config, |_| true)?;
        let probability = found.outcome.logits.get(0).softmax(-1, None::<Kind>).max().double_value(&[]);
        println!("{what}: {} ({probability:.3})", tokenizer.decode_token(found.tokens[found.n_prompt])?);
    }
    Ok(())
}
