//! The cache as Python's `huggingface_hub` keeps it: `models--owner--repo/{blobs,refs,snapshots}` and `.locks`.
//!
//! Contents lie in `blobs` under their hashes, a snapshot is a folder of relative links to them, a ref is a file with a
//! commit in it. Here: those places, links and refs, what is in the cache, and removing it.

use crate::name::is_commit;
use crate::{Hub, HubError, RepoId, Revision};
use hf_hub::{Repo, RepoType};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A repository in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedRepo {
    /// Its name.
    pub repo: RepoId,
    /// All of its contents, bytes, unfinished ones included.
    pub size: u64,
    /// Of these, what an interrupted transfer left for the next one.
    pub unfinished: u64,
    /// Its revisions, by commit.
    pub revisions: Vec<CachedRevision>,
}

/// A revision in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedRevision {
    /// The commit.
    pub commit: String,
    /// Branches and tags that are this commit.
    pub refs: Vec<String>,
    /// How many files there are.
    pub n_files: usize,
    /// What they take, bytes. Revisions share contents.
    pub size: u64,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Bytes that are free now.
    pub freed: u64,
    /// Revisions that are gone.
    pub revisions: usize,
}

/// A repository at a revision, as `hf-hub` names it.
pub(crate) fn hub_repo(repo: &RepoId, revision: &Revision) -> Repo {
    Repo::with_revision(repo.to_string(), RepoType::Model, revision.to_string())
}

impl Hub {
    pub(crate) fn repo_folder(&self, repo: &RepoId) -> PathBuf {
        self.config.cache.join(hub_repo(repo, &Revision::default()).folder_name())
    }

    pub(crate) fn snapshot_folder(&self, repo: &RepoId, commit: &str) -> PathBuf {
        self.repo_folder(repo).join("snapshots").join(commit)
    }

    pub(crate) fn blob(&self, repo: &RepoId, hash: &str) -> PathBuf {
        self.repo_folder(repo).join("blobs").join(hash)
    }

    pub(crate) fn lock_of(&self, repo: &RepoId, hash: &str) -> PathBuf {
        let folder = hub_repo(repo, &Revision::default()).folder_name();
        self.config.cache.join(".locks").join(folder).join(format!("{hash}.lock"))
    }

