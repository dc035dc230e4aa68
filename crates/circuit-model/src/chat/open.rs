//! A chat whose last turn is left open, so that the model continues it: `continue_final_message` in transformers.
//!
//! Only the template knows what stands behind a turn. So a mark is put behind the last turn's text, and the rendered text ends
//! where the mark is found.

use super::methods::space;
use super::turns::{CONTENT, ROLE, Turn};
use super::{ChatError, ChatValue, Turns};

/// Stands behind the last turn's text while the template runs. The space at its end shows whether the template trims.
const MARK: &str = "THE_LAST_TURN_GOES_ON_HERE ";

/// The key of a part of a turn that holds its text.
const TEXT: &str = "text";

/// Who answers, by the names that are in use.
const MODEL: [&str; 2] = ["assistant", "model"];

/// The text of a chat up to the end of its last turn's text. `render` gives the text of turns, with what stands in front of an
/// answer or without it.
pub(super) fn render(
    turns: &Turns,
    render: impl Fn(&Turns, bool) -> Result<String, ChatError>,
) -> Result<String, ChatError> {
    let Some((last, before)) = turns.0.split_last() else {
        return Err(ChatError::turns("there is no turn to go on with".into()));
    };
    let find = |key: &str| last.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value);
    match find(ROLE) {
        Some(ChatValue::Text(role)) if MODEL.contains(&role.as_str()) => {}
        Some(ChatValue::Text(role)) => {
            let reason = format!("the last turn is of `{role}`, expected `{}` to go on with", MODEL[0]);
            return Err(ChatError::turns(reason));
        }
        _ => return Err(ChatError::turns(format!("the last turn has no `{ROLE}`"))),
    }
    let Some((said, marked)) = find(CONTENT).and_then(marked) else {
        return Err(ChatError::turns("the last turn has no text to go on with".into()));
    };
    if said.is_empty() && last.len() == 2 {
        return render(&Turns(before.to_vec()), true);
    }
    let marked_turn: Turn = last
        .iter()
        .map(|(name, value)| (name.clone(), if name == CONTENT { marked.clone() } else { value.clone() }))
        .collect();
    let whole = render(&Turns(before.iter().cloned().chain([marked_turn]).collect()), false)?;
    cut(&whole, &said).map(str::to_owned).ok_or_else(|| {
        let reason = "the template changes the text of the last turn or prints it more than once, so that it cannot go on";
        ChatError::turns(reason.into())
    })
}

/// The text that goes on, and the content with the mark behind that text: the content itself, or the last part with a text.
fn marked(content: &ChatValue) -> Option<(String, ChatValue)> {
    match content {
        ChatValue::Text(said) => Some((said.clone(), ChatValue::Text(format!("{said}{MARK}")))),
        ChatValue::List(parts) => {
            let mut parts = parts.clone();
            let text = parts.iter_mut().rev().find_map(|part| match part {
                ChatValue::Dictionary(entries) => entries.iter_mut().rev().find(|(name, _)| name == TEXT),
                _ => None,
            });
            let Some((_, ChatValue::Text(text))) = text else { return None };
            let said = text.clone();
            text.push_str(MARK);
            Some((said, ChatValue::List(parts)))
        }
        _ => None,
    }
}

/// The text in front of the mark. Where the template trimmed the mark's space it would have trimmed the text's, too.
fn cut<'a>(whole: &'a str, said: &str) -> Option<&'a str> {
    let at = whole.rfind(MARK.trim_end())?;
    let before = &whole[..at];
    if before.contains(MARK.trim_end()) || !whole.contains(said.trim_matches(space)) {
        return None;
    }
    Some(if whole[at..].starts_with(MARK) { before } else { before.trim_end_matches(space) })
}
