//! Cantor's pairing of (layer, index): the `feature` number of graph files, exact both ways.
//!
//! `number = (layer + index)(layer + index + 1) / 2 + index`. JavaScript reads it exactly below 2^53, which holds
//! while layer + index is below 134 million. Not here: the older numbering by digits (see [`crate::NodeRecord::kind`]).

use circuit_index::{FeatureIndex, Layer};

/// The number of a feature; `None` where it does not fit 64 bits, which no real transcoder comes near.
#[must_use]
pub fn feature_number(layer: Layer, index: FeatureIndex) -> Option<u64> {
    let sum = u128::from(layer.0) + u128::from(index.0);
    u64::try_from(sum * (sum + 1) / 2 + u128::from(index.0)).ok()
}

/// The feature of a number; `None` where layer or index would not fit 32 bits.
#[must_use]
pub fn feature_of_number(number: u64) -> Option<(Layer, FeatureIndex)> {
    let number = u128::from(number);
    let sum = ((8 * number + 1).isqrt() - 1) / 2;
    let index = number - sum * (sum + 1) / 2;
    let layer = sum - index;
    Some((Layer(u32::try_from(layer).ok()?), FeatureIndex(u32::try_from(index).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_numbers() {
        assert_eq!(feature_number(Layer(0), FeatureIndex(12_284)), Some(75_466_754));
        assert_eq!(feature_number(Layer(1), FeatureIndex(7)), Some(43));
        assert_eq!(feature_of_number(43), Some((Layer(1), FeatureIndex(7))));
        assert_eq!(feature_of_number(0), Some((Layer(0), FeatureIndex(0))));
        assert_eq!(feature_number(Layer(u32::MAX), FeatureIndex(u32::MAX)), None);
        // The largest number belongs to some pair or to none; either way it must not overflow.
        let _ = feature_of_number(u64::MAX);
    }

    proptest! {
        #[test]
        fn pairs_come_back(layer in 0u32..100_000, index in any::<u32>()) {
            let number = feature_number(Layer(layer), FeatureIndex(index)).unwrap();
            prop_assert_eq!(feature_of_number(number), Some((Layer(layer), FeatureIndex(index))));
        }

        #[test]
        fn numbers_come_back(number in any::<u64>()) {
            if let Some((layer, index)) = feature_of_number(number) {
                prop_assert_eq!(feature_number(layer, index), Some(number));
            }
        }
    }
}
