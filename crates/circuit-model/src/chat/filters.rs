//! The filters of Jinja that the engine lacks, or that differ there: defaults, numbers, texts, and filters that give a
//! generator.
//!
//! `tojson` has a file of its own. The filter `random` is left out on purpose: a prompt is the same at each run.

use super::methods::lines;
use super::values::{Generator, NoClock, as_float, repr, text};
use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, State, filters};
use minijinja_contrib::filters as contrib;

/// Adds the filters to an environment.
pub(super) fn add(environment: &mut Environment) {
    environment.add_filter("string", |value: &Value| text(value));
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("join", join);
    environment.add_filter("indent", indent);
    environment.add_filter("wordcount", |value: &Value| {
        text(value).split(|c: char| c != '_' && !c.is_alphanumeric()).filter(|word| !word.is_empty()).count()
    });
    environment.add_filter("center", |state: &mut State, value: &Value, width: Option<i64>| {
        Value::from(text(value)).call_method(state, "center", &[width.unwrap_or(80).into()])
    });
    for name in ["e", "escape"] {
        environment.add_filter(name, |value: &Value| match value.is_safe() {
            true => value.clone(),
            false => Value::from_safe_string(escaped(&text(value))),
        });
    }
    environment.add_filter("forceescape", |value: &Value| Value::from_safe_string(escaped(&text(value))));
    environment.add_filter("striptags", contrib::striptags);
    environment.add_filter("filesizeformat", contrib::filesizeformat);
    for (name, names, filter) in [
        ("truncate", &["length", "killwords", "end", "leeway"][..], Value::from_function(contrib::truncate)),
        ("sort", &["reverse", "case_sensitive", "attribute"], Value::from_function(filters::sort)),
        ("dictsort", &["case_sensitive", "by", "reverse"], Value::from_function(filters::dictsort)),
        ("min", &["case_sensitive", "attribute"], Value::from_function(filters::min)),
        ("max", &["case_sensitive", "attribute"], Value::from_function(filters::max)),
    ] {
        environment.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            filter.call(state, &by_name(&args.into_values(), names)?)
        });
    }
    let reverse = Value::from_function(filters::reverse);
    environment.add_filter("reverse", move |state: &mut State, value: &Value| {
        let reversed = reverse.call(state, std::slice::from_ref(value))?;
        if value.as_str().is_some() { Ok(reversed) } else { Generator::of(reversed) }
    });
    add_generators(environment);
}

/// Adds the filters whose result can be walked once.
fn add_generators(environment: &mut Environment) {
    for (name, names, filter) in [
        ("map", &[][..], Value::from_function(filters::map)),
        ("select", &[], Value::from_function(filters::select)),
        ("reject", &[], Value::from_function(filters::reject)),
        ("selectattr", &[], Value::from_function(filters::selectattr)),
        ("rejectattr", &[], Value::from_function(filters::rejectattr)),
        ("items", &[], Value::from_function(filters::items)),
        ("batch", &[], Value::from_function(filters::batch)),
        ("slice", &[], Value::from_function(filters::slice)),
        ("unique", &["case_sensitive", "attribute"], Value::from_function(filters::unique)),
    ] {
        environment.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            let args = args.into_values();
            let args = if names.is_empty() { args } else { by_name(&args, names)? };
            Generator::of(filter.call(state, &args)?)
        });
    }
}

fn invalid(reason: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// Gives positional arguments behind the first the names by which the engine's filter takes them.
fn by_name(args: &[Value], names: &[&str]) -> Result<Vec<Value>, Error> {
    let (args, kwargs): (&[Value], Kwargs) = from_args(args)?;
    let Some((first, rest)) = args.split_first() else { return Ok(Vec::new()) };
    if rest.len() > names.len() {
        return Err(invalid(format!("expected at most {} arguments, got {}", names.len(), rest.len())));
    }
    let mut all: Vec<(String, Value)> =
        names.iter().map(|&name| name.to_owned()).zip(rest.iter().cloned()).collect();
    for name in kwargs.args() {
        all.push((name.to_owned(), kwargs.peek(name)?));
    }
    Ok(vec![first.clone(), all.into_iter().collect::<Kwargs>().into()])
}

/// `value|default(default_value='', boolean=false)`.
fn default(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = args.into_values();
    let (default, boolean, kwargs): (Option<Value>, Option<Value>, Kwargs) = from_args(&args)?;
    let default = default.map_or_else(|| kwargs.get::<Option<Value>>("default_value"), |v| Ok(Some(v)))?;
    let boolean = boolean.map_or_else(|| kwargs.get::<Option<Value>>("boolean"), |v| Ok(Some(v)))?;
    kwargs.assert_all_used()?;
    let replaced = NoClock::or_undefined(value) || (boolean.is_some_and(|b| b.is_true()) && !value.is_true());
    Ok(if replaced { default.unwrap_or_else(|| "".into()) } else { value.clone() })
}

/// A number, or a text that is one.
fn as_number(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some(text) => text.trim().replace('_', "").parse().ok(),
        None => f64::try_from(value.clone())
            .ok()
            .or_else(|| value.kind().eq(&ValueKind::Bool).then(|| f64::from(u8::from(value.is_true())))),
    }
}

