//! Slugs: names of graphs that are safe as file names and in addresses. The name rules of files and of Neuronpedia's
//! model ids are the same. Not here: choosing a slug for a prompt.

use crate::FormatError;
use std::fmt;

/// The listing lies beside the graphs; a graph of this name would replace it.
const LISTING: &str = "graph-metadata";

/// File systems take 255 bytes, of which endings and temporary names need a part.
const LONGEST: usize = 128;

/// A graph's name: up to 128 letters, digits, `_`, `.` and `-`, not beginning with a dot. Its file is `<slug>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slug(String);

impl Slug {
    /// A slug as given.
    ///
    /// # Errors
    /// If it is empty or too long, begins with a dot, holds other characters, or is the name of the listing.
    pub fn new(slug: &str) -> Result<Self, FormatError> {
        let reason = if slug.is_empty() {
            "it is empty"
        } else if slug.len() > LONGEST {
            "it is longer than 128 letters"
        } else if slug.starts_with('.') {
            "it begins with a dot"
        } else if !slug.chars().all(allowed) {
            "only the letters a-z and A-Z, digits, `_`, `.` and `-` are allowed"
        } else if slug.eq_ignore_ascii_case(LISTING) {
            "this is the name of the list of graphs"
        } else {
            return Ok(Self(slug.into()));
        };
        Err(FormatError::Slug { slug: slug.into(), reason })
    }

    /// The slug nearest to a text: what is not allowed becomes `-`.
    #[must_use]
    pub fn rewritten(text: &str) -> Self {
        let mut slug = rewrite(text);
        slug.truncate(LONGEST);
        Self::new(&slug).unwrap_or_else(|_| Self("graph".into()))
    }

    /// The slug as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// Runs of characters that are not allowed become one `-`; dots and dashes at the ends that this leaves are dropped.
pub(crate) fn rewrite(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if allowed(c) {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_start_matches(['.', '-']).trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_names_pass() {
        for good in ["a", "gemma-2-2b", "A_b.c-9", "x..y"] {
            assert_eq!(Slug::new(good).unwrap().as_str(), good);
        }
        for bad in
            ["", ".", "..", ".hidden", "a/b", "a b", "ü", "a\0", "..\\x", "graph-metadata", "Graph-Metadata"]
        {
            let error = Slug::new(bad).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
        assert!(Slug::new(&"x".repeat(128)).is_ok() && Slug::new(&"x".repeat(129)).is_err());
        assert_eq!(Slug::rewritten(&"x".repeat(300)).as_str().len(), 128);
    }

    #[test]
    fn any_text_becomes_a_slug() {
        for (text, slug) in [
            ("acme/toy-transcoders@v2", "acme-toy-transcoders-v2"),
            (" The sky is ", "The-sky-is"),
            ("../../etc", "etc"),
            ("日本", "graph"),
            ("", "graph"),
            ("graph-metadata", "graph"),
        ] {
            assert_eq!(Slug::rewritten(text).as_str(), slug, "{text}");
        }
    }
}
