//! A model and a set as far as a plan needs them, before their weights are here.
//!
//! Configs and tokenizers are fetched. Of each file of weights that is not in the cache the header is read by range, as `inspect`
//! reads it, and written where it belongs in a file of the same length that is otherwise empty: a stand-in, which takes a few
//! kilobytes of the disk. So a plan is made by the same code from the same bytes as once all is here. Stand-ins lie in a temporary
//! folder and are gone when the plan is made; nothing but headers is ever read of them.

use super::coming::Coming;
use super::{Finder, FoundModel, FoundSet, Sought, Wanted, below, is_tensor_file};
use crate::failure::{Code, Failure};
use crate::say::{say, say_notices};
use circuit_hub::{Hub, HubError, HubName, RemoteFile, Snapshot};
use circuit_model::Model;
use circuit_torch::tensor_headers;
use circuit_transcoder::{SetFolder, TranscoderSet};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;

/// What arguments name, and what is known of it so far.
pub(crate) struct Ahead {
    /// The model; its config and tokenizer are there.
    pub(crate) model: FoundModel,
    /// The set; its config is there.
    pub(crate) set: FoundSet,
    /// What has yet to come.
    pub(crate) coming: Coming,
    finder: Finder,
    wanted: Vec<Wanted>,
    stand_ins: Option<StandIns>,
}

/// A folder for each snapshot: links to what is in the cache, stand-ins for the rest.
struct StandIns {
    root: TempDir,
    model: Option<PathBuf>,
    set: Option<SetFolder>,
}

impl Ahead {
    /// Finds a model and a set without fetching weights. With `or_fetch` they are fetched after all where the hub's server
    /// answers no ranges.
    pub(crate) fn new(
        finder: Finder,
        model: Option<&str>,
        set: &str,
        or_fetch: bool,
    ) -> Result<Self, Failure> {
        let (model, set, wanted) = finder.seek_pair(model, set)?;
        finder.fetch(&small(&wanted))?;
        let coming = finder.coming(&wanted)?;
        if or_fetch {
            coming.check()?; // What cannot come need not be planned.
        }
        let mut ahead = Self { model, set, coming, finder, wanted, stand_ins: None };
        if ahead.coming.missing() == 0 {
            ahead.fetch()?; // Only linked.
            ahead.judge()?;
            return Ok(ahead);
        }
        match StandIns::new(&ahead.finder, Some(&ahead.model), Some(&ahead.set), &ahead.wanted) {
            Err(Trouble::Hub(HubError::NoRanges { .. })) if or_fetch => {
                say(
                    "note: the hub's server sends no parts of files, so that they are fetched before the work is planned",
                );
                ahead.fetch()?;
            }
            Err(trouble) => return Err(trouble.into()),
            Ok(stand_ins) => ahead.stand_ins = Some(stand_ins),
        }
        ahead.judge()?;
        Ok(ahead)
    }

    /// Refuses what would be refused when it is opened.
    fn judge(&self) -> Result<(), Failure> {
        let judged = judge(Some(self.model_headers()), Some(self.set_headers()));
        judged.map_err(|failure| self.named(failure))
    }

    /// Fetches what has yet to come.
    pub(crate) fn fetch(&mut self) -> Result<(), Failure> {
        self.finder.fetch(&self.wanted)?;
        self.stand_ins = None;
        Ok(())
    }

    /// Where headers of the model's weights can be read.
    pub(crate) fn model_headers(&self) -> &Path {
        let model = self.stand_ins.as_ref().and_then(|stand_ins| stand_ins.model.as_ref());
        model.unwrap_or(&self.model.folder)
    }

    /// Where headers of the set's weights can be read.
    pub(crate) fn set_headers(&self) -> &SetFolder {
        let set = self.stand_ins.as_ref().and_then(|stand_ins| stand_ins.set.as_ref());
        set.unwrap_or(&self.set.folder)
    }

    /// A failure that names files as the hub does, not their stand-ins.
    pub(crate) fn named(&self, failure: Failure) -> Failure {
        match &self.stand_ins {
            Some(stand_ins) => stand_ins.named(failure),
            None => failure,
        }
    }
}

impl Finder {
    /// Fetches a model, a set or both, once the headers of their weights have been judged: what would be refused when it is
    /// opened is refused before any weight is fetched.
    pub(super) fn fetch_judged(&self, sought: &Sought) -> Result<(), Failure> {
        let Sought { model, set, wanted } = sought;
        self.fetch(&small(wanted))?;
        let coming = self.coming(wanted)?;
        coming.check()?;
        let mut judged = false;
        if coming.missing() > 0 {
            match StandIns::new(self, model.as_ref(), set.as_ref(), wanted) {
                // The transfer itself tries again, and says what keeps it from being made.
                Err(Trouble::Hub(_)) => {}
                Err(trouble) => return Err(trouble.into()),
                Ok(stand_ins) => {
                    let verdict = judge(stand_ins.model.as_deref(), stand_ins.set.as_ref());
                    verdict.map_err(|failure| stand_ins.named(failure))?;
                    judged = true;
                }
            }
        }
        self.fetch(wanted)?;
        if judged {
            return Ok(());
        }
        judge(model.as_ref().map(|model| model.folder.as_path()), set.as_ref().map(|set| &set.folder))
    }
}

