//! Files that are there whole or not at all: written beside their place, synced, then renamed into it.
//!
//! After any failure (disk full, file size limit, a folder that is a file) nothing half-written is left and a file that
//! was there is untouched. The file size limit (`ulimit -f`) arrives as the error EFBIG only in a process that ignores
//! the signal SIGXFSZ; its default action ends the process, which is for the binary to change, not for a library. Not
//! here: locks between processes (see the listing of graphs).

use crate::FormatError;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Large blocks, since raw graphs are.
const BUFFER_BYTES: usize = 1 << 18;

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
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok((path.into(), None)),
        Err(e) => Err(FormatError::io(path, "write")(e)),
    }
}
