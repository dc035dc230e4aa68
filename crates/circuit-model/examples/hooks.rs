//! Runs the demo model, reads a value at a hook, and changes one.
//!
//! `cargo run -p circuit-model --example hooks`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use circuit_model::{Hooks, Model, TokenBatch, tokenizer::Tokenizer};
use std::path::Path;
use tch::{Device, Kind};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/model");
    let model = Model::open(&folder, Kind::Float, Device::Cpu)?;
    let tokenizer = Tokenizer::open(&folder)?;
    let prompt = tokenizer.encode_prompt("fact : the capital of Texas is")?;
    let tokens = TokenBatch::new(&prompt.tokens, &model)?;
    let answer = |logits: &tch::Tensor| {
        let best = logits.get(0).get(-1).argmax(-1, false).int64_value(&[]);
        tokenizer.decode_token((best as usize).into())
    };

    let (read, edited) = ("blocks.2.hook_resid_mid".parse()?, "blocks.0.hook_mlp_out".parse()?);
    let mut hooks = Hooks::new().record([read]).edit(edited, |mlp_out| Ok(mlp_out * 0.0));
    let without = model.forward(&tokens, &mut hooks)?;
    // A hook that was never reached would be an error here.
    let values = hooks.finish()?;
    println!("{read}: {:?}", values[&read].size()); // [batch, pos, d_model]
    println!("answer {:?}", answer(&model.forward(&tokens, &mut ())?)?);
    println!("answer {:?} without the MLP of layer 0", answer(&without)?);
    Ok(())
}
