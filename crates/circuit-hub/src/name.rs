//! What people write for something on the hub: `owner/repo[/sub/folder][@revision]`, `hf://owner/repo/file?revision=…`.
//!
//! A name that is parsed is safe to make paths and addresses of: no part is empty, `.` or `..`, or holds anything that could
//! lead elsewhere. Not here: whether a local folder of that name is meant.

use std::fmt;
use std::str::FromStr;

/// A text that is no name on the hub.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no name on the hub: {reason}")]
pub struct NameError {
    text: String,
    reason: &'static str,
}

/// The branch that is meant where none is named.
const MAIN: &str = "main";

/// A repository: `owner/repo`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoId(String);

impl RepoId {
    /// `owner/repo`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepoId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split('/').collect::<Vec<_>>().as_slice() {
            [owner, repo] if plain(owner) && plain(repo) => Ok(Self(text.into())),
            _ => Err(error(text, "expected owner/repo, of letters, digits, `-`, `_` and `.`")),
        }
    }
}

/// A branch, a tag, or a commit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(String);

impl Revision {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a commit, which never changes.
    #[must_use]
    pub fn is_commit(&self) -> bool {
        is_commit(&self.0)
    }
}

impl Default for Revision {
    fn default() -> Self {
        Self(MAIN.into())
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Revision {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match is_path(text) && !text.contains(['?', '#', '@', ' ', '%']) {
            true => Ok(Self(text.into())),
            false => Err(error(text, "that revision cannot exist")),
        }
    }
}

/// A repository or a folder in it: `owner/repo[/sub/folder][@revision]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HubName {
    /// The repository.
    pub repo: RepoId,
    /// The folder in it, empty for its root.
    pub folder: String,
    /// The revision, where one is named.
    pub revision: Option<Revision>,
}

impl HubName {
    /// The revision, `main` where none is named.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision.clone().unwrap_or_default()
    }

    /// A file of the folder, as the repository calls it.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        if self.folder.is_empty() { name.into() } else { format!("{}/{name}", self.folder) }
    }

    /// The name of a file of the repository within the folder, `None` if it is not in it.
    #[must_use]
    pub fn within<'a>(&self, file: &'a str) -> Option<&'a str> {
        if self.folder.is_empty() {
            return Some(file);
        }
        file.strip_prefix(self.folder.as_str())?.strip_prefix('/')
    }

    /// As graphs name the place of feature pages: `owner/repo[//sub/folder][@revision]`.
    #[must_use]
    pub fn scan(&self) -> String {
        let folder = if self.folder.is_empty() { String::new() } else { format!("//{}", self.folder) };
        let revision = self.revision.as_ref().map_or_else(String::new, |r| format!("@{r}"));
        format!("{}{folder}{revision}", self.repo)
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.repo.as_str())?;
        if !self.folder.is_empty() {
            write!(f, "/{}", self.folder)?;
        }
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

impl FromStr for HubName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let form = "expected owner/repo[/sub/folder][@revision]";
        let (path, revision) = split_revision(text)?;
        let mut parts = path.splitn(3, '/');
        let (owner, repo) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        // Graphs write two slashes before the folder.
        let folder = parts.next().unwrap_or_default().trim_matches('/');
        if !folder.is_empty() && !is_path(folder) {
            return Err(error(text, form));
        }
        let repo = format!("{owner}/{repo}").parse().map_err(|_| error(text, form))?;
        Ok(Self { repo, folder: folder.into(), revision })
    }
}

/// A file: `hf://owner/repo/path/to/file[?revision=…]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HubFile {
    /// The repository.
    pub repo: RepoId,
    /// The file, as the repository calls it.
    pub path: String,
    /// The revision, where one is named.
    pub revision: Option<Revision>,
}

impl FromStr for HubFile {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let form = "expected hf://owner/repo/file[?revision=…]";
        if !text.starts_with("hf://") {
            return Err(error(text, form));
        }
        let HubName { repo, folder: path, revision } = text.parse().map_err(|_| error(text, form))?;
        match path.is_empty() {
            false => Ok(Self { repo, path, revision }),
            true => Err(error(text, "it names no file")),
        }
    }
}

