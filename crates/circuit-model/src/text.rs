//! Text files as editors leave them: prompts, corpora, and JSON that a person wrote.
//!
//! All of them are UTF-8. A byte order mark at the start is not part of the text. UTF-16, bytes that are not UTF-8 and NUL
//! are refused, with the line. Other control characters stay and give a warning. Not here: what the text means, and the
//! files of models, which are data.

use circuit_index::Notice;
use std::fs;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xEF\xBB\xBF";
/// The byte order marks of encodings that are not read. The four-byte ones come first, since one begins like a two-byte one.
const OTHER_MARKS: [(&[u8], &str); 4] = [
    (b"\xFF\xFE\0\0", "UTF-32LE"),
    (b"\0\0\xFE\xFF", "UTF-32BE"),
    (b"\xFF\xFE", "UTF-16LE"),
    (b"\xFE\xFF", "UTF-16BE"),
];

/// A text, and what was noticed while it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text, without a byte order mark.
    pub text: String,
    /// What was left out, and which characters are probably not meant.
    pub notices: Vec<Notice>,
}

/// Why a file is not text that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Text in another encoding of Unicode.
    #[error("{}: line {line} is {encoding}{}, expected UTF-8", path.display(), if *mark { " (by its byte order mark)" } else { "" })]
    OtherEncoding {
        /// The file.
        path: PathBuf,
        /// The first line in that encoding, from 1.
        line: usize,
        /// The encoding, as `iconv` calls it.
        encoding: &'static str,
        /// Whether a byte order mark says so; otherwise it was recognised by its NUL bytes.
        mark: bool,
    },
    /// A byte that no UTF-8 text has at that place.
    #[error("{}: line {line} is not UTF-8: byte {column} is 0x{byte:02X}{}", path.display(), if *cut { ", and the file ends there" } else { "" })]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The place in the line in bytes, from 1.
        column: usize,
        /// The byte.
        byte: u8,
        /// Whether it begins a character within which the file ends.
        cut: bool,
    },
    /// A NUL byte, which no text has.
    #[error("{}: line {line} has a NUL byte, which no UTF-8 text has: is this a binary file, or UTF-16?", path.display())]
    Nul {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl TextError {
    /// What the user can do about it, if that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::OtherEncoding { encoding, .. } => {
                Some(format!("save it as UTF-8, for example with iconv -f {encoding} -t UTF-8"))
            }
            Self::NotUtf8 { .. } => {
                Some("save it as UTF-8; files of older programs are often Latin-1 or Windows-1252".into())
            }
            _ => None,
        }
    }
}

/// Reads a whole file as text.
///
/// # Errors
/// If the file cannot be read or is not UTF-8 text.
pub fn read(path: &Path) -> Result<Text, TextError> {
    let bytes = fs::read(path).map_err(|source| TextError::Read { path: path.into(), source })?;
    decode(path, &bytes)
}

/// Reads a file that holds a prompt. One line end at the end of the file is dropped: editors put it there. All other
/// characters stay.
///
/// # Errors
/// If the file cannot be read or is not UTF-8 text.
pub fn read_prompt(path: &Path) -> Result<Text, TextError> {
    let Text { mut text, mut notices } = read(path)?;
    let end = [("\r\n", "CR LF"), ("\n", "LF")].into_iter().find(|(end, _)| text.ends_with(end));
    if let Some((end, name)) = end {
        text.truncate(text.len() - end.len());
        let message = format!("{}: the line end ({name}) at the end of the file is left out", path.display());
        notices.push(Notice::note(message));
    }
    if text.contains("\r\n") {
        let message = format!(
            "{}: its lines end with CR LF, and the CR characters are part of the prompt",
            path.display()
        );
        notices.push(Notice::note(message));
    }
    Ok(Text { text, notices })
}

/// The text of a file that was read already; `path` is for messages only.
///
/// # Errors
/// If the bytes are not UTF-8 text.
pub fn decode(path: &Path, bytes: &[u8]) -> Result<Text, TextError> {
    let mut lines = Lines::new(path, bytes);
    let mut text = String::with_capacity(bytes.len());
    while lines.advance()? {
        text.push_str(lines.line());
    }
    Ok(Text { text, notices: lines.notices() })
}

/// The bytes of a JSON file without a byte order mark, which editors on Windows put in front.
#[must_use]
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// A warning about control characters in a text that was not read from a file; `place` says where it stands.
#[must_use]
pub fn unusual_characters(place: &str, text: &str) -> Option<Notice> {
    let mut unusual = Unusual::default();
    for (nth, line) in text.split('\n').enumerate() {
        unusual.look_at(nth + 1, line);
    }
    unusual.notice(place)
}

/// Characters that are probably not meant.
#[derive(Debug, Default)]
struct Unusual {
    /// The line and the character of the first one.
    first: Option<(usize, char)>,
    count: usize,
}

impl Unusual {
    fn look_at(&mut self, nth: usize, line: &str) {
        for c in line.chars() {
            let usual = matches!(c, '\t' | '\n' | '\r') || !(c.is_control() || c == '\u{FEFF}');
            if !usual {
                self.first.get_or_insert((nth, c));
                self.count += 1;
            }
        }
    }

