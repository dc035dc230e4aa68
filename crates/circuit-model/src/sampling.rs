//! The next token, chosen by a model's logits: the likeliest, or by chance among the likely ones.
//!
//! Numbers in, a token out: no LibTorch, no clock, and chance comes from a seed alone, by a generator whose numbers stay the same across
//! machines and versions (ChaCha8). Not here: running the model, and when to stop.

use crate::ModelError;
use circuit_index::TokenId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::num::NonZeroUsize;

/// How tokens are chosen. The limits apply in the order of the fields, each to what the one before left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this. At 0 the likeliest token is chosen, of equal ones that with the lowest id, and nothing is left
    /// to chance.
    pub temperature: f64,
    /// Only so many of the likeliest tokens can be chosen; of equal ones those with the lowest ids.
    pub top_k: Option<NonZeroUsize>,
    /// Only the fewest of the likeliest tokens that together have this probability can be chosen (Holtzman et al., 2020).
    pub top_p: Option<f64>,
    /// What chance follows from.
    pub seed: u64,
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: None, top_p: None, seed: 0 };
}

/// Chooses one token after another. Equal samplers choose alike from equal logits.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
}

impl Sampler {
    /// Starts at the seed.
    ///
    /// # Errors
    /// If the temperature is negative or no number, or the share of `top_p` is not above 0 and at most 1.
    pub fn new(sampling: Sampling) -> Result<Self, ModelError> {
        let wrong = |what, found, expected| Err(ModelError::Sampling { what, found, expected });
        if !(sampling.temperature.is_finite() && sampling.temperature >= 0.0) {
            return wrong("temperature", sampling.temperature, "a number of at least 0");
        }
        if let Some(p) = sampling.top_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            return wrong("top_p", p, "above 0 and at most 1");
        }
        Ok(Self { sampling, random: ChaCha8Rng::seed_from_u64(sampling.seed) })
    }

    /// The token that comes next by these logits, one for each token of the vocabulary. A logit of minus infinity rules its
    /// token out.
    ///
    /// # Errors
    /// If a logit is no number or infinite, or no token is left.
    pub fn choose(&mut self, logits: &[f32]) -> Result<TokenId, ModelError> {
        if let Some(id) = logits.iter().position(|x| x.is_nan() || *x == f32::INFINITY) {
            return Err(ModelError::BadLogit { token: TokenId::from(id), found: logits[id] });
        }
        let mut left: Vec<Candidate> = (0..)
            .zip(logits)
            .filter(|(_, x)| x.is_finite())
            // Minus zero is zero, also in the order.
            .map(|(id, &x)| Candidate { id: TokenId(id), logit: f64::from(x) + 0.0, weight: 1.0 })
            .collect();
        let best = left.iter().copied().min_by(Candidate::order).ok_or(ModelError::NoTokenLeft)?;
        if self.sampling.temperature == 0.0 {
            return Ok(best.id);
        }
        if let Some(k) = self.sampling.top_k.map(NonZeroUsize::get).filter(|&k| k < left.len()) {
            let _ = left.select_nth_unstable_by(k, Candidate::order);
            left.truncate(k);
        }
        for candidate in &mut left {
            candidate.weight = ((candidate.logit - best.logit) / self.sampling.temperature).exp();
        }
        // Sums depend on the order, and with them what a seed chooses.
        left.sort_unstable_by(Candidate::order);
        if let Some(p) = self.sampling.top_p {
            left.truncate(how_many_reach(p, &left));
        }
        Ok(left[nth_at(self.uniform(), &left)].id)
    }

    /// At least 0 and below 1.
    fn uniform(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[derive(Clone, Copy)]
struct Candidate {
    id: TokenId,
    logit: f64,
    /// Its probability times a number that is the same for all.
    weight: f64,
}

impl Candidate {
    /// Likelier ones first, then lower ids.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        other.logit.total_cmp(&self.logit).then(self.id.cmp(&other.id))
    }
}