    /// The commit that the cache knows for a branch or tag.
    pub(crate) fn cached_ref(&self, repo: &RepoId, revision: &Revision) -> Option<String> {
        let text = fs::read_to_string(self.repo_folder(repo).join("refs").join(revision.as_str())).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Notes which commit a branch or tag is; a commit is its own name.
    pub(crate) fn note_ref(&self, repo: &RepoId, revision: &Revision, commit: &str) -> Result<(), HubError> {
        if revision.is_commit() || self.cached_ref(repo, revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.repo_folder(repo).join("refs").join(revision.as_str());
        replace(&path, |temporary| fs::File::create(temporary)?.write_all(commit.as_bytes()))
            .map_err(HubError::io(&path))
    }

    /// Makes a file of a snapshot a link to its contents.
    pub(crate) fn link(&self, repo: &RepoId, commit: &str, file: &str, hash: &str) -> Result<(), HubError> {
        let path = self.snapshot_folder(repo, commit).join(file);
        // snapshots/<commit>/, and one more for each folder of the name.
        let up = "../".repeat(2 + file.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{hash}"));
        if fs::read_link(&path).is_ok_and(|found| found == target) {
            return Ok(());
        }
        replace(&path, |temporary| std::os::unix::fs::symlink(&target, temporary))
            .map_err(HubError::io(&path))
    }

    /// What is in the cache, by name. Things that are no repositories of models are passed over.
    ///
    /// # Errors
    /// If a folder of it cannot be read.
    pub fn cached(&self) -> Result<Vec<CachedRepo>, HubError> {
        let mut repos = Vec::new();
        for folder in folders(&self.config.cache)? {
            let Some(name) = folder.strip_prefix("models--").and_then(|name| name.split_once("--")) else {
                continue;
            };
            let Ok(repo) = format!("{}/{}", name.0, name.1).parse::<RepoId>() else { continue };
            repos.push(self.cached_repo(repo)?);
        }
        repos.sort_by(|a, b| a.repo.cmp(&b.repo));
        Ok(repos)
    }

    fn cached_repo(&self, repo: RepoId) -> Result<CachedRepo, HubError> {
        let folder = self.repo_folder(&repo);
        let mut refs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, path) in files(&folder.join("refs"))? {
            if let Ok(commit) = fs::read_to_string(&path) {
                refs.entry(commit.trim().to_owned()).or_default().push(name);
            }
        }
        let mut revisions = Vec::new();
        let mut sizes = BTreeMap::new();
        for commit in folders(&folder.join("snapshots"))? {
            let files = files(&folder.join("snapshots").join(&commit))?;
            let mut contents = BTreeMap::new();
            for (_, path) in &files {
                if let (Ok(real), Ok(metadata)) = (fs::canonicalize(path), fs::metadata(path)) {
                    contents.insert(real, metadata.len());
                }
            }
            let mut refs = refs.remove(&commit).unwrap_or_default();
            refs.sort();
            revisions.push(CachedRevision {
                n_files: files.len(),
                size: contents.values().sum(),
                refs,
                commit,
            });
            sizes.extend(contents);
        }
        let mut unfinished = 0;
        for (name, path) in files(&folder.join("blobs"))? {
            let size = fs::metadata(&path).map_or(0, |m| m.len());
            unfinished += if name.ends_with(crate::fetch::UNFINISHED) { size } else { 0 };
            sizes.insert(fs::canonicalize(&path).unwrap_or(path), size);
        }
        revisions.sort_by(|a, b| a.commit.cmp(&b.commit));
        Ok(CachedRepo { repo, size: sizes.values().sum(), unfinished, revisions })
    }

    /// Removes a repository from the cache, or one revision of it (a commit, or a branch or tag that is one) with the contents
    /// that no other revision has.
    ///
    /// # Errors
    /// If there is none, or something cannot be removed.
    pub fn remove(&self, repo: &RepoId, revision: Option<&Revision>) -> Result<Removed, HubError> {
        let name = revision.map_or_else(|| repo.to_string(), |revision| format!("{repo}@{revision}"));
        let absent = || HubError::NotCached { name: name.clone(), cache: self.config.cache.clone() };
        let folder = self.repo_folder(repo);
        if !folder.is_dir() {
            return Err(absent());
        }
        let before = self.cached_repo(repo.clone())?;
        let Some(revision) = revision else {
            fs::remove_dir_all(&folder).map_err(HubError::io(&folder))?;
            if let Some(locks) = self.lock_of(repo, "").parent() {
                let _ = fs::remove_dir_all(locks);
            }
            return Ok(Removed { freed: before.size, revisions: before.revisions.len() });
        };
        let commit = match revision.is_commit() {
            true => revision.to_string(),
            false => self.cached_ref(repo, revision).ok_or_else(absent)?,
        };
        let found = before.revisions.iter().find(|r| r.commit == commit).ok_or_else(absent)?;
        let snapshots = folder.join("snapshots");
        let contents = |commit: &str| -> Result<BTreeSet<PathBuf>, HubError> {
            let files = files(&snapshots.join(commit))?;
            Ok(files.iter().filter_map(|(_, path)| fs::canonicalize(path).ok()).collect())
        };
        let mut gone = contents(&commit)?;
        for other in before.revisions.iter().filter(|r| r.commit != commit) {
            gone = gone.difference(&contents(&other.commit)?).cloned().collect();
        }
        let mut freed = 0;
        for name in &found.refs {
            let path = folder.join("refs").join(name);
            fs::remove_file(&path).map_err(HubError::io(&path))?;
        }
        let snapshot = snapshots.join(&commit);
        let sizes: Vec<_> =
            gone.iter().map(|path| (path, fs::metadata(path).map_or(0, |m| m.len()))).collect();
        fs::remove_dir_all(&snapshot).map_err(HubError::io(&snapshot))?;
        let blobs = fs::canonicalize(folder.join("blobs")).unwrap_or_else(|_| folder.join("blobs"));
        for (path, size) in sizes {
            // Python copies where there are no links; such a file is gone with the snapshot.
            if path.starts_with(&blobs) {
                fs::remove_file(path).map_err(HubError::io(path))?;
            }
            freed += size;
        }
        Ok(Removed { freed, revisions: 1 })
    }
}

/// Puts something in a place in one step.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Unlike any name beside it: of this process and thread alone.
    let temporary = folder.join(format!(".{name}.{}.{:?}", std::process::id(), std::thread::current().id()));
    let _ = fs::remove_file(&temporary);
    let done = make(&temporary).and_then(|()| fs::rename(&temporary, path));
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done
}

/// The names of the folders in a folder; none where there is none.
fn folders(folder: &Path) -> Result<Vec<String>, HubError> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(HubError::io(folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(HubError::io(folder))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// The files below a folder by name, links as what they are; none where there is no folder.
fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>, HubError> {
    let mut found = Vec::new();
    let mut below = vec![(folder.to_owned(), String::new())];
    while let Some((here, prefix)) = below.pop() {
        let entries = match fs::read_dir(&here) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(HubError::io(&here))?,
        };
        for entry in entries {
            let entry = entry.map_err(HubError::io(&here))?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => below.push((entry.path(), format!("{name}/"))),
                false => found.push((name, entry.path())),
            }
        }
    }
    Ok(found)
}
