//! Messages that are not errors: what a library found while opening something, for its caller to show.
//!
//! Libraries never print. A type that reads a file keeps the notices about it, and hands them out by a method
//! `notices()`. The binary prints each once. Not here: errors, which end the work, and progress.

use std::fmt;

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Good to know: one of several possible readings was chosen.
    Note,
    /// The result may not be what the user wants.
    Warning,
}

/// One message for the user. [`fmt::Display`] gives one line, `note: …` or `warning: …`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// How much it matters.
    pub level: Level,
    /// The sentence, without the level in front and without a full stop. It names the file, key or token it is about.
    pub message: String,
}

impl Notice {
    /// A notice of level [`Level::Note`].
    #[must_use]
    pub fn note(message: impl Into<String>) -> Self {
        Self { level: Level::Note, message: message.into() }
    }

    /// A notice of level [`Level::Warning`].
    #[must_use]
    pub fn warning(message: impl Into<String>) -> Self {
        Self { level: Level::Warning, message: message.into() }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Note => "note",
            Level::Warning => "warning",
        };
        write!(f, "{level}: {}", self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_one_line_with_its_level() {
        assert_eq!(Notice::note("a").to_string(), "note: a");
        assert_eq!(Notice::warning("b").to_string(), "warning: b");
    }
}
