//! One state of a repository: its commit, and its files with their sizes and hashes.
//!
//! The hub tells them in one answer; offline they are what the cache holds. Nothing that the answer says becomes a path
//! before it is checked.

use crate::name::{is_commit, is_hex, is_path};
use crate::net::About;
use crate::{Hub, HubError, RepoId, Revision};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest answer about a repository: a hundred thousand files and more.
const LARGEST_LISTING: u64 = 64 << 20;

/// What a file is known by: its name in `blobs/`, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256 of a large file.
    Sha256(String),
    /// Git's own hash of a small file.
    Git(String),
}

impl Hash {
    /// In hexadecimal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::Git(hex) => hex,
        }
    }
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Bytes.
    pub size: u64,
    /// `None` for a file of the cache that was not looked up on the hub.
    pub hash: Option<Hash>,
}

/// One state of a repository.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The repository.
    pub repo: RepoId,
    /// The revision that was asked for.
    pub revision: Revision,
    /// The commit that this revision is.
    pub commit: String,
    /// Files by name; offline, those that are in the cache.
    pub files: BTreeMap<String, FileInfo>,
    /// Why the hub was not asked, where it should have been: the cache answered in its place.
    pub unreachable: Option<String>,
    /// Whether this is what the cache holds.
    pub from_cache: bool,
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Snapshot {
    /// Where its files are once they are fetched.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file that must be there.
    ///
    /// # Errors
    /// If it is not.
    pub fn file(&self, path: &str) -> Result<&FileInfo, HubError> {
        self.files.get(path).ok_or_else(|| self.no_file(path))
    }

    pub(crate) fn no_file(&self, path: &str) -> HubError {
        let (repo, path) = (self.repo.to_string(), path.to_owned());
        if self.from_cache {
            let cache = self.folder.ancestors().nth(3).unwrap_or(&self.folder).into();
            return HubError::Offline { what: format!("{path} of {repo}@{}", self.revision), cache };
        }
        HubError::NoFile { repo, revision: self.revision.to_string(), path }
    }
}

impl Hub {
    /// The state of a repository at a revision: as the hub tells it; offline, or where the hub cannot be reached, as the
    /// cache has it.
    ///
    /// # Errors
    /// If the hub refuses, its answer makes no sense, or it is not asked and the cache has no such revision.
    pub fn snapshot(&self, repo: &RepoId, revision: &Revision) -> Result<Snapshot, HubError> {
        if self.config.offline {
            return self.cached_snapshot(repo, revision);
        }
        match self.ask(repo, revision) {
            Err(unreachable @ HubError::Unreachable { .. }) => match self.cached_snapshot(repo, revision) {
                Ok(cached) => Ok(Snapshot { unreachable: Some(unreachable.to_string()), ..cached }),
                Err(_) => Err(unreachable),
            },
            asked => asked,
        }
    }

    fn ask(&self, repo: &RepoId, revision: &Revision) -> Result<Snapshot, HubError> {
        let about = About { repo, revision: revision.as_str(), path: "" };
        let named = crate::cache::hub_repo(repo, revision);
        let url = format!("{}/api/{}?blobs=true", self.config.endpoint, named.api_url());
        let bad = |reason: String| HubError::Answer { url: url.clone(), reason };
        let mut text = Vec::new();
        let answer = self.get(&url, None, about)?.into_reader();
        answer.take(LARGEST_LISTING + 1).read_to_end(&mut text).map_err(|e| bad(e.to_string()))?;
        if text.len() as u64 > LARGEST_LISTING {
            return Err(bad(format!("it is longer than {LARGEST_LISTING} bytes")));
        }
        let listing: Listing = serde_json::from_slice(&text).map_err(|e| {
            bad(format!("expected the JSON list of a repository's files, with `sha` and `siblings`: {e}"))
        })?;
        if !is_commit(&listing.sha) {
            return Err(bad(format!("`{}` is no commit", listing.sha)));
        }
        let mut files = BTreeMap::new();
        for file in listing.siblings {
            let path = file.rfilename;
            if !is_path(&path) {
                return Err(HubError::UnsafeName { repo: repo.to_string(), path });
            }
            let (size, hash) = match (file.lfs, file.size, file.blob_id) {
                (Some(lfs), _, _) => (lfs.size, Hash::Sha256(lfs.sha256)),
                (None, Some(size), Some(id)) => (size, Hash::Git(id)),
                _ => return Err(bad(format!("`{path}` has no size or hash"))),
            };
            let digits = if matches!(hash, Hash::Sha256(_)) { 64 } else { 40 };
            if hash.as_str().len() != digits || !is_hex(hash.as_str()) {
                return Err(bad(format!("`{path}` has the hash `{}`", hash.as_str())));
            }
            files.insert(path, FileInfo { size, hash: Some(hash) });
        }
        let folder = self.snapshot_folder(repo, &listing.sha);
        Ok(Snapshot {
            repo: repo.clone(),
            revision: revision.clone(),
            commit: listing.sha,
            files,
            unreachable: None,
            from_cache: false,
            folder,
        })
    }

    /// What the cache holds of a revision.
    fn cached_snapshot(&self, repo: &RepoId, revision: &Revision) -> Result<Snapshot, HubError> {
        let absent =
            || HubError::Offline { what: format!("{repo}@{revision}"), cache: self.config.cache.clone() };
        let commit = match revision.is_commit() {
            true => revision.to_string(),
            false => self.cached_ref(repo, revision).ok_or_else(absent)?,
        };
        let folder = self.snapshot_folder(repo, &commit);
        if !folder.is_dir() {
            return Err(absent());
        }
        let mut files = BTreeMap::new();
        let mut below = vec![(folder.clone(), String::new())];
        while let Some((here, prefix)) = below.pop() {
            for entry in std::fs::read_dir(&here).map_err(HubError::io(&here))? {
                let entry = entry.map_err(HubError::io(&here))?;
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                // A link whose file is gone is as good as none.
                let Ok(target) = std::fs::metadata(entry.path()) else { continue };
                match target.is_dir() {
                    true => below.push((entry.path(), format!("{name}/"))),
                    false => drop(files.insert(name, FileInfo { size: target.len(), hash: None })),
                }
            }
        }
        Ok(Snapshot {
            repo: repo.clone(),
            revision: revision.clone(),
            commit,
            files,
            unreachable: None,
            from_cache: true,
            folder,
        })
    }
}