/// `value|float(default=0.0)`.
fn float(value: &Value, default: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default.map_or_else(|| kwargs.get::<Option<Value>>("default"), |v| Ok(Some(v)))?;
    kwargs.assert_all_used()?;
    Ok(as_number(value).map(Value::from).or(default).unwrap_or_else(|| 0.0.into()))
}

/// `value|int(default=0, base=10)`.
fn int(value: &Value, default: Option<Value>, base: Option<u32>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default.map_or_else(|| kwargs.get::<Option<Value>>("default"), |v| Ok(Some(v)))?;
    let base = base.map_or_else(|| kwargs.get::<Option<u32>>("base"), |base| Ok(Some(base)))?.unwrap_or(10);
    kwargs.assert_all_used()?;
    let found = match value.as_str() {
        Some(text) => of_digits(text, base).or_else(|| as_number(value).and_then(whole)),
        None if value.is_integer() => return Ok(value.clone()),
        None => as_number(value).and_then(whole),
    };
    Ok(found.map(Value::from).or(default).unwrap_or_else(|| 0.into()))
}

fn whole(number: f64) -> Option<i128> {
    // Python's integers have no bound; a float above this one has no digits behind the point, and none that matter here.
    (number.abs() < 1e38).then_some(number.trunc() as i128)
}

/// An integer in a base, perhaps with the prefix of its base.
fn of_digits(text: &str, base: u32) -> Option<i128> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_lowercase();
    let prefixes = [("0b", 2), ("0o", 8), ("0x", 16)];
    let prefixed = prefixes
        .into_iter()
        .find_map(|(prefix, of)| Some((lower.strip_prefix(prefix)?, of)))
        .filter(|&(_, of)| base == 0 || base == of);
    let (digits, base) = prefixed.unwrap_or((&lower, if base == 0 { 10 } else { base }));
    let fits = (2..=36).contains(&base) && !digits.starts_with(['+', '-', '_']) && !digits.ends_with('_');
    let found = i128::from_str_radix(&digits.replace('_', ""), base).ok().filter(|_| fits)?;
    Some(sign * found)
}

/// `values|join(d='', attribute=none)`. Each value is printed as Python prints it.
fn join(state: &State, values: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let args = args.into_values();
    let (between, attribute, kwargs): (Option<Value>, Option<Value>, Kwargs) = from_args(&args)?;
    let between = between.map_or_else(|| kwargs.get::<Option<Value>>("d"), |v| Ok(Some(v)))?;
    let attribute = attribute.map_or_else(|| kwargs.get::<Option<Value>>("attribute"), |v| Ok(Some(v)))?;
    kwargs.assert_all_used()?;
    let between = between.map(|between| text(&between)).unwrap_or_default();
    let mut out = String::new();
    for (nth, item) in values.try_iter()?.enumerate() {
        let item = match &attribute {
            Some(attribute) => by_path(&item, &text(attribute))?,
            None => item,
        };
        let item = text(&item);
        state.consume_fuel(1 + (between.len() + item.len()) as u64 / 64)?;
        if nth > 0 {
            out.push_str(&between);
        }
        out.push_str(&item);
    }
    Ok(out)
}

/// What a path such as `function.name` or `0` leads to.
fn by_path(value: &Value, path: &str) -> Result<Value, Error> {
    path.split('.').try_fold(value.clone(), |value, step| match step.parse::<usize>() {
        Ok(place) => value.get_item(&place.into()),
        Err(_) => value.get_item(&step.into()),
    })
}

