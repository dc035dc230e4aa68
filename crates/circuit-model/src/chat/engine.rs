//! The language of chat templates, as transformers speak it: Jinja in Python, on the engine `minijinja`.
//!
//! The engine's own operators, filters and tests stay where they agree with Jinja. What differs is replaced here: how values
//! are printed, what `none` and undefined values are, and Python's methods. A template runs with bounded fuel, and sees what
//! it is given and nothing of this machine.

use super::day::ChatDate;
use super::source::{CONCAT, REMAINDER, prepared};
use super::values::{NoClock, is_callable, is_iterable, is_mapping, is_sequence, text};
use super::{filters, json, methods};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use minijinja_contrib::globals as contrib;
use std::fmt::Write;

/// What a template may do, in steps (a step also pays for 64 bytes): a long chat takes some ten thousand.
const FUEL: u64 = 5_000_000;

/// Why a template gave no text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) line: Option<usize>,
    pub(super) why: Why,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It asks for today's date, and there is none.
    NoDate,
    /// The reason, as the end of a sentence about the template.
    Other(String),
}

/// Renders a template. `context` holds what it can name.
pub(super) fn render(source: &str, context: Value, date: Option<ChatDate>) -> Result<String, Refusal> {
    let source = prepared(source);
    let environment = environment(date);
    let rendered = environment.template_from_str(&source).and_then(|template| template.render(context));
    rendered.map_err(|error| refusal(&error))
}

fn environment<'a>(date: Option<ChatDate>) -> Environment<'a> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters differ"));
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(|out, state, value| {
        let text = text(value);
        let as_it_is = value.is_safe() || matches!(state.auto_escape(), AutoEscape::None);
        out.write_str(&if as_it_is { text } else { filters::escaped(&text) }).map_err(Error::from)
    });
    environment.set_unknown_method_callback(methods::call);
    environment.add_function("raise_exception", |message: Value| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{}", text(&message))))
    });
    match date {
        Some(date) => environment.add_function(NoClock::NAME, move |format: String| date.written(&format)),
        None => environment.add_global(NoClock::NAME, Value::from_object(NoClock)),
    }
    environment.add_function("cycler", |items: Rest<Value>| contrib::cycler(items.0));
    environment.add_function("joiner", contrib::joiner);
    environment.add_filter("tojson", json::filter);
    environment.add_filter(CONCAT, |a: &Value, b: &Value| text(a) + &text(b));
    environment.add_filter(REMAINDER, filters::remainder);
    filters::add(&mut environment);
    add_tests(&mut environment);
    environment
}

fn add_tests(environment: &mut Environment) {
    environment.add_test("defined", |value: &Value| !NoClock::or_undefined(value));
    environment.add_test("undefined", NoClock::or_undefined);
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_sequence);
    environment.add_test("mapping", is_mapping);
    environment.add_test("callable", is_callable);
}

/// Marks an error that the template raised by `raise_exception`, as against one of the engine.
const RAISED: &str = "\u{1}";

/// What went wrong, for a reader: the template's own words where it refused.
fn refusal(error: &Error) -> Refusal {
    let detail = error.detail();
    let why = match (error.kind(), detail) {
        (ErrorKind::UnknownFunction, Some(NoClock::NAME)) => Why::NoDate,
        (ErrorKind::OutOfFuel, _) => Why::Other("does not come to an end".into()),
        (_, Some(detail)) if detail.starts_with(RAISED) => {
            Why::Other(format!("refuses: {}", &detail[RAISED.len()..]))
        }
        (kind, detail) => {
            let mut reason = format!("fails: {kind}");
            if let Some(detail) = detail {
                _ = write!(reason, ": {detail}");
            }
            Why::Other(reason)
        }
    };
    Refusal { line: error.line(), why }
}
