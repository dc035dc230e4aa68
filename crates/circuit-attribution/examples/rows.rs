//! Rows of direct effects on the demo prompt: on its most probable answer, then on the features that matter most to it.
//!
//! `cargo run -p circuit-attribution --example rows`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use circuit_attribution::{AttributeConfig, PullBack, Read, TargetChoice, attribute};
use circuit_model::{Model, tokenizer::Tokenizer};
use circuit_replacement::LocalReplacement;
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
    let targets =
        TargetChoice::Automatic { max_n_logits: 1, desired_logit_prob: 0.95 }.resolve(&replacement)?;

    // One row by hand: over all sources, in the order in which they are written.
    let read = Read::Direction(targets[0].direction.shallow_clone());
    let row = PullBack::new(&replacement)?.rows(&[read], |_| {})?.remove(0);
    let strongest = row.iter().map(|x| x.abs()).fold(0.0, f32::max);
    println!("token {}: {} sources, the strongest edge {strongest:.3}", targets[0].token_id, row.len());

    // The whole: targets, then features in rounds by influence.
    let config = AttributeConfig { max_feature_nodes: Some(32), batch_size: 8, update_interval: 1 };
    let found = attribute(&replacement, &targets, config, |_| {})?;
    println!("{} rows over {} columns", found.rows.n_rows(), found.rows.n_columns());
    println!("{:.1} % of the influence on features not selected", 100.0 * found.unselected_influence);
    Ok(())
}
