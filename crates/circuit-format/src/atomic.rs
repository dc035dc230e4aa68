//! Files that are there whole or not at all: written beside their place, synced, then renamed into it.
//!
//! After any failure (disk full, file size limit, a folder that is a file) nothing half-written is left and a file that
//! was there is untouched. The file size limit (`ulimit -f`) arrives as the error EFBIG only in a process that ignores
//! the signal SIGXFSZ; its default action ends the process, which is for the binary to change, not for a library. Not
//! here: locks between processes (see the listing of graphs).

use crate::FormatError;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Large blocks, since raw graphs are.
const BUFFER_BYTES: usize = 1 << 18;

/// How many links in a row are followed.
const MAX_LINKS: usize = 16;

/// Temporary files that are being written in this process.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the temporary files of all writes that are not finished. For a program that is told to stop (Ctrl-C) and is about to
/// end: whatever is still being written then fails.
pub fn remove_unfinished() {
    for path in std::mem::take(&mut *unfinished()) {
        let _ = fs::remove_file(path);
    }
}

/// Whether a file could be put at `path` later, so that long work is not begun in vain: nothing is there, or a regular file.
/// The folder is not looked at.
///
/// # Errors
/// If something else is there, or it cannot be seen.
pub fn check_destination(path: &Path) -> Result<(), FormatError> {
    destination(path).map(drop)
}

/// Writes a file through `write` so that readers see the old file or the whole new one, never a part.
///
/// A link is followed, and the permissions of a file that was there are kept. The folder must exist.
///
/// # Errors
/// If the file cannot be written, or `write` fails; either way `path` is as it was before.
pub fn write_atomically<T>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<T>,
) -> Result<T, FormatError> {
    let (place, permissions) = destination(path)?;
    let folder = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |source| FormatError::Io { path: path.into(), action: "write", source };

    let mut builder = tempfile::Builder::new();
    builder.prefix(".circuit-tracer-").suffix(".part");
    #[cfg(unix)]
    {
        // Temporary files are private by default; a graph is as readable as the user's umask says.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    // `tempfile` puts its own random path into the message, where the user's belongs: only the kind is kept.
    let temporary = builder.tempfile_in(folder).map_err(|e| failed(e.kind().into()))?;
    let _noted = Noted::new(temporary.path().into());
    if let Some(permissions) = permissions {
        temporary.as_file().set_permissions(permissions).map_err(failed)?;
    }
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, temporary.as_file());
    let result = write(&mut out).map_err(failed)?;
    out.flush().map_err(failed)?;
    drop(out);
    temporary.as_file().sync_all().map_err(failed)?;
    temporary.persist(&place).map_err(|e| failed(e.error))?;
    // The new file is whole and in place; a file system that cannot sync a folder changes nothing about that.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(result)
}

/// Keeps a temporary file in the list of unfinished ones.
struct Noted(PathBuf);

impl Noted {
    fn new(path: PathBuf) -> Self {
        unfinished().insert(path.clone());
        Self(path)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        unfinished().remove(&self.0);
    }
}

/// Where the file really goes, and the permissions of what is there. Devices, pipes and folders are no place for a
/// rename: it would put a file in their stead.
fn destination(path: &Path) -> Result<(PathBuf, Option<fs::Permissions>), FormatError> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => {
            let place = fs::canonicalize(path).map_err(FormatError::io(path, "write"))?;
            Ok((place, Some(found.permissions())))
        }
        Ok(found) => Err(FormatError::Unexpected {
            path: path.into(),
            what: "the place of the file".into(),
            expected: "a regular file or nothing".into(),
            found: if found.is_dir() { "a folder" } else { "a device or pipe" }.into(),
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok((end_of_links(path)?, None)),
        Err(e) => Err(FormatError::io(path, "write")(e)),
    }
}

/// Where a link without a file behind it leads; the path itself where it is no link.
fn end_of_links(path: &Path) -> Result<PathBuf, FormatError> {
    let mut place = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&place) {
            // A relative target is meant from the link's folder; an absolute one replaces it.
            Ok(target) => place = place.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return Ok(place),
        }
    }
    let too_many = io::Error::other("too many links in a row");
    Err(FormatError::io(path, "write")(too_many))
}
