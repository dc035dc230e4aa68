//! Versions of files: the hash of a graph's content, and how requests speak of it.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::Metadata;
use std::io::{self, Read};
use std::time::{Duration, SystemTime};

/// A strong validator, quotes included. It names the content, not one coding of it: saving a view compares versions of
/// the file, whatever way it was read. Parts of a graph are never served, so no client can put two codings together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ETag(String);

impl ETag {
    /// Of content in memory.
    pub(crate) fn of(content: &[u8]) -> Self {
        Self::from_digest(&Sha256::digest(content))
    }

    /// Of all that a reader gives.
    pub(crate) fn of_reader(mut from: impl Read) -> io::Result<Self> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(Self::from_digest(&hash.finalize())),
                Ok(n) => hash.update(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Half of the digest: 128 bits are far beyond accident.
    fn from_digest(digest: &[u8]) -> Self {
        use fmt::Write;
        let mut text = String::from("\"");
        for byte in &digest[..16] {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text + "\"")
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }
}

/// Whether `If-None-Match` names this version: then the client has it already.
pub(crate) fn not_modified(headers: &HeaderMap, etag: &str) -> bool {
    listed(headers, &header::IF_NONE_MATCH, |one| one.strip_prefix("W/").unwrap_or(one) == etag)
        .unwrap_or(false)
}

/// Whether `If-Match` names this version; `None` without the header. Quotes may be left out, weak tags never match.
pub(crate) fn matches(headers: &HeaderMap, etag: &ETag) -> Option<bool> {
    listed(headers, &header::IF_MATCH, |one| one == etag.0 || one == etag.0.trim_matches('"'))
}

fn listed(headers: &HeaderMap, name: &HeaderName, is: impl Fn(&str) -> bool) -> Option<bool> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    Some(values.any(|value| {
        value.to_str().unwrap_or_default().split(',').map(str::trim).any(|one| one == "*" || is(one))
    }))
}

/// What tells one state of a file from the next without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
    /// Inode and time of change, which a rename over the file always alters.
    #[cfg(unix)]
    unix: (u64, i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            size: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            unix: (metadata.ino(), metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the file has not changed for a while. Clocks of file systems are coarse: two writes within a tick leave one
    /// stamp, so what was read right after a write must be read again.
    pub(crate) fn is_settled(&self) -> bool {
        let age = self.modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
        age.is_some_and(|age| age > Duration::from_secs(2))
    }

    /// A validator for files too large to be hashed, as static servers make one.
    pub(crate) fn etag(&self) -> String {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hash = DefaultHasher::new();
        self.modified.hash(&mut hash);
        #[cfg(unix)]
        self.unix.hash(&mut hash);
        format!("\"{:x}-{:016x}\"", self.size, hash.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_versions() {
        let etag = ETag::of(b"x");
        assert_eq!(ETag::of_reader(&b"x"[..]).unwrap(), etag);
        let quoted = etag.as_str();
        let bare = quoted.trim_matches('"');
        let with = |name: HeaderName, value: &str| {
            let mut headers = HeaderMap::new();
            headers.append(name.clone(), HeaderValue::from_static("\"other\""));
            headers.append(name, HeaderValue::from_str(value).unwrap());
            headers
        };
        for value in [quoted, "*", &format!("\"a\", {quoted}"), &format!("W/{quoted}")] {
            assert!(not_modified(&with(header::IF_NONE_MATCH, value), quoted), "{value}");
        }
        assert!(!not_modified(&with(header::IF_NONE_MATCH, "\"a\""), quoted));
        assert!(!not_modified(&HeaderMap::new(), quoted));
        for value in [quoted, bare, "*"] {
            assert_eq!(matches(&with(header::IF_MATCH, value), &etag), Some(true), "{value}");
        }
        for value in [&format!("W/{quoted}"), "", "\"a\""] {
            assert_eq!(matches(&with(header::IF_MATCH, value), &etag), Some(false), "{value}");
        }
        assert_eq!(matches(&HeaderMap::new(), &etag), None);
    }
}
