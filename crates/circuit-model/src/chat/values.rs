//! How Python prints the values of a template: `str()` and `repr()`, and the objects whose Python form the engine lacks.
//!
//! Not here: JSON (`json.rs`), and the methods that a template calls (`methods.rs`).

use minijinja::value::{DynObject, Enumerator, Object, ObjectExt, ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// A Python dictionary: like the engine's own maps, but its methods come before its entries when it is asked for an
/// attribute. `schema.items` is the method in Python, even if the schema has an entry `items`.
#[derive(Debug)]
pub(super) struct Dict(DynObject);

impl Dict {
    /// A dictionary of these entries in their order. Of two entries of one name the later value counts.
    pub(super) fn of(entries: Vec<(String, Value)>) -> Value {
        let map = Value::from_pairs(entries);
        map.as_object().map_or_else(|| map.clone(), |object| Value::from_object(Self(object.clone())))
    }
}

/// The methods of Python's `dict` that a template can reach.
const DICT_METHODS: [&str; 11] =
    ["clear", "copy", "fromkeys", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values"];

impl Object for Dict {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get_value(key)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match DICT_METHODS.contains(&key) {
            true => Some(Value::from_object(Method { of: self.clone(), name: key.to_owned() })),
            false => self.0.get_value_by_str(key),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.0.enumerate()
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        self.0.enumerator_len()
    }
}

/// A method of a dictionary that was not called yet.
#[derive(Debug)]
struct Method {
    of: Arc<Dict>,
    name: String,
}

impl Object for Method {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        Value::from_dyn_object(self.of.clone()).call_method(state, &self.name, args)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<built-in method {} of dict object>", self.name)
    }
}

/// What `keys()`, `values()` and `items()` of a dictionary give: it has a length and can be walked, but it is no sequence.
#[derive(Debug)]
pub(super) struct View {
    pub(super) name: &'static str,
    pub(super) items: Vec<Value>,
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_rev_enumerator(|this| Box::new(this.items.iter().cloned()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.items.len())
    }
}

/// What a filter such as `select` gives: a generator of Python. It is true even if it is empty, and can be walked once.
#[derive(Debug)]
pub(super) struct Generator(Mutex<Vec<Value>>);

impl Generator {
    /// A generator of the items of a value.
    pub(super) fn of(value: Value) -> Result<Value, Error> {
        Ok(Value::from_object(Self(Mutex::new(value.try_iter()?.collect()))))
    }
}

impl Object for Generator {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.0.lock().unwrap_or_else(PoisonError::into_inner).len())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
}

/// `strftime_now` where no date was given: it counts as undefined, but a call says what is missing.
#[derive(Debug)]
pub(super) struct NoClock;

impl NoClock {
    /// The word by which a failed call is recognised.
    pub(super) const NAME: &'static str = "strftime_now";

    /// Whether a value is undefined for a template.
    pub(super) fn or_undefined(value: &Value) -> bool {
        value.is_undefined() || value.downcast_object_ref::<Self>().is_some()
    }
}

impl Object for NoClock {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, _: &[Value]) -> Result<Value, Error> {
        Err(Error::new(ErrorKind::UnknownFunction, Self::NAME))
    }

    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// Whether a value is what Python calls a mapping. The engine also shows macros, namespaces and loops as maps.
pub(super) fn is_mapping(value: &Value) -> bool {
    value.kind() == ValueKind::Map
        && !["::Macro", "::Namespace", "::Loop"].iter().any(|name| is_a(value, name))
}

/// Whether a value can be called.
pub(super) fn is_callable(value: &Value) -> bool {
    if NoClock::or_undefined(value) {
        // Jinja's undefined value has a method for calls, which fails. What stands for a missing clock has none.
        return value.is_undefined();
    }
    let function = value.as_object().is_some_and(|object| object.repr() == ObjectRepr::Plain);
    function || is_a(value, "::Macro") || is_a(value, "::Loop")
}

