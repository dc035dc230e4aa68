//! The methods of Python's `str`, `list` and `dict` that a template calls, such as `message.content.split('</think>')[-1]`.
//!
//! Methods that change a list or a dictionary are missing: the sandbox of transformers forbids them. The filters, which look
//! alike (`trim`, `title`), are the template engine's own.

use super::values::{View, printable, repr};
use minijinja::value::{DynObject, Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;

/// Calls a method of Python on a value of a template.
pub(super) fn call(state: &mut State, on: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (positional, kwargs): (&[Value], Kwargs) = from_args(args)?;
    let given = Arguments { method: name, positional, kwargs };
    let found = match on.kind() {
        ValueKind::String => of_string(state, on.as_str().unwrap_or_default(), &given)?,
        ValueKind::Map => of_dict(on, &given)?,
        ValueKind::Seq | ValueKind::Iterable => of_list(on, &given)?,
        _ => None,
    };
    match found {
        Some(found) => {
            given.kwargs.assert_all_used()?;
            Ok(found)
        }
        None if name == "format" => {
            let printed: Vec<Value> = args.iter().map(printed).collect();
            pycompat::unknown_method_callback(state, on, name, &printed)
        }
        // What changes the case of letters.
        None => pycompat::unknown_method_callback(state, on, name, args),
    }
}

/// A list, which the engine's `format` would print in another way, as the text that Python prints. Other values stay, since they
/// can be aligned or looked into.
fn printed(value: &Value) -> Value {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable if !value.is_tuple() => repr(value).into(),
        _ => value.clone(),
    }
}

/// What a method is called with.
struct Arguments<'a> {
    method: &'a str,
    positional: &'a [Value],
    kwargs: Kwargs,
}

impl Arguments<'_> {
    fn bad(&self, reason: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::InvalidOperation, format!("{}(): {reason}", self.method))
    }

    /// Refuses more arguments than a method has.
    fn most(&self, count: usize) -> Result<(), Error> {
        let found = self.positional.len();
        if found > count {
            return Err(self.bad(format!("expected at most {count} arguments, got {found}")));
        }
        Ok(())
    }

    /// An argument by its place or its name; none counts as not given.
    fn find(&self, nth: usize, name: &str) -> Result<Option<Value>, Error> {
        let named: Option<Value> = if name.is_empty() { None } else { self.kwargs.get(name)? };
        Ok(self.positional.get(nth).cloned().or(named).filter(|value| !value.is_none()))
    }

    fn text(&self, nth: usize, name: &str) -> Result<Option<String>, Error> {
        let found = self.find(nth, name)?;
        found
            .map(|value| {
                value
                    .as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| self.bad(format!("expected a text, got {}", repr(&value))))
            })
            .transpose()
    }

    fn some_text(&self, nth: usize, name: &str) -> Result<String, Error> {
        self.text(nth, name)?.ok_or_else(|| self.bad("expected a text"))
    }

    fn integer(&self, nth: usize, name: &str) -> Result<Option<i64>, Error> {
        let integer = |value: Value| {
            i64::try_from(value.clone())
                .map_err(|_| self.bad(format!("expected an integer, got {}", repr(&value))))
        };
        self.find(nth, name)?.map(integer).transpose()
    }

    fn width(&self) -> Result<usize, Error> {
        let width = self.integer(0, "")?.ok_or_else(|| self.bad("expected a width"))?;
        Ok(usize::try_from(width).unwrap_or(0))
    }

    fn value(&self, nth: usize) -> Result<&Value, Error> {
        self.positional.get(nth).ok_or_else(|| self.bad(format!("expected an argument {}", nth + 1)))
    }
}

/// Whether Python takes a character for white space.
pub(super) fn space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