/// `text|indent(width=4, first=false, blank=false)`. The width may be a text that is put in front of each line.
fn indent(state: &State, value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let args = args.into_values();
    let (width, first, blank, kwargs): (Option<Value>, Option<Value>, Option<Value>, Kwargs) =
        from_args(&args)?;
    let or =
        |given: Option<Value>, name| given.map_or_else(|| kwargs.get::<Option<Value>>(name), |v| Ok(Some(v)));
    let (width, first, blank) = (or(width, "width")?, or(first, "first")?, or(blank, "blank")?);
    kwargs.assert_all_used()?;
    let truth = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let (first, blank) = (truth(first), truth(blank));
    let step = match width {
        None => " ".repeat(4),
        Some(width) => match width.as_str() {
            Some(step) => step.to_owned(),
            None => {
                let width = i64::try_from(width.clone()).map_err(|_| {
                    invalid(format!("indent: `width` is {}, expected a number or a text", repr(&width)))
                })?;
                let width = usize::try_from(width).unwrap_or(0);
                state.consume_fuel(width as u64 / 64)?;
                " ".repeat(width)
            }
        },
    };
    // Jinja adds a line end first, so that a text that ends with one keeps it.
    let whole = text(value) + "\n";
    let mut out = String::new();
    for (nth, line) in lines(&whole, false).into_iter().enumerate() {
        state.consume_fuel(1 + step.len() as u64 / 64)?;
        if nth > 0 {
            out.push('\n');
        }
        if if nth == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&step);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// A text for a web page, with the entities that Python's `markupsafe` uses.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

/// `a % b`: of numbers the remainder, which has the sign of the divisor; of a text the text with the values put in.
pub(super) fn remainder(a: &Value, b: &Value) -> Result<Value, Error> {
    if let Some(pattern) = a.as_str() {
        return put_in(pattern, b).map(Value::from);
    }
    let numbers = [a, b].map(|value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool));
    if numbers != [true; 2] || !b.is_true() {
        return Err(invalid(format!("`%` of {} and {} has no result", repr(a), repr(b))));
    }
    if as_float(a).is_none() && as_float(b).is_none() {
        let (a, b) = (i128::try_from(a.clone())?, i128::try_from(b.clone())?);
        let rest = a.checked_rem(b).unwrap_or(0);
        return Ok(Value::from(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }));
    }
    let (a, b) = (f64::try_from(a.clone())?, f64::try_from(b.clone())?);
    let rest = a % b;
    Ok(Value::from(match rest == 0.0 {
        true => 0.0_f64.copysign(b),
        false if (rest < 0.0) != (b < 0.0) => rest + b,
        false => rest,
    }))
}

/// A text with values in place of its codes, such as `%s` or `%(name)5.2f`.
fn put_in(pattern: &str, given: &Value) -> Result<String, Error> {
    let mut values: Vec<Value> =
        if given.is_tuple() { given.try_iter()?.collect() } else { vec![given.clone()] };
    let (mut plain, mut rest, mut taken, mut by_name) = (String::new(), pattern, 0, false);
    while let Some((before, code)) = rest.split_once('%') {
        plain.extend([before, "%"]);
        let named = code.strip_prefix('(').and_then(|inside| inside.find(')')).map_or(0, |end| end + 2);
        by_name |= named > 0;
        let width = code[named..].find(|c: char| !"#0- +.*123456789hlL".contains(c));
        let end = named + width.unwrap_or(code.len() - named);
        plain.push_str(&code[..end]);
        taken += code[named..end].matches('*').count();
        let letter = code[end..].chars().next();
        match letter {
            // The engine does not know `%r`; a text with the quotes prints the same.
            Some('r' | 'a') if named == 0 => {
                if let Some(value) = values.get_mut(taken) {
                    *value = repr(value).into();
                }
                plain.push('s');
                taken += 1;
            }
            // What Python prints for a value that is neither text nor number.
            Some('s') if named == 0 => {
                if let Some(value) = values.get_mut(taken) {
                    *value = text(value).into();
                }
                plain.push('s');
                taken += 1;
            }
            Some('%') => plain.push('%'),
            Some(letter) => {
                plain.push(letter);
                taken += usize::from(named == 0);
            }
            None => {}
        }
        rest = &code[end + letter.map_or(0, char::len_utf8)..];
    }
    plain.push_str(rest);
    if taken < values.len() && !by_name && given.kind() != ValueKind::Map {
        return Err(invalid(format!("`%`: the text has {taken} places for {} values", values.len())));
    }
    format(FormatStyle::Printf, &plain, &values)
}
