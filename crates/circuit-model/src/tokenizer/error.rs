//! What can go wrong between text and tokens. The sentences name the file, the key or the token.

use super::special::SPECIAL_MAP;
use super::{CONFIG_FILE, TOKENIZER_FILE};
use circuit_index::TokenId;
use std::path::PathBuf;
use std::{fmt, io};

/// Why text could not become tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file of the model folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is there but is not what its name says.
    #[error("{} is damaged or of an unknown kind: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What its reader says.
        reason: String,
    },
    /// `added_tokens` gives a token an id that it cannot have beside the vocabulary.
    #[error("{}: added token {token:?} should have id {declared}, but the vocabulary gives it {found}", path.display())]
    AddedTokenId {
        /// The file.
        path: PathBuf,
        /// The token.
        token: String,
        /// The id in `added_tokens`.
        declared: u32,
        /// The id it would get.
        found: u32,
    },
    /// A setting under which transformers would make other tokens than this crate.
    #[error("{}: `{key}` is {found}, expected {expected}: transformers would make other tokens", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// The value that is understood.
        expected: String,
    },
    /// A text must begin with a special token and no file of the model folder names one.
    #[error(
        "no special token is known to put in front of the prompt: {CONFIG_FILE}, {SPECIAL_MAP} and config.json in {} \
         name none that {TOKENIZER_FILE} has",
        dir.display()
    )]
    NoSpecialToken {
        /// The model folder.
        dir: PathBuf,
    },
    /// A token was chosen to stand in front of prompts, and the tokenizer does not have it.
    #[error("{text:?} cannot be put in front of prompts: it is not a token of {TOKENIZER_FILE} in {}", dir.display())]
    UnknownFirstToken {
        /// The model folder.
        dir: PathBuf,
        /// What should be a token.
        text: String,
    },
    /// A key that should hold the ids of end tokens holds something else.
    #[error("{}: `eos_token_id` is {found}, expected a token id or a list of token ids", path.display())]
    EndTokens {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// No tokens: nothing to attribute.
    #[error("the prompt is empty: it has no tokens")]
    EmptyPrompt,
    /// Text that should be one token is none or several.
    #[error("{text:?} is not one token but {}{}", Listed(found), Hint(hint.as_deref()))]
    NotOneToken {
        /// The text.
        text: String,
        /// The tokens it has.
        found: Vec<(TokenId, String)>,
        /// Similar text that is one token.
        hint: Option<String>,
    },
    /// Text that the vocabulary cannot express.
    #[error("{text:?} is not in the vocabulary: it would become {unknown:?}")]
    NotInVocabulary {
        /// The text.
        text: String,
        /// The token that stands for unknown text.
        unknown: String,
    },
    /// The tokenizer gave up on this input.
    #[error("{TOKENIZER_FILE} in {} cannot {action}: {reason}", dir.display())]
    Failed {
        /// The model folder.
        dir: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the `tokenizers` crate says.
        reason: String,
    },
}

/// Tokens for a message: how many, then each with its id.
struct Listed<'a>(&'a [(TokenId, String)]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A message is no place for a whole text.
        const SHOWN: usize = 12;
        write!(f, "{}", self.0.len())?;
        for (n, (id, text)) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{} {text:?} ({id})", if n == 0 { ":" } else { "," })?;
        }
        if self.0.len() > SHOWN { f.write_str(", ...") } else { Ok(()) }
    }
}

/// The end of a message that may propose something.
struct Hint<'a>(Option<&'a str>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |text| write!(f, "; try {text:?}"))
    }
}