    fn notice(&self, place: &str) -> Option<Notice> {
        let (line, c) = self.first?;
        let what = if c == '\u{FEFF}' { "a byte order mark" } else { "the control character" };
        let more = match self.count {
            1 => String::new(),
            n => format!(" and {} more such characters", n - 1),
        };
        Some(Notice::warning(format!(
            "{place}: line {line} has {what} U+{:04X}{more}, which become tokens like any other text",
            c as u32
        )))
    }
}

/// The lines of a file, one after the other: for files that memory may not hold.
#[derive(Debug)]
pub struct Lines<R> {
    path: PathBuf,
    input: R,
    nth: usize,
    line: String,
    unusual: Unusual,
}

impl<R: BufRead> Lines<R> {
    /// Lines from a reader at the start of a file; `path` is for messages only.
    pub fn new(path: &Path, input: R) -> Self {
        Self { path: path.into(), input, nth: 0, line: String::new(), unusual: Unusual::default() }
    }

    /// Goes on to the next line; false at the end of the file.
    ///
    /// # Errors
    /// If the file cannot be read or this line is not UTF-8 text.
    pub fn advance(&mut self) -> Result<bool, TextError> {
        let mut bytes = std::mem::take(&mut self.line).into_bytes();
        bytes.clear();
        let read = self.input.read_until(b'\n', &mut bytes);
        if read.map_err(|source| TextError::Read { path: self.path.clone(), source })? == 0 {
            return Ok(false);
        }
        self.nth += 1;
        if self.nth == 1 {
            self.check_marks(&bytes)?;
            bytes.drain(..bytes.len() - without_mark(&bytes).len());
        }
        if bytes.contains(&0) {
            return Err(self.nul(&bytes));
        }
        self.line =
            String::from_utf8(bytes).map_err(|error| self.not_utf8(&error.utf8_error(), error.as_bytes()))?;
        self.unusual.look_at(self.nth, &self.line);
        Ok(true)
    }

    /// The line that was read last, with its line end.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The number of the line that was read last, from 1.
    #[must_use]
    pub fn number(&self) -> usize {
        self.nth
    }

