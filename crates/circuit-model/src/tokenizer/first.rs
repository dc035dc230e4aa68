//! Which token is put in front of a prompt. Attribution ignores position 0, so that something must stand there.
//!
//! Tools differ where a model has no token that begins a text: see [`FirstToken`]. Not here: which tokens are special
//! (`special.rs`).

use super::special::{SpecialRole, SpecialToken};
use circuit_index::{Notice, TokenId};
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// What is put in front of a prompt that does not begin with a special token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FirstToken {
    /// The first special token by its role: bos, else eos, else pad, else another. This is what the Python library does with
    /// its TransformerLens back end. Its nnsight back end and Neuronpedia take pad before eos.
    #[default]
    Special,
    /// Nothing: position 0 is the first token of the prompt, and attribution ignores it.
    Nothing,
    /// The token of this id.
    Id(TokenId),
    /// The token that is written like this.
    Text(String),
}

impl fmt::Display for FirstToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Special => f.write_str("the first special token"),
            Self::Nothing => f.write_str("none"),
            Self::Id(id) => write!(f, "{id}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl FromStr for FirstToken {
    type Err = Infallible;

    /// `none`, an id in digits, or a token's text.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        Ok(match text {
            "none" => Self::Nothing,
            _ if digits => text.parse().map_or_else(|_| Self::Text(text.into()), |id| Self::Id(TokenId(id))),
            _ => Self::Text(text.into()),
        })
    }
}

/// What stands in front, with the choice made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// This token.
    Token(TokenId),
    /// Nothing, since that was asked for.
    Nothing,
    /// Nothing, since no special token is known.
    Unknown,
}

/// The special token that stands in front unless another one is chosen.
pub(super) fn usual(known: &[SpecialToken]) -> Front {
    known.iter().min_by_key(|token| token.role).map_or(Front::Unknown, |token| Front::Token(token.id))
}

/// A note where other tools put another token in front than the usual one.
pub(super) fn difference(known: &[SpecialToken]) -> Option<Notice> {
    let of = |role| known.iter().find(|token| token.role == role);
    if of(SpecialRole::Bos).is_some() {
        return None;
    }
    let (eos, pad) = (of(SpecialRole::Eos)?, of(SpecialRole::Pad)?);
    (eos.id != pad.id).then(|| {
        Notice::note(format!(
            "{:?} (eos_token) is put in front of the prompt, as the Python library does with its TransformerLens back end; its \
             nnsight back end and Neuronpedia put {:?} (pad_token) there",
            eos.text, pad.text
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(role: SpecialRole, id: u32) -> SpecialToken {
        SpecialToken { role, text: format!("<{id}>"), id: TokenId(id) }
    }

    #[test]
    fn a_choice_is_none_an_id_or_a_text() {
        let parsed = |text: &str| text.parse::<FirstToken>().unwrap();
        assert_eq!(parsed("none"), FirstToken::Nothing);
        assert_eq!(parsed("0"), FirstToken::Id(TokenId(0)));
        assert_eq!(parsed("<bos>"), FirstToken::Text("<bos>".into()));
        assert_eq!(parsed("-1"), FirstToken::Text("-1".into()));
        assert_eq!(parsed("99999999999"), FirstToken::Text("99999999999".into()));
    }

    #[test]
    fn tools_differ_where_eos_and_pad_are_two_tokens_and_there_is_no_bos() {
        use SpecialRole::{Bos, Eos, Pad, Unk};
        let note = difference(&[token(Eos, 1), token(Pad, 2)]).unwrap().to_string();
        assert!(note.contains("\"<1>\" (eos_token)") && note.contains("\"<2>\" (pad_token)"), "{note}");
        assert_eq!(difference(&[token(Bos, 0), token(Eos, 1), token(Pad, 2)]), None);
        assert_eq!(difference(&[token(Eos, 1), token(Pad, 1)]), None);
        assert_eq!(difference(&[token(Eos, 1), token(Unk, 2)]), None);
        assert_eq!(usual(&[token(Unk, 2), token(Eos, 1)]), Front::Token(TokenId(1)));
        assert_eq!(usual(&[]), Front::Unknown);
    }
}