fn of_string(state: &mut State, text: &str, given: &Arguments) -> Result<Option<Value>, Error> {
    let value = match given.method {
        "strip" | "lstrip" | "rstrip" => {
            given.most(1)?;
            stripped(text, given.method, given.text(0, "")?.as_deref()).into()
        }
        "split" | "rsplit" => {
            given.most(2)?;
            let limit = given.integer(1, "maxsplit")?.and_then(|most| usize::try_from(most).ok());
            split(given, text, given.text(0, "sep")?.as_deref(), limit)?
        }
        "splitlines" => {
            given.most(1)?;
            let keep = given.find(0, "keepends")?.is_some_and(|keep| keep.is_true());
            lines(text, keep).into_iter().map(Value::from).collect()
        }
        "partition" | "rpartition" => parted(given, text)?,
        "removeprefix" => {
            let prefix = given.some_text(0, "")?;
            text.strip_prefix(&prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let suffix = given.some_text(0, "")?;
            text.strip_suffix(&suffix).unwrap_or(text).into()
        }
        "replace" => {
            given.most(3)?;
            replaced(state, given, text)?.into()
        }
        "startswith" | "endswith" => bounded(text, given)?.into(),
        "find" | "rfind" | "index" | "rindex" | "count" => searched(text, given)?,
        "join" => joined(state, text, given)?.into(),
        "zfill" | "center" | "ljust" | "rjust" => filled(state, text, given)?.into(),
        "expandtabs" => expanded(text, given.integer(0, "tabsize")?.unwrap_or(8)).into(),
        "title" => titled(state, text)?.into(),
        "swapcase" => {
            let swap = |c: char| -> String {
                if c.is_lowercase() { c.to_uppercase().collect() } else { c.to_lowercase().collect() }
            };
            text.chars().map(swap).collect::<String>().into()
        }
        // Upper case first, so that "ß" becomes "ss".
        "casefold" => {
            let fold = |c: char| match c {
                'ı' => String::from(c),
                c => c.to_uppercase().collect::<String>().to_lowercase(),
            };
            text.chars().map(fold).collect::<String>().replace('ς', "σ").into()
        }
        method if method.starts_with("is") => match asked(method, text) {
            Some(answer) => {
                given.most(0)?;
                answer.into()
            }
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn stripped<'a>(text: &'a str, method: &str, chars: Option<&str>) -> &'a str {
    let goes = |c: char| chars.map_or_else(|| space(c), |chars| chars.contains(c));
    match method {
        "strip" => text.trim_matches(goes),
        "lstrip" => text.trim_start_matches(goes),
        _ => text.trim_end_matches(goes),
    }
}

fn split(given: &Arguments, text: &str, by: Option<&str>, limit: Option<usize>) -> Result<Value, Error> {
    let from_end = given.method == "rsplit";
    let most = limit.map_or(usize::MAX, |limit| limit.saturating_add(1));
    let mut parts: Vec<&str> = match (by, from_end) {
        (Some(""), _) => return Err(given.bad("empty separator")),
        (Some(by), false) => text.splitn(most, by).collect(),
        (Some(by), true) => text.rsplitn(most, by).collect(),
        (None, _) => words(text, most, from_end),
    };
    if from_end {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

/// The words between white space. The last one is the rest of the text if there are more than allowed.
fn words(text: &str, most: usize, from_end: bool) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), text);
    loop {
        rest = if from_end { rest.trim_end_matches(space) } else { rest.trim_start_matches(space) };
        if rest.is_empty() {
            return found;
        }
        let cut = if from_end { rest.rfind(space) } else { rest.find(space) };
        match cut {
            Some(at) if found.len() + 1 < most => {
                let width = rest[at..].chars().next().map_or(1, char::len_utf8);
                let (word, left) =
                    if from_end { (&rest[at + width..], &rest[..at]) } else { (&rest[..at], &rest[at..]) };
                found.push(word);
                rest = left;
            }
            _ => {
                found.push(rest);
                return found;
            }
        }
    }
}

/// The lines of a text, at all the places where Python ends a line.
pub(super) fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(ends) {
        let end = match rest[at..].starts_with("\r\n") {
            true => 2,
            false => rest[at..].chars().next().map_or(1, char::len_utf8),
        };
        found.push(&rest[..if keep_ends { at + end } else { at }]);
        rest = &rest[at + end..];
    }
    if !rest.is_empty() {
        found.push(rest);
    }
    found
}

