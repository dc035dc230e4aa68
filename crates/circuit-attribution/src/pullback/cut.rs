//! Which rows go down together.
//!
//! All of a group are carried through as many positions as its first one sees, and every group meets all matrices and all that
//! sources write once more. Where rows see alike, the larger the group the better; where not, a cut between them can save more than
//! it costs. Not here: how groups go down ([`super`]).

use std::ops::Range;

/// How far a row goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reach {
    /// Positions that it sees.
    pub(super) n_pos: usize,
    /// Layers that it goes through.
    pub(super) layers: usize,
}

/// What it costs that a group goes down at all, in rows, where layers are kept: an eighth of the most that do. (Seen on two cores: a row
/// of a group of 24 or 32 takes 1.14 or 1.06 times as long as one of 48, which makes 7 or 8 rows.)
pub(super) fn cost_of_group(most: usize) -> usize {
    most.div_ceil(8)
}

/// Cuts rows, those that see most first, into groups of `most` at the most, with the least to do in all.
///
/// A group does `n_pos · (Σ layers + each · max layers)`, where `each` is what it costs that a group goes down at all, in rows.
pub(super) fn cut(rows: &[Reach], most: usize, each: usize) -> Vec<Range<usize>> {
    // For the first rows, 0 to all: the least to do, and where their last group begins.
    let mut least = vec![(0, 0)];
    for end in 1..=rows.len() {
        let (mut sum, mut top, mut best) = (0, 0, (usize::MAX, 0));
        for start in (end.saturating_sub(most.max(1))..end).rev() {
            let Reach { n_pos, layers } = rows[start];
            (sum, top) = (sum + layers, top.max(layers));
            best = best.min((least[start].0 + n_pos * (sum + each * top), start));
        }
        least.push(best);
    }
    let mut groups = Vec::new();
    let mut end = rows.len();
    while end > 0 {
        let start = least[end].1;
        groups.push(start..end);
        end = start;
    }
    groups.reverse();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of: &[(usize, usize, usize)]) -> Vec<Reach> {
        of.iter().flat_map(|&(n, n_pos, layers)| std::iter::repeat_n(Reach { n_pos, layers }, n)).collect()
    }

    #[test]
    fn rows_that_see_alike_are_cut_into_as_few_groups_as_may_be() {
        for (n, groups) in [(0, 0), (1, 1), (48, 1), (49, 2), (96, 2), (100, 3)] {
            let found = cut(&rows(&[(n, 10, 6)]), 48, 6);
            assert_eq!(found.len(), groups, "{n}: {found:?}");
        }
    }

    #[test]
    fn a_cut_is_made_where_rows_see_less_if_that_saves_more_than_a_group_costs() {
        // 20 rows would be carried through 12 positions more than they see; and through one.
        let halves = rows(&[(20, 24, 6), (20, 12, 6)]);
        assert_eq!(cut(&halves, 48, 6), [0..20, 20..40]);
        assert_eq!(cut(&halves, 48, 40), [0..40; 1]);
        assert_eq!(cut(&rows(&[(20, 24, 6), (20, 23, 6)]), 48, 6), [0..40; 1]);
        // Groups that must be parted anyway are parted there.
        assert_eq!(cut(&rows(&[(30, 24, 6), (40, 20, 6)]), 48, 6), [0..30, 30..70]);
    }

    #[test]
    fn no_other_cut_costs_less() {
        let places = [(2, 9, 3), (3, 8, 5), (1, 7, 1), (4, 7, 4), (2, 3, 2)];
        let (rows, most, each) = (rows(&places), 5, 2);
        let cost = |group: &[Reach]| {
            let sum: usize = group.iter().map(|row| row.layers).sum();
            group[0].n_pos * (sum + each * group.iter().map(|row| row.layers).max().unwrap())
        };
        let found: usize = cut(&rows, most, each).into_iter().map(|group| cost(&rows[group])).sum();
        // All ways there are: a bit for each place between two rows.
        let all = (0..1u32 << (rows.len() - 1)).filter_map(|bits| {
            let mut ends: Vec<usize> = (1..rows.len()).filter(|i| bits >> (i - 1) & 1 == 1).collect();
            ends.push(rows.len());
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let groups: Vec<&[Reach]> = starts.zip(&ends).map(|(start, &end)| &rows[start..end]).collect();
            groups
                .iter()
                .all(|group| group.len() <= most)
                .then(|| groups.into_iter().map(cost).sum::<usize>())
        });
        assert_eq!(Some(found), all.min());
    }
}
