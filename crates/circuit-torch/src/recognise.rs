//! What a file is that is not what was expected, and where a JSON text is wrong: words for messages.
//!
//! People have pointers of Git LFS, pages of errors, cut-off downloads and other formats under the names of the files that are
//! looked for. The first bytes tell. Not here: reading any of these.

use serde_json::error::Category;

/// What a file is, by its first bytes (64 of them suffice), as the end of a sentence that begins with the file's name; and what
/// to do. `None` if it is none of the known ones.
#[must_use]
pub fn recognised(start: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(start);
    let text = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let begins = |with: &[u8]| start.starts_with(with);
    Some(match () {
        () if start.is_empty() => "it is empty: the download or copy did not finish",
        () if begins(b"version https://git-lfs") => {
            "it is a pointer of Git LFS, not the file itself: run `git lfs pull` in the repository"
        }
        () if text.starts_with("<!doctype html") || text.starts_with("<html") => {
            "it is a web page: the page of an error or a login was saved in place of the file; download it again"
        }
        () if text.starts_with("<?xml") || text.starts_with("<error") => {
            "it is an XML answer of a server, not the file itself; download it again"
        }
        () if begins(b"GGUF") => "it is a GGUF file; a safetensors checkpoint is needed",
        () if begins(b"\x89HDF\r\n\x1a\n") => {
            "it is an HDF5 file (TensorFlow, Keras); a safetensors file is needed"
        }
        () if is_pickle(start) => "it is a PyTorch pickle; a safetensors file is needed",
        () if begins(b"\x1f\x8b") => "it is compressed by gzip; unpack it first",
        () if begins(b"\x28\xb5\x2f\xfd") => "it is compressed by zstd; unpack it first",
        () if begins(b"\xff\xfe") || begins(b"\xfe\xff") => "it is text in UTF-16; save it as UTF-8",
        () if start.len() >= 16 && start.iter().all(|&byte| byte == 0) => {
            "it begins with zeros only: the download or copy did not finish"
        }
        () => return None,
    })
}

/// Protocols 2 to 5 of Python's pickles, and the first PyTorch format, which begins with a pickled number.
fn is_pickle(start: &[u8]) -> bool {
    matches!(start, [0x80, 2..=5, b'}' | b']' | b'(' | b'c' | b'X' | b'K' | b'J' | 0x8a | 0x8c | 0x95, ..])
}

/// Where and why a text is not JSON, or not of the expected form, as the end of a sentence.
#[must_use]
pub fn json_fault(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let place = match line {
        0 => String::new(),
        1 => format!("column {column}: "),
        _ => format!("line {line}, column {column}: "),
    };
    let message = error.to_string();
    let what = message.split(" at line ").next().unwrap_or_default();
    let what = match what {
        "trailing characters" => "something follows the end of the value",
        "recursion limit exceeded" => "values are nested more than 127 levels deep",
        other => other,
    };
    let what = match error.classify() {
        Category::Eof => format!("it ends in the middle ({what})"),
        Category::Data => {
            what.replacen("invalid type: ", "found ", 1).replacen("invalid value: ", "found ", 1)
        }
        Category::Syntax | Category::Io => what.to_owned(),
    };
    format!("{place}{what}")
}

/// What is wrong with the bytes of a JSON file: what the file is instead, or where its text is wrong.
#[must_use]
pub fn json_file_fault(bytes: &[u8], error: &serde_json::Error) -> String {
    match recognised(&bytes[..bytes.len().min(64)]) {
        Some(instead) => instead.into(),
        None if bytes.starts_with(b"\xef\xbb\xbf") => {
            "it begins with a byte order mark, which JSON does not allow; save it as UTF-8 without one".into()
        }
        None => format!("not valid JSON at {}", json_fault(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn files_are_recognised_by_their_first_bytes() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "git lfs pull"),
            (b"<!DOCTYPE html><html>", "web page"),
            (b"\n  <HTML lang=en>", "web page"),
            (b"<?xml version=\"1.0\"?><Error>", "XML"),
            (b"GGUF\x03\x00\x00\x00", "GGUF"),
            (b"\x89HDF\r\n\x1a\n\x00", "HDF5"),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch"),
            (b"\x1f\x8b\x08\x00", "gzip"),
            (b"\xff\xfe{\x00", "UTF-16"),
            (&[0; 32], "zeros"),
        ];
        for (bytes, part) in cases {
            assert!(recognised(bytes).is_some_and(|said| said.contains(part)), "{part}");
        }
        // Headers of safetensors files, archives and texts are left to their readers.
        for bytes in [&b"\x80\x02\x00\x00\x00\x00\x00\x00{\"a\""[..], b"PK\x03\x04", b"{\"a\": 1}", b"hello"]
        {
            assert_eq!(recognised(bytes), None);
        }
    }

    #[test]
    fn faults_of_json_say_where_and_what() {
        let fault = |text: &str| json_fault(&serde_json::from_str::<Value>(text).unwrap_err());
        assert_eq!(fault("{\n \"a\": 1\n \"b\": 2}"), "line 3, column 2: expected `,` or `}`");
        assert!(fault("{\"a\": [1").starts_with("column 8: it ends in the middle"));
        assert_eq!(fault("{} x"), "column 4: something follows the end of the value");
        assert!(fault(&"[".repeat(200)).contains("nested more than 127 levels"));
        let typed = serde_json::from_str::<Vec<u32>>("[1, \"x\"]").unwrap_err();
        assert_eq!(json_fault(&typed), "column 7: found string \"x\", expected u32");
    }

    #[test]
    fn a_file_in_place_of_json_is_named() {
        let fault =
            |bytes: &[u8]| json_file_fault(bytes, &serde_json::from_slice::<Value>(bytes).unwrap_err());
        assert!(fault(b"<html>").contains("web page"));
        assert!(fault(b"\xef\xbb\xbf{}").contains("byte order mark"));
        assert_eq!(fault(b"{]"), "not valid JSON at column 2: key must be a string");
    }
}
