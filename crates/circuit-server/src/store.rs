//! The folder of graphs: what is in it, and every change to it.
//!
//! The folder is the truth: files may come, go and change at any time by other hands. What is remembered of a file
//! holds for one [`Stamp`]. Changes of one graph by this server wait for each other and are atomic; the list
//! `graph-metadata.json` gives the order and is brought up to date when the server itself adds or removes a graph, never
//! when it only reads. Everything here blocks, and nothing knows of HTTP.

use crate::etag::{ETag, Stamp};
use circuit_format::{
    FormatError, LISTING_FILE, Metadata, Slug, file_inside, read_graph_head, read_listing, update_listing,
    with_slug, with_view, write_atomically,
};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What stands in the way of an operation on a graph.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("there is no such graph")]
    NotFound,
    #[error("there is such a graph already")]
    Exists,
    #[error("the graph is now of version {}", .0.as_str())]
    Stale(ETag),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One graph of the list.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) slug: Slug,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) size: u64,
}

/// A graph's file, open for reading. It stays what it is even if another takes its place.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) size: u64,
    pub(crate) etag: ETag,
}

/// What is known about a file of one stamp.
#[derive(Debug, Default)]
struct Known {
    stamp: Option<Stamp>,
    /// Its metadata; nothing if it is no graph.
    head: Option<Option<Arc<Metadata>>>,
    etag: Option<ETag>,
}

#[derive(Debug)]
pub(crate) struct GraphStore {
    folder: PathBuf,
    known: Mutex<HashMap<Slug, Known>>,
    locks: Mutex<HashMap<Slug, Arc<Mutex<()>>>>,
}