/// A name without the scheme, and the revision in either of its forms.
fn split_revision(text: &str) -> Result<(&str, Option<Revision>), NameError> {
    let bare = text.strip_prefix("hf://").unwrap_or(text);
    let (path, revision) = match bare.split_once('?') {
        Some((path, query)) => match query.strip_prefix("revision=") {
            Some(revision) => (path, Some(revision)),
            None => return Err(error(text, "after `?` only revision=… is known")),
        },
        None => match bare.split_once('@') {
            Some((path, revision)) => (path, Some(revision)),
            None => (bare, None),
        },
    };
    let revision = revision.map(|r| r.parse().map_err(|_| error(text, "that revision cannot exist")));
    Ok((path.trim_end_matches('/'), revision.transpose()?))
}

fn error(text: &str, reason: &'static str) -> NameError {
    NameError { text: text.into(), reason }
}

/// Whether a part of a name is one that the hub gives: two dashes stand for the slash in the cache's folders.
fn plain(part: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !part.is_empty()
        && part.chars().all(known)
        && !part.contains("--")
        && !part.contains("..")
        && !part.starts_with('.')
}

/// Whether a text is a path that leads nowhere but down, whatever the file system takes for a separator.
pub(crate) fn is_path(text: &str) -> bool {
    let fine = |part: &str| !part.is_empty() && part != "." && part != "..";
    text.split('/').all(fine) && !text.contains(['\\', ':']) && !text.chars().any(char::is_control)
}

/// Whether a text is what git calls a commit.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

pub(crate) fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<(String, String, Option<String>)> {
        let name: HubName = text.parse().ok()?;
        Some((name.repo.to_string(), name.folder, name.revision.map(|r| r.to_string())))
    }

    #[test]
    fn names_of_folders() {
        let some = |repo: &str, folder: &str, revision: Option<&str>| {
            Some((repo.to_owned(), folder.to_owned(), revision.map(str::to_owned)))
        };
        assert_eq!(name("google/gemma-2-2b"), some("google/gemma-2-2b", "", None));
        assert_eq!(name("a/b/sub/folder@v1.0"), some("a/b", "sub/folder", Some("v1.0")));
        assert_eq!(name("a/b//sub@refs/pr/3"), some("a/b", "sub", Some("refs/pr/3")));
        assert_eq!(name("hf://a/b?revision=x"), some("a/b", "", Some("x")));
        assert_eq!(name("a/b/"), some("a/b", "", None));
        for bad in [
            "",
            "a",
            "/a/b",
            "./a/b",
            "../a",
            "a/..",
            "a/b/../c",
            "a/b/./c",
            "a/b@",
            "a/b@../x",
            "a/b@x y",
            "a b/c",
            "a/b/c\\d",
            "a--b/c",
            "a/b?rev=1",
            "a/b/c\0",
            ".a/b",
            "a/b@x%2e",
            "a/b/C:x",
        ] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_of_files_and_scans() {
        let file: HubFile = "hf://google/scope/layer_0/params.npz?revision=v2".parse().unwrap();
        assert_eq!((file.repo.as_str(), file.path.as_str()), ("google/scope", "layer_0/params.npz"));
        assert_eq!(file.revision.unwrap().as_str(), "v2");
        assert!(
            "hf://google/scope".parse::<HubFile>().is_err() && "google/scope/x".parse::<HubFile>().is_err()
        );
        for text in ["a/b", "a/b@v1", "a/b//c/d@v1", "a/b//c"] {
            let name: HubName = text.parse().unwrap();
            assert_eq!(name.scan(), text);
            assert_eq!(name.to_string().parse::<HubName>().unwrap(), name);
        }
        let name: HubName = "a/b/c".parse().unwrap();
        assert_eq!(
            (name.file("x"), name.within("c/x"), name.within("cc/x")),
            ("c/x".into(), Some("x"), None)
        );
    }
}
