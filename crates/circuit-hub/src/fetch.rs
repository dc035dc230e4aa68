//! Bringing files into the cache: several at a time, each under a lock, resumed where it broke, checked before it counts.
//!
//! An unfinished file is `blobs/<hash>.incomplete`, as in Python, so that either program goes on where the other stopped. It
//! becomes `blobs/<hash>` in one step once its size and hash are those that the hub lists, and only then is it linked into
//! the snapshot.

use crate::net::About;
use crate::snapshot::Hash;
use crate::{FileInfo, Hub, HubError, Snapshot};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How names of unfinished files end.
pub(crate) const UNFINISHED: &str = ".incomplete";

/// Bytes read at a time.
const BLOCK: usize = 1 << 18;

/// Room that is left free on the disk beside what is fetched.
const SPARE: u64 = 16 << 20;

/// What happens while files are fetched; `file` counts the files in the order in which they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process is fetching this file; it is waited for.
    Waiting {
        /// Which file.
        file: usize,
    },
    /// So many bytes of a file are there.
    Bytes {
        /// Which file.
        file: usize,
        /// How many.
        done: u64,
    },
    /// A file is there, whole and checked.
    Finished {
        /// Which file.
        file: usize,
    },
}

/// A file to fetch, or one that is there.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Where it is once it is fetched: in the snapshot's folder.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
    /// What of it has yet to come.
    pub missing: u64,
}

/// Tells an event of one file, whose number the teller knows, with the bytes that are there.
type Tell<'a> = dyn Fn(fn(usize, u64) -> Progress, u64) + 'a;

/// What a file in an address may hold besides letters and digits.
const IN_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'+');

impl Hub {
    /// Where a file will be, and how much of it has yet to come. Asks nothing.
    ///
    /// # Errors
    /// If the snapshot has no such file.
    pub fn look(&self, snapshot: &Snapshot, file: &str) -> Result<Fetched, HubError> {
        let info = snapshot.file(file)?;
        let path = snapshot.folder().join(file);
        let missing = match &info.hash {
            // A file of the cache.
            None => 0,
            Some(hash) => {
                let blob = self.blob(&snapshot.repo, hash.as_str());
                let len = |path: &Path| fs::metadata(path).ok().map(|m| m.len());
                match len(&blob) {
                    Some(len) if len == info.size => 0,
                    _ => info.size.saturating_sub(len(&unfinished(&blob)).unwrap_or(0)),
                }
            }
        };
        Ok(Fetched { path, size: info.size, missing })
    }

