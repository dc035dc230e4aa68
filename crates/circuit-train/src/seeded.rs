//! Chance that can be repeated, and numbers that tell runs apart, the same with every build: every draw has a generator of its own, made from the seed, what it is for, and its number.
//!
//! A resumed run needs no state of a generator that way: the number of the step is enough.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// What a draw is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The order of documents in an epoch.
    Documents,
    /// The order of rows in a chunk.
    Rows,
    /// The first weights of a layer.
    Weights,
    /// New directions for dead features.
    Revival,
    /// Examples within an interval of activations.
    Examples,
}

/// A generator for one draw.
pub(crate) fn generator(seed: u64, purpose: Purpose, number: usize) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
    key[16..24].copy_from_slice(&(number as u64).to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// Sums up what must be the same in two runs; std's hashers may change with a compiler.
#[derive(Default)]
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    pub(crate) fn add(&mut self, number: u32) {
        self.add_bytes(&number.to_le_bytes());
    }

    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> u64 {
        let sum = self.0.finalize();
        u64::from_le_bytes(sum[..8].try_into().expect("a sum has 32 bytes"))
    }
}
