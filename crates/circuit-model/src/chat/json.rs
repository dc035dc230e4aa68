//! The filter `tojson`, as Python's `json.dumps` writes: its spaces, its numbers, its escapes and its arguments.
//!
//! Unlike the filter of Jinja itself it does not escape for web pages: transformers replace that filter, too.

use super::values::{NoClock, as_float, float};
use minijinja::value::{DynObject, Kwargs, Rest, Value, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Error, ErrorKind, State};
use std::cmp::Ordering;
use std::fmt::Write;

/// `value|tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
pub(super) fn filter(state: &State, value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    const NAMES: [&str; 4] = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let args = args.into_values();
    let (args, kwargs): (&[Value], Kwargs) = from_args(&args)?;
    if args.len() > NAMES.len() {
        return Err(invalid(format!("tojson takes {} arguments, got {}", NAMES.len(), args.len())));
    }
    let of = |nth: usize| -> Result<Option<Value>, Error> {
        let named: Option<Value> = kwargs.get(NAMES[nth])?;
        match (args.get(nth), named) {
            (Some(_), Some(_)) => {
                Err(invalid(format!("tojson got more than one value for `{}`", NAMES[nth])))
            }
            (given, named) => Ok(given.cloned().or(named).filter(|value| !value.is_none())),
        }
    };
    let truth = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let indent = of(1)?.map(|indent| one_step(&indent)).transpose()?;
    let separators = of(2)?.map(|pair| two_texts(&pair)).transpose()?;
    let usual = if indent.is_some() { "," } else { ", " };
    let (between, after_key) = separators.unwrap_or_else(|| (usual.into(), ": ".into()));
    let (ascii, sorted) = (truth(of(0)?), truth(of(3)?));
    kwargs.assert_all_used()?;
    let mut writer = Writer { out: String::new(), state, ascii, indent, between, after_key, sorted };
    writer.value(value, 0)?;
    Ok(writer.out)
}

/// The indent of one level: a number of spaces, or a text.
fn one_step(indent: &Value) -> Result<String, Error> {
    const MOST: i64 = 1000;
    if let Some(text) = indent.as_str() {
        return Ok(text.to_owned());
    }
    let width = i64::try_from(indent.clone()).map_err(|_| {
        invalid(format!("tojson: `indent` is {}, expected a number or a text", indent.kind()))
    })?;
    if width > MOST {
        return Err(invalid(format!("tojson: `indent` is {width}, expected at most {MOST}")));
    }
    Ok(" ".repeat(usize::try_from(width).unwrap_or(0)))
}

/// The two separators: between items, and after a key.
fn two_texts(pair: &Value) -> Result<(String, String), Error> {
    let items: Vec<Value> = pair.try_iter().map(Iterator::collect).unwrap_or_default();
    match items.as_slice() {
        [a, b] if a.as_str().is_some() && b.as_str().is_some() => Ok((a.to_string(), b.to_string())),
        _ => Err(invalid(format!("tojson: `separators` is {pair}, expected two texts"))),
    }
}

fn invalid(reason: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

struct Writer<'a> {
    out: String,
    /// Pays for what is written.
    state: &'a State<'a, 'a>,
    ascii: bool,
    indent: Option<String>,
    between: String,
    after_key: String,
    sorted: bool,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        const DEEPEST: usize = 200;
        self.state.consume_fuel(1)?;
        if depth > DEEPEST {
            return Err(invalid(format!("tojson: a value is nested more than {DEEPEST} levels deep")));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.listed(('[', ']'), &items, depth, |this, item| this.value(item, depth + 1))?;
            }
            ValueKind::Map => {
                let pairs = value.as_object().and_then(DynObject::try_iter_pairs);
                let mut pairs: Vec<(Value, Value)> = pairs.into_iter().flatten().collect();
                if self.sorted {
                    sort_by_key(&mut pairs)?;
                }
                self.listed(('{', '}'), &pairs, depth, |this, (name, value)| {
                    this.string(&key(name)?);
                    this.out.push_str(&this.after_key.clone());
                    this.value(value, depth + 1)
                })?;
            }
            kind => {
                let what = if NoClock::or_undefined(value) { ValueKind::Undefined } else { kind };
                return Err(invalid(format!("tojson: a value of type {what} has no form in JSON")));
            }
        }
        Ok(())
    }

    fn listed<T>(
        &mut self,
        (open, close): (char, char),
        items: &[T],
        depth: usize,
        write: impl Fn(&mut Self, &T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (nth, item) in items.iter().enumerate() {
            if nth > 0 {
                self.out.push_str(&self.between.clone());
            }
            self.line(depth + 1)?;
            write(self, item)?;
        }
        if !items.is_empty() {
            self.line(depth)?;
        }
        self.out.push(close);
        Ok(())
    }

    /// A new line at a depth, if there is an indent.
    fn line(&mut self, depth: usize) -> Result<(), Error> {
        if let Some(indent) = &self.indent {
            let indent = indent.repeat(depth);
            self.state.consume_fuel(indent.len() as u64 / 64)?;
            self.out.push('\n');
            self.out.push_str(&indent);
        }
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ascii && !matches!(c, ' '..='~')) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// A number as `json.dumps` writes it.
fn number(value: &Value) -> String {
    match as_float(value) {
        None => value.to_string(),
        Some(number) if number.is_nan() => "NaN".into(),
        Some(number) if number.is_infinite() => {
            if number > 0.0 {
                "Infinity".into()
            } else {
                "-Infinity".into()
            }
        }
        Some(number) => float(number),
    }
}

/// A key of a dictionary as a text.
fn key(name: &Value) -> Result<String, Error> {
    match name.kind() {
        ValueKind::String => Ok(name.as_str().unwrap_or_default().to_owned()),
        ValueKind::Number => Ok(number(name)),
        ValueKind::Bool => Ok(if name.is_true() { "true" } else { "false" }.into()),
        ValueKind::None => Ok("null".into()),
        kind => Err(invalid(format!("tojson: a key of type {kind} has no form in JSON"))),
    }
}

/// Sorts as Python does, which refuses to compare keys of different types.
fn sort_by_key(pairs: &mut [(Value, Value)]) -> Result<(), Error> {
    let comparable = |value: &Value| match value.kind() {
        ValueKind::Bool => ValueKind::Number,
        kind => kind,
    };
    if let Some(pair) = pairs.windows(2).find(|pair| comparable(&pair[0].0) != comparable(&pair[1].0)) {
        let (a, b) = (pair[0].0.kind(), pair[1].0.kind());
        return Err(invalid(format!("tojson: keys of types {a} and {b} cannot be sorted")));
    }
    pairs.sort_by(|a, b| match (a.0.as_str(), b.0.as_str()) {
        (Some(a), Some(b)) => a.cmp(b),
        _ => a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal),
    });
    Ok(())
}
