//! A template's text, prepared for the engine: what Jinja does before it parses, and what transformers add to the language.
//!
//! Line ends become one character everywhere. In blocks alone, never in strings, comments or raw text, these are rewritten:
//! the `generation` blocks by which training marks the model's own words; the operators `%` and `~`, which format and print
//! as Python does; the sign `+`; and lines of a string that a backslash joins. What the rewritten operators do is in `filters.rs`.

/// The filters that stand for the two operators.
pub(super) const REMAINDER: &str = "python_remainder";
pub(super) const CONCAT: &str = "python_concat";

/// A template as the engine takes it.
pub(super) fn prepared(source: &str) -> String {
    // Jinja knows no other line end, not even inside of strings.
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut edits = Vec::new();
    for block in blocks(&source) {
        rename_generation(&block, &mut edits);
        keep_raw_line(&source, &block, &mut edits);
        join_lines(&block, &mut edits);
        rewrite_operators(&block, &mut edits);
    }
    // Stable: of two edits at one place the first found comes first.
    edits.sort_by_key(|edit| edit.at);
    let (mut out, mut done) = (String::with_capacity(source.len()), 0);
    for edit in edits {
        out.push_str(&source[done..edit.at]);
        out.push_str(&edit.put);
        done = edit.at + edit.instead_of;
    }
    out + &source[done..]
}

/// A replacement: `put` takes the place of `instead_of` bytes of the source, from `at` on.
struct Edit {
    at: usize,
    instead_of: usize,
    put: String,
}

/// What stands between `{{` and `}}` or between `{%` and `%}`.
struct Block<'a> {
    is_statement: bool,
    tokens: Vec<Token<'a>>,
    /// Behind a block that says that what follows is raw text: where that text begins.
    raw_from: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Name,
    /// A number or a string.
    Literal,
    Operator,
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    at: usize,
}

impl Token<'_> {
    fn end(&self) -> usize {
        self.at + self.text.len()
    }

    fn opens(&self) -> bool {
        self.kind == Kind::Operator && matches!(self.text, "(" | "[" | "{")
    }

    fn closes(&self) -> bool {
        self.kind == Kind::Operator && matches!(self.text, ")" | "]" | "}")
    }
}

/// The blocks of a template. One that does not end is left to the engine, which says where.
fn blocks(source: &str) -> Vec<Block<'_>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(open) = source[at..].find('{').map(|open| at + open) {
        let (kind, inside) = (source[open + 1..].chars().next(), open + 2);
        match kind {
            Some('#') => match source[inside..].find("#}") {
                Some(end) => at = inside + end + 2,
                None => break,
            },
            Some(kind @ ('{' | '%')) => {
                let is_statement = kind == '%';
                let Some((tokens, end)) = tokens(source, inside, is_statement) else { break };
                at = end;
                let raw = is_statement && matches!(tokens.as_slice(), [only] if only.text == "raw");
                found.push(Block { is_statement, tokens, raw_from: raw.then_some(at) });
                if raw {
                    match end_of_raw(source, at) {
                        Some(end) => at = end,
                        None => break,
                    }
                }
            }
            _ => at = open + 1,
        }
    }
    found
}

/// The place behind the `{% endraw %}` that comes next.
fn end_of_raw(source: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let inside = at + source[at..].find("{%")? + 2;
        let signs: &[char] = &['-', '+'];
        let rest = source[inside..].trim_start_matches(signs).trim_start();
        if let Some(rest) = rest.strip_prefix("endraw") {
            let rest = rest.trim_start().trim_start_matches(signs);
            if let Some(rest) = rest.strip_prefix("%}") {
                return Some(source.len() - rest.len());
            }
        }
        at = inside;
    }
}

/// The tokens of a block that begins at a place, and the place behind its end.
fn tokens(source: &str, from: usize, is_statement: bool) -> Option<(Vec<Token<'_>>, usize)> {
    let end = if is_statement { "%}" } else { "}}" };
    let (mut found, mut at, mut depth) = (Vec::new(), from, 0_usize);
    // The sign that keeps or takes the white space in front.
    at += usize::from(source[at..].starts_with(['-', '+']));
    loop {
        let rest = &source[at..];
        let c = rest.chars().next()?;
        if depth == 0 {
            if rest.starts_with(end) {
                return Some((found, at + end.len()));
            }
            if rest.starts_with(['-', '+']) && rest[1..].starts_with(end) {
                return Some((found, at + 1 + end.len()));
            }
        }
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let (kind, length) = token(rest, c)?;
        let token = Token { kind, text: &rest[..length], at };
        depth = (depth + usize::from(token.opens())).saturating_sub(usize::from(token.closes()));
        found.push(token);
        at += length;
    }
}