/// Judges a model, a set or both by their configs and the headers of their weights: refuses what would be refused when they are
/// opened.
fn judge(model: Option<&Path>, set: Option<&SetFolder>) -> Result<(), Failure> {
    let shape = match model {
        Some(model) => {
            say_notices(&Model::check(model)?);
            let spec = Model::describe(model)?;
            Some((spec.n_layers(), spec.d_model))
        }
        None => None,
    };
    match set {
        Some(set) => Ok(TranscoderSet::check(set, shape)?),
        None => Ok(()),
    }
}

/// The files that are no weights.
fn small(wanted: &[Wanted]) -> Vec<Wanted> {
    wanted.iter().filter(|(_, file)| !is_tensor_file(file)).cloned().collect()
}

impl StandIns {
    fn new(
        finder: &Finder,
        model: Option<&FoundModel>,
        set: Option<&FoundSet>,
        wanted: &[Wanted],
    ) -> Result<Self, Trouble> {
        let root = tempfile::Builder::new().prefix("circuit-tracer-").tempdir().map_err(no_folder)?;
        // The name of a repository is safe to make a path of; so is that of a file. No revision has a `%`.
        let folder = |snapshot: &Snapshot| {
            root.path().join(snapshot.repo.as_str()).join(snapshot.revision.as_str().replace('/', "%2F"))
        };
        let hub = finder.hub()?;
        let mut known = BTreeSet::new();
        let mut remote: Vec<(&Snapshot, &str, PathBuf)> = Vec::new();
        for (snapshot, file) in wanted {
            let path = folder(snapshot).join(file);
            if !known.insert(path.clone()) {
                continue;
            }
            fs::create_dir_all(path.parent().unwrap_or(root.path())).map_err(no_folder)?;
            if hub.look(snapshot, file)?.missing > 0 {
                remote.push((snapshot, file, path));
            } else {
                // Only linked where it is in the cache already.
                let there = hub.fetch(&[(snapshot, file)], &|_| ())?.swap_remove(0);
                std::os::unix::fs::symlink(there, &path).map_err(no_folder)?;
            }
        }
        make_all(hub, &remote)?;
        let of_name = |name: &HubName| -> Result<PathBuf, Trouble> {
            let snapshot = finder.snapshot(&name.repo, &name.revision())?;
            Ok(below(&folder(&snapshot), &name.folder))
        };
        let model = model.map(|model| match &model.name {
            Some(name) => of_name(name),
            None => Ok(model.folder.clone()),
        });
        let set = set.map(|set| -> Result<SetFolder, Trouble> {
            let mut there = set.folder.clone();
            if let Some(name) = &set.name {
                there.path = of_name(name)?;
            }
            for local in there.elsewhere.values_mut() {
                let stand_in = wanted.iter().find(|(snapshot, file)| *local == snapshot.folder().join(file));
                if let Some((snapshot, file)) = stand_in {
                    *local = folder(snapshot).join(file);
                }
            }
            Ok(there)
        });
        Ok(Self { model: model.transpose()?, set: set.transpose()?, root })
    }

    /// A failure that names files as the hub does.
    fn named(&self, failure: Failure) -> Failure {
        let root = format!("{}/", self.root.path().display());
        Failure { message: failure.message.replace(&root, ""), ..failure }
    }
}

/// What keeps stand-ins from being made.
enum Trouble {
    Hub(HubError),
    Other(Failure),
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Self::Hub(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Hub(error) => error.into(),
            Trouble::Other(failure) => failure,
        }
    }
}

fn no_folder(error: io::Error) -> Failure {
    Failure::new(Code::Output, format!("the temporary folder {}: {error}", std::env::temp_dir().display()))
}

/// Makes stand-ins, several at a time: most of the time is spent on waiting for answers.
fn make_all(hub: &Hub, files: &[(&Snapshot, &str, PathBuf)]) -> Result<(), Trouble> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let give_up = || failed.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        while give_up().is_none() {
            let Some((snapshot, file, path)) = files.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            if let Err(trouble) = make(hub, snapshot, file, path) {
                give_up().get_or_insert(trouble);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..hub.config().parallel.clamp(1, files.len().max(1)) {
            scope.spawn(work);
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn make(hub: &Hub, snapshot: &Snapshot, file: &str, path: &Path) -> Result<(), Trouble> {
    let from = hub.open(snapshot, file)?;
    let to = File::create_new(path).map_err(no_folder)?;
    to.set_len(from.size()).map_err(no_folder)?;
    let mut tee = Tee { from, to, at: 0, failed: None };
    let read = tensor_headers(&mut tee);
    match (tee.failed.take(), read) {
        (None, Ok(_)) => Ok(()),
        (None, Err(reason)) => {
            let message = format!("{}/{file}: {reason}", snapshot.repo);
            Err(Failure::new(Code::Input, message).into())
        }
        (Some(error), _) => Err(match error.downcast::<HubError>() {
            Ok(error) => error.into(),
            Err(error) => no_folder(error).into(),
        }),
    }
}

/// A remote file; what is read of it is written into a file here, at the same place.
struct Tee<'a> {
    from: RemoteFile<'a>,
    to: File,
    at: u64,
    /// What went wrong first, which its reader turns into a text.
    failed: Option<io::Error>,
}

impl Tee<'_> {
    fn copy(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(into)?;
        self.to.seek(SeekFrom::Start(self.at))?;
        self.to.write_all(&into[..n])?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Read for Tee<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.copy(into).map_err(|error| {
            let told = io::Error::new(error.kind(), error.to_string());
            self.failed.get_or_insert(error);
            told
        })
    }
}

impl Seek for Tee<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.from.seek(to)?;
        Ok(self.at)
    }
}