    /// Fetches files, each of a snapshot, and tells how it goes; gives the places of all, in order. What is there already is
    /// only linked.
    ///
    /// # Errors
    /// The first failure. Files that are whole stay, of the others what has come is kept for the next time.
    pub fn fetch(
        &self,
        files: &[(&Snapshot, &str)],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Vec<PathBuf>, HubError> {
        let looked: Vec<_> =
            files.iter().map(|(snapshot, file)| self.look(snapshot, file)).collect::<Result<_, _>>()?;
        self.check_room(looked.iter().map(|file| file.missing).sum())?;
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let failure: Mutex<Option<HubError>> = Mutex::new(None);
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((snapshot, file)) = files.get(at) else { return };
                let tell = |event: fn(usize, u64) -> Progress, done| progress(event(at, done));
                match self.fetch_one(snapshot, file, &stop, &tell) {
                    Ok(()) => progress(Progress::Finished { file: at }),
                    Err(e) => {
                        stop.store(true, Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.config.parallel.clamp(1, files.len().max(1)) {
                scope.spawn(work);
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(e) => Err(e),
            None => Ok(looked.into_iter().map(|file| file.path).collect()),
        }
    }

    /// What the cache's disk has free, bytes; `None` where it does not tell.
    #[must_use]
    pub fn free_room(&self) -> Option<u64> {
        let there = self.config.cache.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let found = rustix::fs::statvfs(there).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Refuses what the cache's disk has no room for; [`Hub::fetch`] does so before anything is asked for.
    ///
    /// # Errors
    /// If there is too little room for so many bytes. A file system that does not tell is not a full one.
    pub fn check_room(&self, needed: u64) -> Result<(), HubError> {
        match self.free_room() {
            Some(free) if needed > 0 && needed.saturating_add(SPARE) > free => {
                Err(HubError::NoSpace { cache: self.config.cache.clone(), free, needed })
            }
            _ => Ok(()),
        }
    }

    fn fetch_one(
        &self,
        snapshot: &Snapshot,
        file: &str,
        stop: &AtomicBool,
        tell: &Tell<'_>,
    ) -> Result<(), HubError> {
        let info = snapshot.file(file)?;
        // A file of the cache, found there.
        let Some(hash) = &info.hash else { return Ok(()) };
        let blob = self.blob(&snapshot.repo, hash.as_str());
        let whole = || fs::metadata(&blob).is_ok_and(|m| m.len() == info.size);
        if !whole() {
            let lock = self.lock_of(&snapshot.repo, hash.as_str());
            for folder in [&lock, &blob].into_iter().filter_map(|path| path.parent()) {
                fs::create_dir_all(folder).map_err(HubError::io(folder))?;
            }
            let held = OpenOptions::new().create(true).truncate(false).write(true).open(&lock);
            let held = held.map_err(HubError::io(&lock))?;
            match held.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    tell(|file, _| Progress::Waiting { file }, 0);
                    held.lock().map_err(HubError::io(&lock))?;
                }
                Err(TryLockError::Error(e)) => return Err(HubError::io(&lock)(e)),
            }
            // Whoever held the lock may have brought it.
            if !whole() {
                let part = Part { hub: self, snapshot, file, info, hash, path: unfinished(&blob) };
                part.complete(stop, &|done| tell(|file, done| Progress::Bytes { file, done }, done))?;
                fs::rename(&part.path, &blob).map_err(HubError::io(&blob))?;
            }
        }
        self.link(&snapshot.repo, &snapshot.commit, file, hash.as_str())?;
        self.note_ref(&snapshot.repo, &snapshot.revision, &snapshot.commit)
    }

    /// The address of a file at a snapshot's commit.
    pub(crate) fn url(&self, snapshot: &Snapshot, file: &str) -> String {
        let repo = hf_hub::Repo::with_revision(
            snapshot.repo.to_string(),
            hf_hub::RepoType::Model,
            snapshot.commit.clone(),
        );
        self.api.repo(repo).url(&utf8_percent_encode(file, IN_PATH).to_string())
    }
}

fn unfinished(blob: &Path) -> PathBuf {
    let mut name = blob.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

/// A file under way, its lock held.
struct Part<'a> {
    hub: &'a Hub,
    snapshot: &'a Snapshot,
    file: &'a str,
    info: &'a FileInfo,
    hash: &'a Hash,
    path: PathBuf,
}

impl Part<'_> {
    fn name(&self) -> String {
        format!("{}/{}", self.snapshot.repo, self.file)
    }

    fn io(&self) -> impl Fn(io::Error) -> HubError + '_ {
        |source| HubError::Io { path: self.path.clone(), source }
    }

    /// Goes on until the file is whole, then checks it. What was there before and does not fit is given up once.
    fn complete(&self, stop: &AtomicBool, tell: &dyn Fn(u64)) -> Result<(), HubError> {
        let resumed = fs::metadata(&self.path).is_ok_and(|m| m.len() > 0);
        let mut done = self.transfer(stop, tell);
        if let (true, Err(HubError::Damaged { .. })) = (resumed, &done) {
            // What was there may have been another's, or cut off in the middle of a write.
            done = self.transfer(stop, tell);
        }
        done
    }

    fn transfer(&self, stop: &AtomicBool, tell: &dyn Fn(u64)) -> Result<(), HubError> {
        let size = self.info.size;
        let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&self.path);
        let mut out = open.map_err(self.io())?;
        let mut check = Check::new(self.hash, size);
        let mut at = check.take_in(&mut out, size).map_err(self.io())?;
        tell(at);
        let mut failures = 0;
        while at < size || size == 0 {
            let before = at;
            let broke = self.stream(&mut out, &mut check, &mut at, stop, tell)?;
            if at >= size {
                break;
            }
            // As long as something comes, it is worth going on.
            failures = if at > before { 1 } else { failures + 1 };
            let broken = || HubError::Broken { file: self.name(), got: at, size, reason: broke.clone() };
            if failures > self.hub.config.retries || stop.load(Ordering::Relaxed) {
                out.sync_all().map_err(self.io())?;
                return Err(broken());
            }
            std::thread::sleep(self.hub.pause(failures));
        }
        let found = check.finish();
        let damaged = |what, found: String, expected: String| HubError::Damaged {
            file: self.name(),
            what,
            found,
            expected,
        };
        let result = match (at == size, found == self.hash.as_str()) {
            (false, _) => Err(damaged("size", format!("over {size}"), size.to_string())),
            (_, false) => Err(damaged("hash", found, self.hash.as_str().into())),
            _ => Ok(()),
        };
        match result {
            Ok(()) => out.sync_all().map_err(self.io()),
            Err(e) => {
                let _ = fs::remove_file(&self.path);
                Err(e)
            }
        }
    }