fn total(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|c| c.weight).sum()
}

/// The length of the shortest start that has a share `p` of the whole.
fn how_many_reach(p: f64, candidates: &[Candidate]) -> usize {
    let wanted = p * total(candidates);
    let mut sum = 0.0;
    let reached = candidates.iter().position(|c| {
        sum += c.weight;
        sum >= wanted
    });
    reached.map_or(candidates.len(), |last| last + 1)
}

/// Which one stands at this share, below 1, of the whole.
fn nth_at(share: f64, candidates: &[Candidate]) -> usize {
    let wanted = share * total(candidates);
    let mut sum = 0.0;
    let found = candidates.iter().position(|c| {
        sum += c.weight;
        sum > wanted
    });
    // Rounding can leave nothing at the very end: then the last one that has a share at all.
    found.or_else(|| candidates.iter().rposition(|c| c.weight > 0.0)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits of tokens with these probabilities.
    fn logits(probabilities: &[f64]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln() as f32 + 3.0).collect()
    }

    fn sampling(temperature: f64, top_k: usize, top_p: f64) -> Sampling {
        Sampling {
            temperature,
            top_k: NonZeroUsize::new(top_k),
            top_p: (top_p > 0.0).then_some(top_p),
            seed: 7,
        }
    }

    /// How often each token is chosen.
    fn frequencies(sampling: Sampling, logits: &[f32]) -> Vec<f64> {
        const N: usize = 20_000;
        let mut sampler = Sampler::new(sampling).unwrap();
        let mut counts = vec![0usize; logits.len()];
        for _ in 0..N {
            counts[sampler.choose(logits).unwrap().get()] += 1;
        }
        counts.into_iter().map(|n| n as f64 / N as f64).collect()
    }

    /// Five standard deviations of the share of a coin in as many throws are 0.018.
    #[track_caller]
    fn assert_frequencies(sampling: Sampling, logits: &[f32], wanted: &[f64]) {
        let found = frequencies(sampling, logits);
        let close = |(f, w): (&f64, &f64)| (f - w).abs() < 0.018 && (*w > 0.0 || *f == 0.0);
        assert!(found.iter().zip(wanted).all(close), "{found:?}, not {wanted:?}");
    }

    #[test]
    fn greedy_takes_the_likeliest_and_of_equal_ones_the_lowest_id() {
        let mut greedy = Sampler::new(Sampling::GREEDY).unwrap();
        assert_eq!(greedy.choose(&[0.5, 2.0, -1.0, 2.0]).unwrap(), TokenId(1));
        assert_eq!(greedy.choose(&[0.0, -0.0]).unwrap(), TokenId(0));
        assert_eq!(greedy.choose(&[-0.0, 0.0]).unwrap(), TokenId(0));
        assert_eq!(greedy.choose(&[f32::NEG_INFINITY, -5.0]).unwrap(), TokenId(1));
    }

    #[test]
    fn tokens_are_chosen_as_often_as_they_are_likely() {
        let p = [0.1, 0.4, 0.2, 0.3];
        assert_frequencies(sampling(1.0, 0, 0.0), &logits(&p), &p);
        // The square root of each, and the square.
        let power = |e: f64| {
            let powers = p.map(|p: f64| p.powf(e));
            powers.map(|x| x / powers.iter().sum::<f64>())
        };
        assert_frequencies(sampling(2.0, 0, 0.0), &logits(&p), &power(0.5));
        assert_frequencies(sampling(0.5, 0, 0.0), &logits(&p), &power(2.0));
        // So cold that others have no weight at all.
        assert_frequencies(sampling(1e-300, 0, 1.0), &logits(&p), &[0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn top_k_keeps_so_many() {
        let p = logits(&[0.1, 0.4, 0.2, 0.3]);
        assert_frequencies(sampling(1.0, 2, 0.0), &p, &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
        assert_frequencies(sampling(1.0, 9, 0.0), &p, &[0.1, 0.4, 0.2, 0.3]);
        assert_frequencies(sampling(1.0, 2, 0.0), &[1.0; 4], &[0.5, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn top_p_keeps_the_fewest_that_reach_it() {
        let p = logits(&[0.125, 0.5, 0.125, 0.25]);
        assert_frequencies(sampling(1.0, 0, 0.49), &p, &[0.0, 1.0, 0.0, 0.0]);
        assert_frequencies(sampling(1.0, 0, 0.51), &p, &[0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0]);
        assert_frequencies(sampling(1.0, 0, 0.76), &p, &[1.0 / 7.0, 4.0 / 7.0, 0.0, 2.0 / 7.0]);
        assert_frequencies(sampling(1.0, 0, 1.0), &p, &[0.125, 0.5, 0.125, 0.25]);
        assert_frequencies(sampling(1.0, 0, 1e-9), &p, &[0.0, 1.0, 0.0, 0.0]);
        // Reached exactly is reached: equal weights have exact sums.
        assert_frequencies(sampling(1.0, 0, 0.5), &[0.0; 4], &[0.5, 0.5, 0.0, 0.0]);
        // Of what top_k leaves: 0.5 is two thirds of two tokens.
        assert_frequencies(sampling(1.0, 2, 0.6), &p, &[0.0, 1.0, 0.0, 0.0]);
        assert_frequencies(sampling(1.0, 2, 0.7), &p, &[0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0]);
    }

    #[test]
    fn a_seed_says_everything() {
        let p = logits(&[0.1, 0.4, 0.2, 0.3]);
        let chosen = |seed, skipped: usize| {
            let mut sampler = Sampler::new(Sampling { seed, ..sampling(1.0, 0, 0.0) }).unwrap();
            (0..20 + skipped).map(|_| sampler.choose(&p).unwrap().0).skip(skipped).collect::<Vec<_>>()
        };
        assert_eq!(chosen(1, 0), chosen(1, 0));
        // For ever: a seed that someone wrote down must go on meaning the same.
        assert_eq!(chosen(1, 0)[..10], [3, 1, 3, 1, 1, 2, 3, 1, 2, 2]);
        assert_ne!(chosen(1, 0), chosen(2, 0));
        assert_ne!(chosen(1, 0), chosen(1, 1));
        // A copy goes on as the first would.
        let mut sampler = Sampler::new(sampling(1.0, 0, 0.0)).unwrap();
        let _ = sampler.choose(&p).unwrap();
        let mut copy = sampler.clone();
        let ten = |s: &mut Sampler| (0..10).map(|_| s.choose(&p).unwrap()).collect::<Vec<_>>();
        assert_eq!(ten(&mut sampler), ten(&mut copy));
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        for (wrong, word) in [
            (sampling(-1.0, 0, 0.0), "temperature"),
            (sampling(f64::NAN, 0, 0.0), "temperature"),
            (sampling(1.0, 0, 1.1), "top_p"),
            (Sampling { top_p: Some(0.0), ..Sampling::GREEDY }, "top_p"),
            (Sampling { top_p: Some(f64::NAN), ..Sampling::GREEDY }, "top_p"),
        ] {
            let error = Sampler::new(wrong).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        for wanted in [Sampling::GREEDY, sampling(1.0, 2, 0.5)] {
            let mut sampler = Sampler::new(wanted).unwrap();
            let bad = |error| matches!(error, ModelError::BadLogit { token: TokenId(1), .. });
            assert!(bad(sampler.choose(&[0.0, f32::NAN, f32::INFINITY]).unwrap_err()));
            assert!(bad(sampler.choose(&[0.0, f32::INFINITY]).unwrap_err()));
            for none in [&[] as &[f32], &[f32::NEG_INFINITY; 2]] {
                assert!(matches!(sampler.choose(none).unwrap_err(), ModelError::NoTokenLeft));
            }
        }
    }
}
