//! The score at which the largest scores together reach a share of the total, found without sorting.
//!
//! Definition (docs/method.md, "Influence, pruning, scores"): sort the scores in descending order, sum them up; the threshold is the
//! score at the first place where that sum reaches `share` of the total. So share 0 gives the largest score, and share 1
//! gives the smallest that is not zero.
//!
//! Hundreds of millions of edges cannot be sorted in passing, but the bits of a non-negative `f32` ascend with its
//! value. One count by the upper 16 bits finds the bucket that holds the threshold, a second one by the lower 16 bits
//! within that bucket finds the threshold itself, to the last bit. Within a bucket all exponents are equal, so sums
//! are kept as integers: exact, and the same in whatever order threads add.

use rayon::prelude::*;

/// Scores that can be visited several times, each time the same; in blocks that threads can share out.
pub(crate) trait Blocks: Sync {
    /// How many blocks there are.
    fn n_blocks(&self) -> usize;
    /// Calls `f` with each score of a block. Scores are finite and at least 0.
    fn visit(&self, block: usize, f: impl FnMut(f32));
}

/// The threshold of the module's header; `None` if no score is above zero. Zeros never matter.
pub(crate) fn threshold(scores: &impl Blocks, share: f64) -> Option<f32> {
    let buckets = count(scores, |bits| Some(((bits >> 16) as usize, u64::from(bits & 0xFFFF))));
    let bucket_sum = |upper: usize| {
        let bucket = buckets[upper];
        let first = (upper as u32) << 16;
        // Bits of the mantissa, with the leading one that normal numbers do not write down.
        let exponent = first >> 23;
        let mantissa = u64::from(first & 0x007F_FFFF | u32::from(exponent > 0) << 23);
        let unit = f64::from(exponent.max(1)) - 150.0;
        (bucket.n * mantissa + bucket.low) as f64 * unit.exp2()
    };
    let occupied = || (0..buckets.len()).rev().filter(|&upper| buckets[upper].n > 0);
    let total: f64 = occupied().map(bucket_sum).sum();

    let mut above = 0.0; // the sum of all scores in buckets above the one in question
    let mut holder = None;
    for upper in occupied() {
        above += holder.map_or(0.0, bucket_sum);
        holder = Some(upper);
        // At share 1 rounding must not hide the smallest scores: go to the last bucket.
        if share < 1.0 && (above + bucket_sum(upper)) / total >= share {
            break;
        }
    }

    let upper = holder?;
    let within = count(scores, |bits| (bits >> 16 == upper as u32).then_some(((bits & 0xFFFF) as usize, 0)));
    let mut sum = above;
    let mut found = None;
    for lower in (0..within.len()).rev().filter(|&lower| within[lower].n > 0) {
        let score = f32::from_bits((upper as u32) << 16 | lower as u32);
        found = Some(score);
        sum += within[lower].n as f64 * f64::from(score);
        if share < 1.0 && sum / total >= share {
            break;
        }
    }
    found
}

/// Number of scores in a bucket, and the sum of what distinguishes them within it.
#[derive(Clone, Copy, Default)]
struct Bucket {
    n: u64,
    low: u64,
}

/// Puts each positive score, given by its bits, into the bucket that `place` names.
fn count(scores: &impl Blocks, place: impl Fn(u32) -> Option<(usize, u64)> + Sync) -> Vec<Bucket> {
    let empty = || vec![Bucket::default(); 1 << 16];
    // Few and long tasks: each has a megabyte of buckets of its own.
    let blocks_per_task = scores.n_blocks().div_ceil(4 * rayon::current_num_threads()).max(64);
    (0..scores.n_blocks())
        .into_par_iter()
        .with_min_len(blocks_per_task)
        .fold(empty, |mut buckets, block| {
            scores.visit(block, |score| {
                if score > 0.0
                    && let Some((bucket, low)) = place(score.to_bits())
                {
                    buckets[bucket].n += 1;
                    buckets[bucket].low += low;
                }
            });
            buckets
        })
        .reduce(empty, |mut left, right| {
            for (l, r) in left.iter_mut().zip(right) {
                l.n += r.n;
                l.low += r.low;
            }
            left
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Scores(Vec<Vec<f32>>);

    impl Blocks for Scores {
        fn n_blocks(&self) -> usize {
            self.0.len()
        }

        fn visit(&self, block: usize, f: impl FnMut(f32)) {
            self.0[block].iter().copied().for_each(f);
        }
    }

    fn sorted(scores: &Scores, share: f64) -> Option<f32> {
        let mut all: Vec<f32> = scores.0.iter().flatten().copied().filter(|&score| score > 0.0).collect();
        all.sort_by(|a, b| b.total_cmp(a));
        let total: f64 = all.iter().copied().map(f64::from).sum();
        let reached = all.iter().scan(0.0, |sum, &score| {
            *sum += f64::from(score);
            Some(*sum / total)
        });
        let place = reached.take_while(|&reached| share >= 1.0 || reached < share).count();
        all.get(place.min(all.len().saturating_sub(1))).copied()
    }

    #[test]
    fn ends_of_the_range() {
        let scores = Scores(vec![vec![0.0, 0.5, 3.0], vec![], vec![1e-30, 0.5, 1e-42, 0.0]]);
        assert_eq!(threshold(&scores, 0.0), Some(3.0));
        assert_eq!(threshold(&scores, 0.75), Some(3.0));
        assert_eq!(threshold(&scores, 0.76), Some(0.5));
        assert_eq!(threshold(&scores, 1.0), Some(1e-42), "the smallest that is not zero, subnormal as it is");
        assert_eq!(threshold(&Scores(vec![vec![0.0; 3]]), 0.5), None);
        assert_eq!(threshold(&Scores(vec![]), 1.0), None);
    }

    proptest! {
        /// Multiples of 2^-20 have exact sums in `f64`, so that both ways must agree to the bit.
        #[test]
        fn equals_sorting(
            blocks in prop::collection::vec(prop::collection::vec(0_u32..1 << 22, 0..40), 0..6),
            fine in any::<bool>(),
            share in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0],
        ) {
            // Coarse scores have many ties and few buckets; fine ones fill many.
            let mask = if fine { !0 } else { 0b111 << 18 };
            let score = |n: u32| (n & mask) as f32 / (1 << 20) as f32;
            let scores = Scores(blocks.into_iter().map(|b| b.into_iter().map(score).collect()).collect());
            prop_assert_eq!(threshold(&scores, share), sorted(&scores, share));
        }
    }
}