    /// One answer, as far as it goes; says why it ended early.
    fn stream(
        &self,
        out: &mut File,
        check: &mut Check,
        at: &mut u64,
        stop: &AtomicBool,
        tell: &dyn Fn(u64),
    ) -> Result<String, HubError> {
        let size = self.info.size;
        let url = self.hub.url(self.snapshot, self.file);
        let about =
            About { repo: &self.snapshot.repo, revision: self.snapshot.revision.as_str(), path: self.file };
        let range = (*at > 0).then(|| format!("bytes={at}-"));
        let response = self.hub.get(&url, range.as_deref(), about)?;
        match response.status() {
            200 if *at == 0 => {}
            // The server knows no ranges: all comes again.
            200 => {
                out.set_len(0).and_then(|()| out.seek(SeekFrom::Start(0))).map_err(self.io())?;
                *check = Check::new(self.hash, size);
                *at = 0;
            }
            206 if starts_at(response.header("Content-Range"), *at) => {}
            206 => {
                let reason =
                    format!("it has the range `{}`", response.header("Content-Range").unwrap_or("none"));
                return Err(HubError::Answer { url, reason });
            }
            status => return Err(HubError::Answer { url, reason: format!("status {status}") }),
        }
        let mut reader = response.into_reader();
        let mut block = vec![0; BLOCK];
        while !stop.load(Ordering::Relaxed) {
            let n = match reader.read(&mut block) {
                Ok(0) => return Ok("the connection was closed".into()),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Ok(e.to_string()),
            };
            if n as u64 > size - *at {
                // More than there can be: nothing of it is believed.
                *at = size + 1;
                return Ok(String::new());
            }
            out.write_all(&block[..n]).map_err(self.io())?;
            check.update(&block[..n]);
            *at += n as u64;
            tell(*at);
        }
        Ok("another file failed".into())
    }
}

/// Whether `Content-Range: bytes 5-9/10` begins at an offset.
fn starts_at(header: Option<&str>, at: u64) -> bool {
    let start = header.and_then(|text| text.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok());
    start == Some(at)
}

/// A hash under way.
enum Check {
    Sha256(Sha256),
    Git(Sha1),
}

impl Check {
    fn new(hash: &Hash, size: u64) -> Self {
        match hash {
            Hash::Sha256(_) => Self::Sha256(Sha256::new()),
            // Git hashes a file with its length before it.
            Hash::Git(_) => Self::Git(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Git(hash) => hash.update(bytes),
        }
    }

    /// Takes in what of a file is there, at most `size` bytes; gives how much, and leaves the file open at its end.
    fn take_in(&mut self, file: &mut File, size: u64) -> io::Result<u64> {
        if file.metadata()?.len() > size {
            file.set_len(0)?;
        }
        file.seek(SeekFrom::Start(0))?;
        let (mut block, mut at) = (vec![0; BLOCK], 0);
        loop {
            match file.read(&mut block)? {
                0 => return Ok(at),
                n => {
                    self.update(&block[..n]);
                    at += n as u64;
                }
            }
        }
    }

    fn finish(&mut self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Sha256(hash) => hex(&hash.finalize_reset()),
            Self::Git(hash) => hex(&hash.finalize_reset()),
        }
    }
}
