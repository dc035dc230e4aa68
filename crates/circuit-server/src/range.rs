//! Byte ranges (RFC 9110, section 14): one range is served, what is not understood is ignored, as the RFC allows.

/// What a `Range` header asks for, of a file of some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ranged {
    /// All of it: no range, several, or none that is understood.
    Whole,
    /// From the first byte to the last, both included, within the file.
    Part {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
    /// A range that begins behind the end.
    Unsatisfiable,
}

impl Ranged {
    pub(crate) fn of(header: Option<&str>, size: u64) -> Self {
        let Some(range) = header.and_then(|value| {
            let (unit, range) = value.split_once('=')?;
            unit.trim().eq_ignore_ascii_case("bytes").then(|| range.trim())
        }) else {
            return Self::Whole;
        };
        // Digits alone: `parse` would take a sign.
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            // A number that does not fit is beyond the end of any file.
            digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
        };
        match range.split_once('-').map(|(first, last)| (first.trim(), last.trim())) {
            Some(("", suffix)) => match number(suffix) {
                None => Self::Whole,
                Some(0) => Self::Unsatisfiable,
                Some(_) if size == 0 => Self::Unsatisfiable,
                Some(length) => Self::Part { first: size.saturating_sub(length), last: size - 1 },
            },
            Some((first, last)) => {
                let last = if last.is_empty() { Some(u64::MAX) } else { number(last) };
                match (number(first), last) {
                    (Some(first), Some(last)) if first > last => Self::Whole,
                    (Some(first), Some(_)) if first >= size => Self::Unsatisfiable,
                    (Some(first), Some(last)) => Self::Part { first, last: last.min(size - 1) },
                    _ => Self::Whole,
                }
            }
            None => Self::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_rfc() {
        let part = |first, last| Ranged::Part { first, last };
        for (header, size, expected) in [
            ("bytes=0-0", 10, part(0, 0)),
            ("bytes=2-5", 10, part(2, 5)),
            ("bytes=2-", 10, part(2, 9)),
            ("bytes=2-10", 10, part(2, 9)),
            ("bytes=2-99999999999999999999999", 10, part(2, 9)),
            ("bytes=-3", 10, part(7, 9)),
            ("bytes=-30", 10, part(0, 9)),
            ("Bytes = 1 - 2", 10, part(1, 2)),
            ("bytes=10-", 10, Ranged::Unsatisfiable),
            ("bytes=10-20", 10, Ranged::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Ranged::Unsatisfiable),
            ("bytes=-0", 10, Ranged::Unsatisfiable),
            ("bytes=0-", 0, Ranged::Unsatisfiable),
            ("bytes=-1", 0, Ranged::Unsatisfiable),
            ("bytes=5-2", 10, Ranged::Whole),
            ("bytes=0-1,3-4", 10, Ranged::Whole),
            ("bytes=+1-2", 10, Ranged::Whole),
            ("bytes=a-b", 10, Ranged::Whole),
            ("bytes=-", 10, Ranged::Whole),
            ("bytes=", 10, Ranged::Whole),
            ("lines=0-1", 10, Ranged::Whole),
            ("0-1", 10, Ranged::Whole),
        ] {
            assert_eq!(Ranged::of(Some(header), size), expected, "{header}");
        }
        assert_eq!(Ranged::of(None, 10), Ranged::Whole);
    }
}
