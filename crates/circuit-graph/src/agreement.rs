//! How well effects that were predicted agree with effects that were measured, near by and far away.
//!
//! Numbers alone: who predicts (`total_effects`) and who measures does not matter here. Effects on features are in units of
//! activation, those on targets in logits; they are never thrown together.

use std::ops::RangeInclusive;

/// So many distances have a group each; more are joined, near ones finer than far ones.
const MOST_SINGLE: usize = 8;

/// How far an effect goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// To a feature so many layers above.
    Layers(usize),
    /// To a target.
    Target,
}

/// What a source does to a feature or a target: predicted, and measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// How far it goes.
    pub reach: Reach,
    /// The effect as predicted.
    pub predicted: f64,
    /// The effect as measured.
    pub measured: f64,
    /// What is smaller cannot be told from rounding.
    pub rounding: f64,
}

impl Pair {
    /// Whether both effects are so small that comparing them would compare rounding.
    #[must_use]
    pub fn is_rounding(&self) -> bool {
        self.predicted.abs() < self.rounding && self.measured.abs() < self.rounding
    }
}

/// How well predictions agree with what was measured. Pairs that are mere rounding are left out of everything but their count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    /// How many pairs were compared.
    pub pairs: usize,
    /// How many were left out.
    pub left_out: usize,
    /// Pearson's correlation: whether measured effects lie on a line over predicted ones. `None` if there are no two pairs, or one side
    /// does not vary.
    pub pearson: Option<f64>,
    /// Spearman's: the same of their ranks, equal ones sharing a rank. Large effects count no more than small ones.
    pub spearman: Option<f64>,
    /// The share of pairs whose two effects have the same sign. An effect of exactly 0 has none. `None` without pairs.
    pub same_sign: Option<f64>,
    /// The slope of the best line through 0: how much of what is predicted happens. Below 1 the model damps what the graph says.
    pub slope: Option<f64>,
}

impl Agreement {
    /// Compares.
    #[must_use]
    pub fn of<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> Self {
        let (rounding, kept): (Vec<&Pair>, Vec<&Pair>) =
            pairs.into_iter().partition(|pair| pair.is_rounding());
        let predicted: Vec<f64> = kept.iter().map(|pair| pair.predicted).collect();
        let measured: Vec<f64> = kept.iter().map(|pair| pair.measured).collect();
        let same = kept.iter().filter(|pair| pair.predicted * pair.measured > 0.0).count();
        let squares = dot(&predicted, &predicted);
        Self {
            pairs: kept.len(),
            left_out: rounding.len(),
            pearson: correlation(&predicted, &measured),
            spearman: correlation(&ranks(&predicted), &ranks(&measured)),
            same_sign: (!kept.is_empty()).then(|| same as f64 / kept.len() as f64),
            slope: (squares > 0.0).then(|| dot(&predicted, &measured) / squares),
        }
    }
}

/// The agreement of the effects on features, by the number of layers between: each number by itself, or where there are many, 1, 2,
/// 3 to 4, 5 to 8, and so on. Numbers without a pair are left out.
#[must_use]
pub fn agreement_by_distance(pairs: &[Pair]) -> Vec<(RangeInclusive<usize>, Agreement)> {
    let distance = |pair: &Pair| match pair.reach {
        Reach::Layers(layers) => Some(layers),
        Reach::Target => None,
    };
    let farthest = pairs.iter().filter_map(distance).max().unwrap_or(0);
    let mut groups = Vec::new();
    let mut first = 0;
    while first <= farthest {
        let last = if farthest <= MOST_SINGLE { first } else { first.max((2 * first).saturating_sub(2)) };
        groups.push(first..=last.min(farthest));
        first = last + 1;
    }
    let of = |group: RangeInclusive<usize>| {
        let own: Vec<_> =
            pairs.iter().filter(|pair| distance(pair).is_some_and(|d| group.contains(&d))).collect();
        (!own.is_empty()).then(|| (group, Agreement::of(own)))
    };
    groups.into_iter().filter_map(of).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Pearson's correlation; `None` where one side does not vary.
fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let centred = |of: &[f64]| {
        let mean = of.iter().sum::<f64>() / of.len() as f64;
        of.iter().map(|x| x - mean).collect::<Vec<_>>()
    };
    let varies = |of: &[f64]| of.iter().any(|x| *x != of[0]);
    if !varies(a) || !varies(b) {
        return None;
    }
    let (a, b) = (centred(a), centred(b));
    let found = dot(&a, &b) / (dot(&a, &a).sqrt() * dot(&b, &b).sqrt());
    found.is_finite().then(|| found.clamp(-1.0, 1.0))
}