/// The kind and the length of the token at the beginning of a text.
fn token(rest: &str, first: char) -> Option<(Kind, usize)> {
    let run = |more: &dyn Fn(char) -> bool| rest.find(|c| !more(c)).unwrap_or(rest.len());
    let of_name = |c: char| c == '_' || c.is_alphanumeric();
    if first == '_' || first.is_alphabetic() {
        return Some((Kind::Name, run(&of_name)));
    }
    if first.is_ascii_digit() {
        let mut length = run(&of_name);
        // A point belongs to a number only if a digit follows: `1.5`, but not `items.0.name`.
        let fraction = &rest[length..];
        if fraction.strip_prefix('.').is_some_and(|digits| digits.starts_with(|c: char| c.is_ascii_digit())) {
            length += 1 + fraction[1..].find(|c| !of_name(c)).unwrap_or(fraction.len() - 1);
        }
        let power = rest[..length].ends_with(['e', 'E']) && rest[length..].starts_with(['-', '+']);
        if power && !rest.starts_with("0x") && !rest.starts_with("0X") {
            length += 1 + rest[length + 1..].find(|c: char| !of_name(c)).unwrap_or(rest.len() - length - 1);
        }
        return Some((Kind::Literal, length));
    }
    if matches!(first, '\'' | '"') {
        let mut escaped = false;
        let end = rest[1..].find(|c| {
            let ends = c == first && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        return Some((Kind::Literal, end? + 2));
    }
    let long = ["**", "//", "==", "!=", "<=", ">="].iter().find(|long| rest.starts_with(**long));
    Some((Kind::Operator, long.map_or(first.len_utf8(), |long| long.len())))
}

/// Makes a `generation` block a scope of its own, which is what it is besides a mark.
fn rename_generation(block: &Block<'_>, edits: &mut Vec<Edit>) {
    if let (true, [only]) = (block.is_statement, block.tokens.as_slice()) {
        let put = match only.text {
            "generation" => "with",
            "endgeneration" => "endwith",
            _ => return,
        };
        edits.push(Edit { at: only.at, instead_of: only.text.len(), put: put.into() });
    }
}

/// In a string a backslash in front of a line end takes it away, as in Python.
fn join_lines(block: &Block<'_>, edits: &mut Vec<Edit>) {
    for token in block.tokens.iter().filter(|token| token.kind == Kind::Literal) {
        let mut escaped = false;
        for (nth, c) in token.text.char_indices() {
            if escaped && c == '\n' {
                edits.push(Edit { at: token.at + nth - 1, instead_of: 2, put: String::new() });
            }
            escaped = c == '\\' && !escaped;
        }
    }
}

/// Jinja keeps a line end behind `{% raw %}`, where the engine drops one.
fn keep_raw_line(source: &str, block: &Block<'_>, edits: &mut Vec<Edit>) {
    if let Some(at) = block.raw_from
        && source[at..].starts_with('\n')
        && !source[..at].ends_with("-%}")
    {
        edits.push(Edit { at, instead_of: 0, put: "\n".into() });
    }
}

/// `a % b` becomes `((a)|filter(b))`, and so does `a ~ b`.
fn rewrite_operators(block: &Block<'_>, edits: &mut Vec<Edit>) {
    let tokens = &block.tokens;
    for (nth, token) in tokens.iter().enumerate() {
        // The engine knows no sign `+`.
        if token.kind == Kind::Operator && token.text == "+" && !weaker(block, nth, true) {
            edits.push(Edit { at: token.at, instead_of: 1, put: String::new() });
        }
        let filter = match token.text {
            _ if token.kind != Kind::Operator => continue,
            "%" => REMAINDER,
            "~" => CONCAT,
            _ => continue,
        };
        let (Some(first), Some(last)) = (left_end(block, nth), right_end(block, nth)) else { continue };
        edits.push(Edit { at: tokens[first].at, instead_of: 0, put: "((".into() });
        edits.push(Edit { at: token.at, instead_of: 1, put: format!(")|{filter}(") });
        edits.push(Edit { at: tokens[last].end(), instead_of: 0, put: "))".into() });
    }
}

/// The first token of what stands to the left of an operator.
fn left_end(block: &Block<'_>, operator: usize) -> Option<usize> {
    let tokens = &block.tokens;
    let (mut at, mut depth) = (operator, 0_usize);
    while at > 0 {
        let token = &tokens[at - 1];
        match () {
            () if token.closes() => depth += 1,
            () if token.opens() && depth == 0 => break,
            () if token.opens() => depth -= 1,
            () if depth == 0 && weaker(block, at - 1, tokens[operator].text == "%") => break,
            () => {}
        }
        at -= 1;
    }
    (at < operator).then_some(at)
}

/// The last token of what stands to the right of an operator.
fn right_end(block: &Block<'_>, operator: usize) -> Option<usize> {
    let tokens = &block.tokens;
    let (mut at, mut depth) = (operator + 1, 0_usize);
    while let Some(token) = tokens.get(at) {
        let same = match tokens[operator].text {
            "%" => matches!(token.text, "*" | "/" | "//" | "%"),
            _ => token.text == "~",
        };
        match () {
            () if token.opens() => depth += 1,
            () if token.closes() && depth == 0 => break,
            () if token.closes() => depth -= 1,
            () if depth == 0 && token.kind == Kind::Operator && same => break,
            () if depth == 0 && weaker(block, at, tokens[operator].text == "%") => break,
            () => {}
        }
        at += 1;
    }
    (at > operator + 1).then(|| at - 1)
}

/// Whether a token ends the operand of an operator, since it binds less than that one.
fn weaker(block: &Block<'_>, nth: usize, remainder: bool) -> bool {
    let token = &block.tokens[nth];
    let before = nth.checked_sub(1).map(|nth| &block.tokens[nth]);
    match token.kind {
        Kind::Literal => false,
        // A name behind a point, a filter or a test is no keyword.
        Kind::Name if before.is_some_and(|before| matches!(before.text, "." | "|" | "is")) => false,
        Kind::Name => match token.text {
            // `x is not in y` is a test.
            "in" if before.is_some_and(|before| before.text == "not") => {
                !(nth >= 2 && block.tokens[nth - 2].text == "is")
            }
            "and" | "or" | "not" | "if" | "else" | "in" | "recursive" => true,
            _ => block.is_statement && nth == 0,
        },
        Kind::Operator => match token.text {
            "~" => remainder,
            "," | ":" | "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" => true,
            // With nothing in front it is a sign, and belongs to the operand.
            "+" | "-" => before.is_some_and(|before| ends_operand(block, nth - 1, before)),
            _ => false,
        },
    }
}

/// Whether an operand can end with a token.
fn ends_operand(block: &Block<'_>, nth: usize, token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Literal => true,
        Kind::Operator => token.closes(),
        Kind::Name => !weaker(block, nth, true),
    }
}

#[cfg(test)]
mod tests {
    use super::prepared;

    #[test]
    fn line_ends_become_one_character() {
        assert_eq!(prepared("{{ 'a\\\nb\\\\\n' }}\\\n"), "{{ 'ab\\\\\n' }}\\\n");
        assert_eq!(prepared("a\r\nb\rc\n{{ 'd\r\ne' }}\r\n"), "a\nb\nc\n{{ 'd\ne' }}\n");
    }

    #[test]
    fn generation_marks_become_scopes_in_tags_alone() {
        assert_eq!(prepared("{%- generation -%}x{% endgeneration +%}"), "{%- with -%}x{% endwith +%}");
        for kept in
            ["{{ '{% generation %}' }}", "{# {% generation %} #}", "{% raw %}{% generation %}{% endraw %}"]
        {
            assert_eq!(prepared(kept), kept);
        }
    }

    #[test]
    fn operators_become_filters_of_their_operands() {
        let of =
            |source: &str| prepared(source).replace("python_remainder", "R").replace("python_concat", "C");
        for (source, wanted) in [
            ("{{ a % b }}", "{{ ((a )|R( b)) }}"),
            ("{{ a % b % c }}", "{{ ((((a )|R( b)) )|R( c)) }}"),
            ("{{ a + b.c[0] % -d|f == 1 }}", "{{ a + ((b.c[0] )|R( -d|f)) == 1 }}"),
            ("{{ -a % b }}", "{{ ((-a )|R( b)) }}"),
            ("{% if not a % 2 and b %}", "{% if not ((a )|R( 2)) and b %}"),
            ("{% if (a % 2 == 0) != b %}", "{% if (((a )|R( 2)) == 0) != b %}"),
            ("{{ 'x' ~ a + b ~ c * d }}", "{{ (('x' )|C( a)) + ((b )|C( c * d)) }}"),
            ("{{ a ~ b % c ~ d }}", "{{ ((((a )|C( ((b )|R( c)))) )|C( d)) }}"),
            ("{{ f(a ~ b, c=d ~ e) }}", "{{ f(((a )|C( b)), c=((d )|C( e))) }}"),
            ("{{ {'a': b ~ c}['a'] }}", "{{ {'a': ((b )|C( c))}['a'] }}"),
            ("{%- set x = a ~ b if c else d ~ e -%}", "{%- set x = ((a )|C( b)) if c else ((d )|C( e)) -%}"),
            ("{{ a.in ~ b is not in c }}", "{{ ((a.in )|C( b is not in c)) }}"),
            ("{{ +a + +b }}", "{{ a + b }}"),
            ("{{ a in b ~ c }}", "{{ a in ((b )|C( c)) }}"),
            ("{{ '%' ~ \"~\" }} 5 % 3 ~", "{{ (('%' )|C( \"~\")) }} 5 % 3 ~"),
        ] {
            assert_eq!(of(source), wanted, "{source}");
        }
    }

    #[test]
    fn what_does_not_end_is_left_alone() {
        for source in ["{{ a % b", "{% if a ~ 'b", "{# x", "{", "{%", "{% raw %} {{ a % b }}", "{{ 'ä\\' ~"]
        {
            assert_eq!(prepared(source), source);
        }
    }
}