/// A panic elsewhere leaves these maps as they are: each change to them is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GraphStore {
    pub(crate) fn open_folder(folder: PathBuf) -> io::Result<Self> {
        fs::read_dir(&folder)?;
        Ok(Self { folder, known: Mutex::default(), locks: Mutex::default() })
    }

    /// The graphs of the folder as it is now: those of the list in its order, then the others by name.
    pub(crate) fn list(&self) -> io::Result<Vec<Listed>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let slug = name.to_str().and_then(|name| Slug::new(name.strip_suffix(".json")?).ok());
            let Some(slug) = slug else { continue };
            match self.head(&slug) {
                Ok(Some((metadata, size))) => found.push(Listed { slug, metadata, size }),
                Ok(None) => {}
                // One unreadable file does not hide the others.
                Err(e) => tracing::warn!("{slug}.json: {e}"),
            }
        }
        lock(&self.known).retain(|slug, _| found.iter().any(|listed| listed.slug == *slug));
        let listing = read_listing(&self.folder).unwrap_or_else(|e| {
            tracing::warn!("the list of graphs is left out of account: {e}");
            Vec::new()
        });
        let mut places = HashMap::new();
        for (place, slug) in
            listing.iter().enumerate().filter_map(|(i, entry)| Some((i, entry.get("slug")?.as_str()?)))
        {
            places.insert(slug, place);
        }
        let place = |listed: &Listed| places.get(listed.slug.as_str()).copied().unwrap_or(usize::MAX);
        found.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.slug.as_str().cmp(b.slug.as_str())));
        Ok(found)
    }

    /// Metadata and size of a graph; `None` if the file is no graph, or gone.
    fn head(&self, slug: &Slug) -> Result<Option<(Arc<Metadata>, u64)>, StoreError> {
        let Some(path) = self.find(slug)? else { return Ok(None) };
        let metadata = fs::metadata(&path)?;
        let stamp = Stamp::of(&metadata);
        let remembered = lock(&self.known)
            .get(slug)
            .filter(|known| known.stamp.as_ref() == Some(&stamp))
            .and_then(|known| known.head.clone());
        let head = match remembered {
            Some(head) => head,
            None => {
                let head = read_graph_head(&path)?.map(|mut head| {
                    // The file's name is what requests ask for.
                    head.slug = slug.as_str().into();
                    Arc::new(head)
                });
                self.remember(slug, &stamp, |known| known.head = Some(head.clone()));
                head
            }
        };
        Ok(head.map(|head| (head, metadata.len())))
    }

    fn remember(&self, slug: &Slug, stamp: &Stamp, set: impl FnOnce(&mut Known)) {
        if !stamp.is_settled() {
            return;
        }
        let mut known = lock(&self.known);
        let known = known.entry(slug.clone()).or_default();
        if known.stamp.as_ref() != Some(stamp) {
            *known = Known { stamp: Some(stamp.clone()), ..Known::default() };
        }
        set(known);
    }

    fn name(slug: &Slug) -> String {
        format!("{slug}.json")
    }

    /// Where a graph's file really is, if it is in the folder.
    fn find(&self, slug: &Slug) -> io::Result<Option<PathBuf>> {
        file_inside(&self.folder, Path::new(&Self::name(slug)))
    }

    /// Opens a graph's file, and says its version.
    pub(crate) fn open(&self, slug: &Slug) -> Result<Opened, StoreError> {
        let path = self.find(slug)?.ok_or(StoreError::NotFound)?;
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(StoreError::NotFound),
            file => file?,
        };
        let metadata = file.metadata()?;
        let stamp = Stamp::of(&metadata);
        let remembered = lock(&self.known)
            .get(slug)
            .filter(|known| known.stamp.as_ref() == Some(&stamp))
            .and_then(|known| known.etag.clone());
        let etag = match remembered {
            Some(etag) => etag,
            None => {
                let etag = ETag::of_reader((&file).take(metadata.len()))?;
                file.rewind()?;
                self.remember(slug, &stamp, |known| known.etag = Some(etag.clone()));
                etag
            }
        };
        Ok(Opened { file, size: metadata.len(), etag })
    }

    /// Puts `view` into a graph's file, if the file is still of a version that `expected` says yes to.
    pub(crate) fn save_view(
        &self,
        slug: &Slug,
        view: &Value,
        expected: impl Fn(&ETag) -> bool,
    ) -> Result<ETag, StoreError> {
        let mutex = self.lock_of(slug);
        let _changing = lock(&mutex);
        let (path, content) = self.read(slug)?;
        let current = ETag::of(&content);
        if !expected(&current) {
            return Err(StoreError::Stale(current));
        }
        let saved = with_view(&path, &content, view)?;
        if saved == content {
            return Ok(current);
        }
        write_atomically(&path, |out| io::Write::write_all(out, &saved))?;
        Ok(ETag::of(&saved))
    }

    /// Adds a graph whose content, checked before, is in `from`.
    pub(crate) fn add(&self, slug: &Slug, from: &mut File, overwrite: bool) -> Result<ETag, StoreError> {
        let mutex = self.lock_of(slug);
        let changing = lock(&mutex);
        let path = self.place(slug, overwrite)?;
        from.rewind()?;
        write_atomically(&path, |out| io::copy(from, out))?;
        from.rewind()?;
        let etag = ETag::of_reader(from)?;
        drop(changing);
        self.renew_listing(None);
        Ok(etag)
    }

    /// Removes a graph, if it is of a version that `expected` says yes to.
    pub(crate) fn remove(&self, slug: &Slug, expected: impl Fn(&ETag) -> bool) -> Result<(), StoreError> {
        let mutex = self.lock_of(slug);
        let changing = lock(&mutex);
        let opened = self.open(slug)?;
        if !expected(&opened.etag) {
            return Err(StoreError::Stale(opened.etag));
        }
        // The name in the folder, not what a link there leads to.
        fs::remove_file(self.folder.join(Self::name(slug)))?;
        drop(changing);
        self.renew_listing(None);
        Ok(())
    }

    /// Gives a graph another name, in its file as well. The new file is whole before the old one goes.
    pub(crate) fn rename(&self, old: &Slug, new: &Slug) -> Result<ETag, StoreError> {
        if old == new {
            return Ok(self.open(old)?.etag);
        }
        // Always in the same order, so that two renames never wait for each other.
        let (first, second) = if old.as_str() < new.as_str() { (old, new) } else { (new, old) };
        let mutexes = [self.lock_of(first), self.lock_of(second)];
        let changing = mutexes.each_ref().map(|mutex| lock(mutex));
        let (path, content) = self.read(old)?;
        let renamed = with_slug(&path, &content, new)?;
        write_atomically(&self.place(new, false)?, |out| io::Write::write_all(out, &renamed))?;
        fs::remove_file(self.folder.join(Self::name(old)))?;
        drop(changing);
        self.renew_listing(Some((old, new)));
        Ok(ETag::of(&renamed))
    }

    fn read(&self, slug: &Slug) -> Result<(PathBuf, Vec<u8>), StoreError> {
        let path = self.find(slug)?.ok_or(StoreError::NotFound)?;
        match fs::read(&path) {
            Ok(content) => Ok((path, content)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(StoreError::NotFound),
            Err(e) => Err(e.into()),
        }
    }

    /// Where a new file of this name goes. Something else of that name (a folder, a link that leads out) is in the way.
    fn place(&self, slug: &Slug, overwrite: bool) -> Result<PathBuf, StoreError> {
        let path = self.folder.join(Self::name(slug));
        match (self.find(slug)?, fs::symlink_metadata(&path)) {
            (Some(found), _) if overwrite => Ok(found),
            (None, Err(e)) if e.kind() == io::ErrorKind::NotFound => Ok(path),
            _ => Err(StoreError::Exists),
        }
    }

    /// What changes of one graph wait for.
    fn lock_of(&self, slug: &Slug) -> Arc<Mutex<()>> {
        let mut locks = lock(&self.locks);
        // Nobody holds these: whoever comes next makes them anew.
        locks.retain(|_, held| Arc::strong_count(held) > 1);
        Arc::clone(locks.entry(slug.clone()).or_default())
    }

    /// Makes the list say what is in the folder. It only gives an order: that it cannot be written is no failure.
    fn renew_listing(&self, renamed: Option<(&Slug, &Slug)>) {
        let outcome = update_listing(&self.folder, |entries| {
            if let Some((old, new)) = renamed {
                let old =
                    entries.iter_mut().find(|e| e.get("slug").and_then(Value::as_str) == Some(old.as_str()));
                if let Some(Value::Object(entry)) = old {
                    entry.insert("slug".into(), new.as_str().into());
                }
            }
            let Ok(found) = self.heads() else { return };
            let mut left: HashMap<_, _> = found.into_iter().collect();
            entries.retain_mut(|entry| {
                let slug = entry.get("slug").and_then(Value::as_str).unwrap_or_default();
                match left.remove(slug) {
                    Some(metadata) => {
                        *entry = metadata;
                        true
                    }
                    None => false,
                }
            });
            let mut new: Vec<_> = left.into_iter().collect();
            new.sort_by(|a, b| a.0.cmp(&b.0));
            entries.extend(new.into_iter().map(|(_, metadata)| metadata));
        });
        if let Err(e) = outcome {
            tracing::warn!("{LISTING_FILE} is not brought up to date: {e}");
        }
    }

    /// Slug and metadata of all graphs, in no order.
    fn heads(&self) -> io::Result<Vec<(String, Value)>> {
        let entry = |listed: Listed| {
            Some((listed.slug.as_str().to_owned(), serde_json::to_value(&*listed.metadata).ok()?))
        };
        Ok(self.list()?.into_iter().filter_map(entry).collect())
    }
}