/// The place of each number among all, from 1; equal ones share the middle of theirs.
fn ranks(of: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..of.len()).collect();
    order.sort_by(|&a, &b| of[a].total_cmp(&of[b]));
    let mut ranks = vec![0.0; of.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&a, &b| of[a] == of[b]) {
        let rank = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        for &place in equal {
            ranks[place] = rank;
        }
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(predicted: f64, measured: f64) -> Pair {
        Pair { reach: Reach::Layers(1), predicted, measured, rounding: 0.01 }
    }

    fn close(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
    }

    #[test]
    fn figures_of_a_worked_example() {
        // Means 2.5 and 2.25, deviations (-1.5, -0.5, 0.5, 1.5) and (-1.25, -3.25, 1.75, 2.75).
        let pairs = [pair(1.0, 1.0), pair(2.0, -1.0), pair(3.0, 4.0), pair(4.0, 5.0), pair(0.001, -0.002)];
        let found = Agreement::of(&pairs);
        assert_eq!((found.pairs, found.left_out), (4, 1));
        close(found.pearson, 8.5 / (5.0_f64.sqrt() * 22.75_f64.sqrt()));
        close(found.spearman, 1.0 - 6.0 * 2.0 / (4.0 * 15.0)); // ranks 1 2 3 4 and 2 1 3 4
        close(found.same_sign, 0.75);
        close(found.slope, (1.0 - 2.0 + 12.0 + 20.0) / 30.0);
    }

    #[test]
    fn one_side_above_rounding_is_enough_to_be_compared() {
        let found = Agreement::of(&[pair(0.0, 0.5), pair(0.5, 0.0), pair(0.0, 0.0)]);
        assert_eq!((found.pairs, found.left_out), (2, 1));
        close(found.same_sign, 0.0);
    }

    #[test]
    fn what_cannot_be_told_is_not_told() {
        let none = Agreement::of(&[]);
        assert_eq!(none, Agreement::default());
        let one = Agreement::of(&[pair(1.0, 2.0)]);
        assert_eq!((one.pearson, one.spearman), (None, None));
        close(one.slope, 2.0);
        let flat = Agreement::of(&[pair(0.1, 2.0), pair(0.1, 3.0), pair(0.1, 4.0)]);
        assert_eq!((flat.pearson, flat.spearman), (None, None));
        assert_eq!(Agreement::of(&[pair(0.0, 2.0)]).slope, None);
    }

    #[test]
    fn equal_numbers_share_a_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, -2.0, 3.0]), [4.0, 2.0, 4.0, 1.0, 4.0]);
        assert_eq!(ranks(&[0.0, -0.0]), [1.5, 1.5]);
    }

    #[test]
    fn distances_are_told_apart_while_they_are_few() {
        let pairs = |farthest: usize| -> Vec<Pair> {
            let features =
                (1..=farthest).map(|layers| Pair { reach: Reach::Layers(layers), ..pair(1.0, 1.0) });
            features.chain([Pair { reach: Reach::Target, ..pair(9.0, -9.0) }]).collect()
        };
        let groups = |farthest| {
            let groups = agreement_by_distance(&pairs(farthest)).into_iter();
            groups.map(|(group, found)| (*group.start(), *group.end(), found.pairs)).collect::<Vec<_>>()
        };
        assert_eq!(groups(3), [(1, 1, 1), (2, 2, 1), (3, 3, 1)]);
        assert_eq!(groups(8).len(), 8);
        assert_eq!(groups(11), [(1, 1, 1), (2, 2, 1), (3, 4, 2), (5, 8, 4), (9, 11, 3)]);
        assert_eq!(groups(0), []);
    }
}