/// Whether Python finds the length and the items of a value.
pub(super) fn is_sequence(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Seq | ValueKind::String | ValueKind::Undefined => true,
        ValueKind::Iterable => {
            let walked = [is_a(value, "::View"), is_a(value, "::Generator")];
            walked == [false; 2] && value.len().is_some()
        }
        _ => is_mapping(value),
    }
}

/// Whether a value can be walked. Asking does not walk it.
pub(super) fn is_iterable(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Undefined | ValueKind::Iterable)
        || is_mapping(value)
}

/// Whether an object of the engine is of a type by the end of its name: the engine's own types are private.
fn is_a(value: &Value, type_name: &str) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with(type_name))
}

/// Whether a value is a number that is not an integer.
pub(super) fn as_float(value: &Value) -> Option<f64> {
    let number = value.kind() == ValueKind::Number && !value.is_integer();
    if number { f64::try_from(value.clone()).ok() } else { None }
}

/// A number as Python's `repr` writes it: the shortest digits that give it back, an exponent of at least two digits
/// outside of 1e-4 to 1e16.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    // Rust changes to an exponent at the places where Python does, but writes it without sign and leading zero.
    let text = format!("{number:?}");
    match text.split_once('e') {
        None => text,
        Some((digits, power)) => {
            let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
            format!("{digits}e{sign}{power:0>2}")
        }
    }
}

/// A value as Python's `str()` writes it: this is what a template prints.
pub(super) fn text(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::String => value.as_str().unwrap_or_default().to_owned(),
        _ if NoClock::or_undefined(value) => String::new(),
        _ => repr(value),
    }
}

/// A value as Python's `repr()` writes it: this is how a list prints its items.
pub(super) fn repr(value: &Value) -> String {
    let mut out = String::new();
    write_repr(&mut out, value);
    out
}

fn write_repr(out: &mut String, value: &Value) {
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::String => quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Number => match as_float(value) {
            Some(number) => out.push_str(&float(number)),
            None => _ = write!(out, "{value}"),
        },
        ValueKind::Map => {
            let pairs = value.as_object().and_then(DynObject::try_iter_pairs).into_iter().flatten();
            listed(out, ("{", "}"), pairs, |out, (name, value)| {
                write_repr(out, &name);
                out.push_str(": ");
                write_repr(out, &value);
            });
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = || value.try_iter().into_iter().flatten();
            let item = |out: &mut String, value: Value| write_repr(out, &value);
            if let Some(view) = value.downcast_object_ref::<View>() {
                out.push_str(view.name);
                listed(out, ("([", "])"), items(), item);
            } else if value.is_tuple() {
                let end = if value.len() == Some(1) { ",)" } else { ")" };
                listed(out, ("(", end), items(), item);
            } else {
                listed(out, ("[", "]"), items(), item);
            }
        }
        _ => _ = write!(out, "{value}"),
    }
}

/// Items between brackets, separated by commas.
fn listed<T>(
    out: &mut String,
    (open, close): (&str, &str),
    items: impl Iterator<Item = T>,
    write: impl Fn(&mut String, T),
) {
    out.push_str(open);
    for (nth, item) in items.enumerate() {
        if nth > 0 {
            out.push_str(", ");
        }
        write(out, item);
    }
    out.push_str(close);
}

/// A string as Python's `repr` writes it.
fn quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if printable(c) => out.push(c),
            c => {
                _ = match u32::from(c) {
                    code @ ..=0xff => write!(out, "\\x{code:02x}"),
                    code @ ..=0xffff => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                }
            }
        }
    }
    out.push(quote);
}

/// Whether Python calls a character printable: no control or format character, no separator but the space, and assigned.
pub(super) fn printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // The standard library knows the same categories, and shows them only by escaping. The letter in front keeps it from
    // escaping combining marks, which Python prints.
    ['a', c].iter().collect::<String>().escape_debug().count() == 2
}
