//! The date for chat templates that ask for today's: a day, perhaps with a time, written by Python's format codes.
//!
//! The machine's clock is never read: a prompt is the same tomorrow.

use super::ChatError;
use std::str::FromStr;
use time::{Date, Month, PrimitiveDateTime, Time};

/// A moment of the calendar, without a time zone. A day alone means its midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatDate(PrimitiveDateTime);

impl FromStr for ChatDate {
    type Err = ChatError;

    /// From `2026-01-31`, `2026-01-31T09:30` or `2026-01-31T09:30:59`.
    fn from_str(text: &str) -> Result<Self, ChatError> {
        moment(text).map(Self).ok_or_else(|| ChatError::BadDate { text: text.to_owned() })
    }
}

fn moment(text: &str) -> Option<PrimitiveDateTime> {
    let (day, time) = text.split_once(['T', ' ']).map_or((text, None), |(day, time)| (day, Some(time)));
    let [year, month, of_month] = numbers::<3>(day, '-', &[4, 2, 2])?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::from(year), month, u8::try_from(of_month).ok()?).ok()?;
    let [hour, minute, second] = match time {
        None => [0; 3],
        Some(time) if time.len() == 5 => {
            let [hour, minute] = numbers::<2>(time, ':', &[2, 2])?;
            [hour, minute, 0]
        }
        Some(time) => numbers::<3>(time, ':', &[2, 2, 2])?,
    };
    let [hour, minute, second] = [hour, minute, second].map(u8::try_from);
    Some(PrimitiveDateTime::new(date, Time::from_hms(hour.ok()?, minute.ok()?, second.ok()?).ok()?))
}

/// Parses numbers with a fixed count of digits each, between separators.
fn numbers<const N: usize>(text: &str, between: char, digits: &[usize; N]) -> Option<[u16; N]> {
    let mut found = [0; N];
    let mut parts = text.split(between);
    for (number, &digits) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        let fits = part.len() == digits && part.bytes().all(|b| b.is_ascii_digit());
        *number = part.parse().ok().filter(|_| fits)?;
    }
    parts.next().is_none().then_some(found)
}

/// How a number is filled up to its width.
#[derive(Clone, Copy)]
enum Fill {
    Zero,
    Space,
    Nothing,
}

impl ChatDate {
    /// The moment in one of Python's formats, such as `%d %b %Y`, as `strftime` of the C library writes it in English.
    /// Codes that do not exist stay as they are.
    pub(super) fn written(self, format: &str) -> String {
        let mut out = String::new();
        let mut rest = format;
        while let Some((before, after)) = rest.split_once('%') {
            out.push_str(before);
            let flag = after.chars().next().filter(|c| matches!(c, '-' | '_' | '0' | '^' | '#'));
            let code = flag.map_or(after, |_| &after[1..]);
            let Some(letter) = code.chars().next() else {
                out.extend(['%'].into_iter().chain(flag));
                return out;
            };
            rest = &code[letter.len_utf8()..];
            match self.one(letter, flag) {
                Some(text) if matches!(flag, Some('^' | '#')) => out.push_str(&text.to_uppercase()),
                Some(text) => out.push_str(&text),
                None => out.extend(['%'].into_iter().chain(flag).chain([letter])),
            }
        }
        out + rest
    }

    /// One code, or nothing if there is none of that letter.
    fn one(self, letter: char, flag: Option<char>) -> Option<String> {
        let (date, time) = (self.0.date(), self.0.time());
        let fill = |usual| match flag {
            Some('-') => Fill::Nothing,
            Some('_') => Fill::Space,
            Some('0') => Fill::Zero,
            _ => usual,
        };
        let number = |value: i64, width: usize, usual: Fill| match fill(usual) {
            Fill::Zero => format!("{value:0width$}"),
            Fill::Space => format!("{value:width$}"),
            Fill::Nothing => value.to_string(),
        };
        let two = |value: u8| number(value.into(), 2, Fill::Zero);
        let of_twelve = |hour: u8| if hour.is_multiple_of(12) { 12 } else { hour % 12 };
        let (year, weekday) = (i64::from(date.year()), date.weekday());
        Some(match letter {
            'a' => weekday.to_string()[..3].to_owned(),
            'A' => weekday.to_string(),
            'b' | 'h' => date.month().to_string()[..3].to_owned(),
            'B' => date.month().to_string(),
            'c' => self.written("%a %b %e %H:%M:%S %Y"),
            'C' => number(year.div_euclid(100), 2, Fill::Zero),
            'd' => two(date.day()),
            'D' | 'x' => self.written("%m/%d/%y"),
            'e' => number(date.day().into(), 2, Fill::Space),
            'f' => "000000".into(),
            'F' => self.written("%Y-%m-%d"),
            'g' => number(i64::from(date.to_iso_week_date().0).rem_euclid(100), 2, Fill::Zero),
            'G' => number(date.to_iso_week_date().0.into(), 4, Fill::Zero),
            'H' => two(time.hour()),
            'I' => two(of_twelve(time.hour())),
            'j' => number(date.ordinal().into(), 3, Fill::Zero),
            'k' => number(time.hour().into(), 2, Fill::Space),
            'l' => number(of_twelve(time.hour()).into(), 2, Fill::Space),
            'm' => two(date.month().into()),
            'M' => two(time.minute()),
            'n' => "\n".into(),
            'p' | 'P' => {
                let half = if time.hour() < 12 { "AM" } else { "PM" };
                // `%#p` is lower case, unlike other codes with that flag.
                let lower = letter == 'P' || flag == Some('#');
                return Some(if lower { half.to_lowercase() } else { half.to_owned() });
            }
            'r' => self.written("%I:%M:%S %p"),
            'R' => self.written("%H:%M"),
            's' => number(self.0.assume_utc().unix_timestamp(), 1, Fill::Zero),
            'S' => two(time.second()),
            't' => "\t".into(),
            'T' | 'X' => self.written("%H:%M:%S"),
            'u' => number(weekday.number_from_monday().into(), 1, Fill::Zero),
            'U' => two(date.sunday_based_week()),
            'V' => two(date.to_iso_week_date().1),
            'w' => number(weekday.number_days_from_sunday().into(), 1, Fill::Zero),
            'W' => two(date.monday_based_week()),
            'y' => number(year.rem_euclid(100), 2, Fill::Zero),
            'Y' => number(year, 1, Fill::Zero),
            // There is no time zone, as in Python's `datetime.now()`.
            'z' | 'Z' => String::new(),
            '%' => "%".into(),
            _ => return None,
        })
    }
}