    /// What was noticed in the lines that were read so far.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        self.unusual.notice(&self.path.display().to_string()).into_iter().collect()
    }

    fn check_marks(&self, bytes: &[u8]) -> Result<(), TextError> {
        match OTHER_MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)) {
            Some(&(_, encoding)) => {
                Err(TextError::OtherEncoding { path: self.path.clone(), line: 1, encoding, mark: true })
            }
            None => Ok(()),
        }
    }

    /// What a line with NUL bytes is: in UTF-16 every other byte of Western text is one.
    fn nul(&self, bytes: &[u8]) -> TextError {
        let (path, line) = (self.path.clone(), self.nth);
        let nuls = |parity: usize| bytes.iter().skip(parity).step_by(2).filter(|&&byte| byte == 0).count();
        let (even, odd) = (nuls(0), nuls(1));
        let clear = |many: usize, few: usize| many * 3 >= bytes.len() && few * 8 <= many;
        // Lines are cut behind the byte 0x0A. In UTF-16LE the other byte of the line end follows it, so that later lines
        // begin with a NUL.
        let encoding = match (clear(even, odd), clear(odd, even)) {
            (true, _) if line == 1 => Some("UTF-16BE"),
            (true, _) | (_, true) => Some("UTF-16LE"),
            _ => None,
        };
        match encoding {
            Some(encoding) => TextError::OtherEncoding { path, line, encoding, mark: false },
            None => TextError::Nul { path, line },
        }
    }

    fn not_utf8(&self, error: &std::str::Utf8Error, bytes: &[u8]) -> TextError {
        let start = error.valid_up_to();
        TextError::NotUtf8 {
            path: self.path.clone(),
            line: self.nth,
            column: start + 1,
            byte: bytes[start],
            cut: error.error_len().is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> &'static Path {
        Path::new("dir/prompt.txt")
    }

    fn decoded(bytes: &[u8]) -> Text {
        decode(path(), bytes).unwrap()
    }

    fn message(bytes: &[u8], parts: &[&str]) {
        let message = decode(path(), bytes).unwrap_err().to_string();
        assert!(message.starts_with("dir/prompt.txt: line "), "{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }

    fn utf16(text: &str, little: bool) -> Vec<u8> {
        let units = text.encode_utf16();
        units.flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        for text in ["", "a", "a\n", "a\r\nb\r\n", "\ta\rb", "grün\n\n", "日本\u{2028}語"] {
            assert_eq!(decoded(text.as_bytes()), Text { text: text.into(), notices: vec![] }, "{text:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_not_text() {
        assert_eq!(decoded(b"\xEF\xBB\xBFa"), Text { text: "a".into(), notices: vec![] });
        assert_eq!(decoded(b"\xEF\xBB\xBF").text, "");
        assert_eq!(without_mark(b"\xEF\xBB\xBF{}"), b"{}");
        assert_eq!(without_mark(b"{}"), b"{}");
        // A second one, or one of a file that was appended, is probably not meant.
        let found = decoded("\u{FEFF}\u{FEFF}a\n\u{FEFF}b".as_bytes());
        assert_eq!(found.text, "\u{FEFF}a\n\u{FEFF}b");
        let notice = found.notices[0].to_string();
        assert!(
            notice.starts_with("warning: dir/prompt.txt: line 1 has a byte order mark U+FEFF and 1 more"),
            "{notice}"
        );
    }

    #[test]
    fn other_encodings_are_recognised_and_refused() {
        for (little, name) in [(true, "UTF-16LE"), (false, "UTF-16BE")] {
            for text in ["a", "The ship left\nthe harbour\r\n", "grün und blau"] {
                message(&utf16(text, little), &["line 1", name, "expected UTF-8"]);
                message(&utf16(&format!("\u{FEFF}{text}"), little), &["line 1", name, "byte order mark"]);
            }
        }
        message(&utf16("\n\nafter empty lines", true), &["line 2", "UTF-16LE"]);
        message(&[b"first\n".as_slice(), &utf16("appended", true)].concat(), &["line 2", "UTF-16LE"]);
        message(b"\xFF\xFE\0\0a\0\0\0", &["UTF-32LE", "byte order mark"]);
        message(b"\0\0\xFE\xFF\0\0\0a", &["UTF-32BE"]);
        assert!(decode(path(), &utf16("a", true)).unwrap_err().remedy().unwrap().contains("UTF-16LE"));
    }

    #[test]
    fn what_is_not_utf8_is_refused_with_its_place() {
        message(b"one\ncaf\xE9 two", &["line 2", "byte 4 is 0xE9"]);
        message(b"one\n\xF0\x9F\x98", &["line 2", "byte 1 is 0xF0, and the file ends there"]);
        message(b"\xC0\x80", &["line 1", "0xC0"]);
        message(b"\xED\xA0\x80", &["line 1", "0xED"]);
        assert!(decode(path(), b"\xE9").unwrap_err().remedy().is_some());
    }

    #[test]
    fn nul_is_refused() {
        message(b"one\ntwo\0", &["line 2", "NUL"]);
        message(b"\x7FELF\0\0\0\0 and some more words of text", &["line 1", "NUL"]);
    }

    #[test]
    fn control_characters_are_a_warning() {
        let found = decoded(b"one\ntwo\x07\x1B[0m\n");
        assert_eq!(found.text, "one\ntwo\u{7}\u{1B}[0m\n");
        let notice = found.notices[0].to_string();
        assert!(
            notice.starts_with("warning: dir/prompt.txt: line 2 has the control character U+0007 and 1 more"),
            "{notice}"
        );
        for character in ["\u{C}", "\u{7F}", "\u{85}", "\u{B}"] {
            assert_eq!(decoded(character.as_bytes()).notices.len(), 1, "{character:?}");
            assert!(
                unusual_characters("--prompt", &format!("a\n{character}"))
                    .unwrap()
                    .message
                    .contains("line 2")
            );
        }
        assert_eq!(unusual_characters("--prompt", "a\tb\r\nc"), None);
    }

    #[test]
    fn one_line_end_of_a_prompt_file_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.txt");
        let of = |bytes: &[u8]| {
            fs::write(&file, bytes).unwrap();
            let Text { text, notices } = read_prompt(&file).unwrap();
            (
                text,
                notices.iter().map(|n| n.message.rsplit(": ").next().unwrap().to_owned()).collect::<Vec<_>>(),
            )
        };
        let left_out = |name| vec![format!("the line end ({name}) at the end of the file is left out")];
        assert_eq!(of(b"a b"), ("a b".into(), vec![]));
        assert_eq!(of(b"a b\n"), ("a b".into(), left_out("LF")));
        assert_eq!(of(b"a b\r\n"), ("a b".into(), left_out("CR LF")));
        assert_eq!(of(b"a b\n\n"), ("a b\n".into(), left_out("LF")));
        assert_eq!(of(b"a b \t"), ("a b \t".into(), vec![]));
        assert_eq!(of(b"a\r"), ("a\r".into(), vec![]));
        assert_eq!(of(b"\n"), (String::new(), left_out("LF")));
        assert_eq!(of(b""), (String::new(), vec![]));
        let (text, notices) = of(b"\xEF\xBB\xBFa\r\nb\r\n");
        assert_eq!(text, "a\r\nb");
        assert!(notices[1].contains("CR characters are part of the prompt"), "{notices:?}");
        assert!(read_prompt(&dir.path().join("gone")).unwrap_err().to_string().contains("gone"));
    }

    #[test]
    fn lines_come_one_by_one_with_their_numbers() {
        let mut lines = Lines::new(path(), b"\xEF\xBB\xBFone\r\n\ntwo".as_slice());
        let mut found = vec![];
        while lines.advance().unwrap() {
            found.push((lines.number(), lines.line().to_owned()));
        }
        assert_eq!(found, [(1, "one\r\n".into()), (2, "\n".into()), (3, "two".into())]);
        assert!(!lines.advance().unwrap());
    }
}