fn parted(given: &Arguments, text: &str) -> Result<Value, Error> {
    let by = given.some_text(0, "")?;
    if by.is_empty() {
        return Err(given.bad("empty separator"));
    }
    let first = given.method == "partition";
    let parts = match if first { text.split_once(&by) } else { text.rsplit_once(&by) } {
        Some((before, after)) => [before, &by, after],
        None if first => [text, "", ""],
        None => ["", "", text],
    };
    Ok(Tuple::from(parts.map(Value::from)).into())
}

fn replaced(state: &State, given: &Arguments, text: &str) -> Result<String, Error> {
    let (old, new) = (given.some_text(0, "")?, given.some_text(1, "")?);
    let count = given.integer(2, "count")?.and_then(|count| usize::try_from(count).ok());
    let count = count.unwrap_or(usize::MAX);
    let growth = new.len().saturating_sub(old.len()).saturating_mul(text.matches(&old).take(count).count());
    state.consume_fuel(growth as u64 / 64)?;
    Ok(text.replacen(&old, &new, count))
}

/// The part of a text between two places, which count characters, from the end if they are negative; and where it begins.
fn between<'a>(text: &'a str, given: &Arguments, from: usize) -> Result<Option<(usize, &'a str)>, Error> {
    let (start, end) = (given.integer(from, "")?, given.integer(from + 1, "")?);
    if start.is_none() && end.is_none() {
        return Ok(Some((0, text)));
    }
    let count = text.chars().count();
    let place = |at: i64| match usize::try_from(at) {
        Ok(at) => at,
        Err(_) => count.saturating_sub(usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let (start, end) = (start.map_or(0, place), end.map_or(count, place).min(count));
    if start > end {
        return Ok(None);
    }
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    Ok(Some((start, &text[byte(start)..byte(end)])))
}

fn bounded(text: &str, given: &Arguments) -> Result<bool, Error> {
    given.most(3)?;
    let what = given.value(0)?;
    let one = |value: &Value| {
        let wrong = || given.bad(format!("expected a text or a tuple of texts, got {}", repr(value)));
        value.as_str().map(str::to_owned).ok_or_else(wrong)
    };
    let affixes = match what.is_tuple() {
        true => what.try_iter()?.map(|value| one(&value)).collect::<Result<_, _>>()?,
        false => vec![one(what)?],
    };
    let Some((_, part)) = between(text, given, 1)? else { return Ok(false) };
    let fits = |affix: &String| match given.method {
        "startswith" => part.starts_with(affix.as_str()),
        _ => part.ends_with(affix.as_str()),
    };
    Ok(affixes.iter().any(fits))
}

fn searched(text: &str, given: &Arguments) -> Result<Value, Error> {
    given.most(3)?;
    let what = given.some_text(0, "")?;
    let part = between(text, given, 1)?;
    if given.method == "count" {
        return Ok(part.map_or(0, |(_, part)| part.matches(&what).count()).into());
    }
    let found = part.and_then(|(start, part)| {
        let byte = if given.method.starts_with('r') { part.rfind(&what) } else { part.find(&what) };
        Some(start + part[..byte?].chars().count())
    });
    match found {
        Some(at) => Ok(at.into()),
        None if given.method.ends_with("find") => Ok((-1).into()),
        None => Err(given.bad(format!("{} is not in the text", repr(&what.into())))),
    }
}

fn joined(state: &State, between: &str, given: &Arguments) -> Result<String, Error> {
    given.most(1)?;
    let mut out = String::new();
    for (nth, item) in given.value(0)?.try_iter()?.enumerate() {
        let wrong = || given.bad(format!("item {nth} is {}, expected a text", repr(&item)));
        let text = item.as_str().ok_or_else(wrong)?;
        state.consume_fuel(1 + (between.len() + text.len()) as u64 / 64)?;
        if nth > 0 {
            out.push_str(between);
        }
        out.push_str(text);
    }
    Ok(out)
}

fn filled(state: &State, text: &str, given: &Arguments) -> Result<String, Error> {
    given.most(2)?;
    let width = given.width()?;
    let fill = given.text(1, "")?;
    let missing = width.saturating_sub(text.chars().count());
    state.consume_fuel(missing as u64 / 64)?;
    if given.method == "zfill" {
        let digits = text.trim_start_matches(['+', '-']);
        let sign = if text.len() > digits.len() { &text[..1] } else { "" };
        return Ok(format!("{sign}{}{}", "0".repeat(missing), &text[sign.len()..]));
    }
    let mut fills = fill.as_deref().unwrap_or(" ").chars();
    let (Some(fill), None) = (fills.next(), fills.next()) else {
        return Err(given.bad("expected one character to fill with"));
    };
    let left = match given.method {
        "ljust" => 0,
        "rjust" => missing,
        // Where the room is odd, Python puts the larger half in front of a text if the width is odd.
        _ => missing / 2 + (missing & width & 1),
    };
    let times = |n: usize| std::iter::repeat_n(fill, n);
    Ok(times(left).chain(text.chars()).chain(times(missing - left)).collect())
}

fn expanded(text: &str, size: i64) -> String {
    let size = usize::try_from(size).unwrap_or(0).min(1000);
    let (mut out, mut column) = (String::new(), 0);
    for c in text.chars() {
        match c {
            '\t' if size == 0 => {}
            '\t' => {
                let spaces = size - column % size;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            c => {
                out.push(c);
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    out
}

/// Whether a letter has a case.
fn cased(c: char) -> bool {
    c.is_uppercase() || c.is_lowercase() || title_case(c)
}

/// Whether a letter is in title case, such as "ǅ": both its upper and its lower case are other letters.
fn title_case(c: char) -> bool {
    !c.is_ascii() && !c.is_uppercase() && !c.is_lowercase() && c.to_lowercase().ne([c])
}

/// Python's `title`: a letter begins a word if none with a case stands before it.
fn titled(state: &mut State, text: &str) -> Result<String, Error> {
    let mut out = String::new();
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else if c.is_ascii() {
            out.push(c.to_ascii_uppercase());
        } else {
            // The engine's filter `capitalize` knows the letters in title case.
            let first = Value::from(String::from(c));
            out.push_str(&state.apply_filter("capitalize", &[first])?.to_string());
        }
        inside = cased(c);
    }
    Ok(out)
}

/// The answer of a method such as `isdigit`, if there is one of that name.
fn asked(method: &str, text: &str) -> Option<bool> {
    let some_all = |fits: fn(char) -> bool| !text.is_empty() && text.chars().all(fits);
    let letter = |c: char| c.is_alphabetic();
    Some(match method {
        "isalnum" => some_all(|c| c.is_alphanumeric()),
        "isalpha" => some_all(letter),
        "isascii" => text.is_ascii(),
        "isdecimal" => some_all(decimal),
        "isdigit" => some_all(|c| decimal(c) || digit(c)),
        "isnumeric" => some_all(|c| c.is_numeric() || ideograph_of_a_number(c)),
        "isidentifier" => {
            text.starts_with(|c: char| c == '_' || c.is_alphabetic())
                && text.chars().all(|c| c == '_' || c.is_alphanumeric())
        }
        "islower" => {
            text.chars().any(|c| c.is_lowercase()) && !text.chars().any(|c| c.is_uppercase() || title_case(c))
        }
        "isupper" => {
            text.chars().any(|c| c.is_uppercase()) && !text.chars().any(|c| c.is_lowercase() || title_case(c))
        }
        "isprintable" => text.chars().all(printable),
        "isspace" => some_all(space),
        "istitle" => {
            let (mut inside, mut any) = (false, false);
            for c in text.chars() {
                let first = c.is_uppercase() || title_case(c);
                if (first && inside) || (c.is_lowercase() && !inside) {
                    return Some(false);
                }
                any |= first;
                inside = cased(c);
            }
            any
        }
        _ => return None,
    })
}

/// The zeros of the scripts that have ten digits of their own; the other nine follow each.
const ZEROS: [u32; 65] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50,
    0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0,
    0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50,
    0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140,
    0x1e2f0, 0x1e950, 0x1fbf0,
];

/// A digit of a system with ten of them.
fn decimal(c: char) -> bool {
    let nth = ZEROS.partition_point(|&zero| zero <= u32::from(c));
    c.is_ascii_digit() || (nth > 0 && u32::from(c) < ZEROS[nth - 1] + 10)
}

/// A digit that cannot stand in a number: raised, lowered, in a circle, …
fn digit(c: char) -> bool {
    DIGITS.iter().any(|&(first, last)| (first..=last).contains(&u32::from(c)))
}

const DIGITS: [(u32, u32); 20] = [
    (0xb2, 0xb3),
    (0xb9, 0xb9),
    (0x1369, 0x1371),
    (0x19da, 0x19da),
    (0x2070, 0x2070),
    (0x2074, 0x2079),
    (0x2080, 0x2089),
    (0x2460, 0x2468),
    (0x2474, 0x247c),
    (0x2488, 0x2490),
    (0x24ea, 0x24ea),
    (0x24f5, 0x24fd),
    (0x24ff, 0x24ff),
    (0x2776, 0x277e),
    (0x2780, 0x2788),
    (0x278a, 0x2792),
    (0x10a40, 0x10a43),
    (0x10e60, 0x10e68),
    (0x11052, 0x1105a),
    (0x1f100, 0x1f10a),
];

/// The ideographs that stand for numbers.
fn ideograph_of_a_number(c: char) -> bool {
    "〇一二三四五六七八九十百千万億兆零壹貳參肆伍陸柒捌玖拾佰仟萬亿".contains(c)
}

fn of_dict(on: &Value, given: &Arguments) -> Result<Option<Value>, Error> {
    let Some(object) = on.as_object() else { return Ok(None) };
    let pairs = || DynObject::try_iter_pairs(object).into_iter().flatten();
    let view = |name, items| Some(Value::from_object(View { name, items }));
    let found = match given.method {
        "keys" => view("dict_keys", pairs().map(|(name, _)| name).collect()),
        "values" => view("dict_values", pairs().map(|(_, value)| value).collect()),
        "items" => {
            view("dict_items", pairs().map(|(name, value)| Tuple::from([name, value]).into()).collect())
        }
        "copy" => Some(on.clone()),
        "get" => {
            given.most(2)?;
            let missing = || given.positional.get(1).cloned().unwrap_or_else(|| ().into());
            return Ok(Some(object.get_value(given.value(0)?).unwrap_or_else(missing)));
        }
        _ => return Ok(None),
    };
    given.most(0)?;
    Ok(found)
}

fn of_list(on: &Value, given: &Arguments) -> Result<Option<Value>, Error> {
    if on.downcast_object_ref::<View>().is_some() {
        return Ok(None);
    }
    let items = || on.try_iter().into_iter().flatten();
    let found = match given.method {
        "index" => {
            let what = given.value(0)?;
            let at = items().position(|item| item == *what);
            Value::from(at.ok_or_else(|| given.bad(format!("{} is not in the list", repr(what))))?)
        }
        "count" => {
            let what = given.value(0)?;
            items().filter(|item| item == what).count().into()
        }
        "copy" => on.clone(),
        _ => return Ok(None),
    };
    Ok(Some(found))
}
