//! Rotary positions (Su et al., 2021): frequencies, their stretches, and the rotation itself.

use crate::spec::{RopeScaling, RopeSpec};
use std::f64::consts::TAU;
use std::ops::Range;
use tch::{Kind, Tensor};

/// Cosines and sines of some positions, `[pos, 1, d_head]`, times whatever lengthens queries and keys.
pub(crate) struct RopeTables {
    cos: Tensor,
    sin: Tensor,
}

impl RopeTables {
    pub(crate) fn new(spec: &RopeSpec, positions: Range<usize>, d_head: usize, like: &Tensor) -> Self {
        let frequencies = Tensor::from_slice(&spec.frequencies(d_head));
        let (start, end) = (positions.start as i64, positions.end as i64);
        let positions = Tensor::arange_start(start, end, (Kind::Double, tch::Device::Cpu));
        let angles = positions.outer(&frequencies);
        let angles = Tensor::cat(&[&angles, &angles], -1).unsqueeze(1);
        let length = spec.length();
        let to = |t: Tensor| (t * length).to_kind(like.kind()).to_device(like.device());
        Self { cos: to(angles.cos()), sin: to(angles.sin()) }
    }

    /// Rotates `x [batch, pos, head, d_head]`.
    pub(crate) fn rotate(&self, x: &Tensor) -> Tensor {
        x * &self.cos + quarter_turn(x) * &self.sin
    }

    /// Rotates `x [.., d_head]` as what stands at the first of the positions.
    pub(crate) fn rotate_at_first(&self, x: &Tensor) -> Tensor {
        let at = |table: &Tensor| table.narrow(0, 0, 1).squeeze();
        x * at(&self.cos) + quarter_turn(x) * at(&self.sin)
    }
}

/// Every pair of components `(a, b)`, half a head apart, as `(-b, a)`.
fn quarter_turn(x: &Tensor) -> Tensor {
    let halves = x.chunk(2, -1);
    Tensor::cat(&[&-&halves[1], &halves[0]], -1)
}

impl RopeSpec {
    /// The angle per position of each pair of components of a head of this width, in radians.
    #[must_use]
    pub fn frequencies(&self, d_head: usize) -> Vec<f64> {
        frequencies(self, d_head)
    }

    /// What rotated queries and keys are multiplied by.
    #[must_use]
    pub fn length(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }
}

fn frequencies(spec: &RopeSpec, d_head: usize) -> Vec<f64> {
    let plain = (0..d_head / 2).map(|i| spec.theta.powf(-2.0 * i as f64 / d_head as f64));
    match spec.scaling {
        RopeScaling::None => plain.collect(),
        RopeScaling::Linear { factor } => plain.map(|f| f / factor).collect(),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => plain
            .map(|f| {
                let turns = original_max_position_embeddings * f / TAU;
                let ramp = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let keep = ramp.clamp(0.0, 1.0);
                keep * f + (1.0 - keep) * f / factor
            })
            .collect(),
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings,
            truncate,
            ..
        } => {
            // The component that turns so many times within the old context.
            let component = |turns: f64| {
                d_head as f64 * (original_max_position_embeddings / (turns * TAU)).ln()
                    / (2.0 * spec.theta.ln())
            };
            let round = |x: f64, outwards: fn(f64) -> f64| if truncate { outwards(x) } else { x };
            let first = round(component(beta_fast), f64::floor).max(0.0);
            let last = round(component(beta_slow), f64::ceil).min(d_head as f64 - 1.0);
            let width = if first == last { 0.001 } else { last - first };
            plain
                .enumerate()
                .map(|(i, f)| {
                    let stretch = ((i as f64 - first) / width).clamp(0.0, 1.0);
                    (1.0 - stretch) * f + stretch * f / factor
                })
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yarn_keeps_what_turns_often_and_slows_what_turns_seldom() {
        let yarn = |truncate| RopeScaling::Yarn {
            factor: 32.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_max_position_embeddings: 4096.0,
            truncate,
            attention_factor: 1.0,
        };
        let plain = frequencies(&RopeSpec { theta: 150_000.0, scaling: RopeScaling::None }, 64);
        for truncate in [false, true] {
            let stretched = frequencies(&RopeSpec { theta: 150_000.0, scaling: yarn(truncate) }, 64);
            for (i, (f, s)) in plain.iter().zip(&stretched).enumerate() {
                let turns = 4096.0 * f / TAU;
                let slowed = f / s;
                assert!((1.0..=32.0 + 1e-9).contains(&slowed), "{i}: {slowed}");
                // Rounding outwards moves the ends by less than one component.
                assert!(turns < 32.0 * 1.5 || slowed == 1.0, "{i}: {turns} turns, {slowed}");
                assert!(turns > 1.0 / 1.5 || (slowed - 32.0).abs() < 1e-9, "{i}: {turns} turns, {slowed}");
            }
        }
    }

    #[test]
    fn the_llama3_stretch_keeps_fast_turns_and_slows_slow_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192.0,
        };
        let plain = frequencies(&RopeSpec { theta: 500_000.0, scaling: RopeScaling::None }, 128);
        let stretched = frequencies(&RopeSpec { theta: 500_000.0, scaling }, 128);
        assert_eq!(plain[0], stretched[0]);
        assert_eq!(plain[63] / 8.0, stretched[63]);
        let middle = (plain[34] / stretched[34], 8192.0 * plain[34] / TAU);
        assert!(middle.0 > 1.0 && middle.0 < 8.0 && middle.1 > 1.0 && middle.1 < 4.0, "{middle:?}");
    }
}
