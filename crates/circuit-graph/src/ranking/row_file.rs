//! Rows on disk: an unnamed file to which rows are added, and from which pieces of them are read, by several threads at once.
//!
//! The file has no name, so that it is gone when the process ends, however it ends. It is never mapped: a disk that fails is an
//! error, not the end of the process. Not here: which rows are on disk, and what they mean.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use zerocopy::IntoBytes;

/// Rows that could not be kept on disk.
#[derive(Debug, thiserror::Error)]
#[error("an unnamed file for rows in {}: it cannot be {doing}: {source}", folder.display())]
pub struct RowFileError {
    /// The folder of the file, which has no name.
    pub folder: PathBuf,
    /// What was tried.
    pub doing: &'static str,
    /// What came of it.
    pub source: io::Error,
}

/// The file. Numbers lie in it as they do in memory: nobody else reads it.
#[derive(Debug)]
pub(super) struct RowFile {
    file: File,
    folder: PathBuf,
    len: u64,
}

impl RowFile {
    /// A new one in a folder.
    pub(super) fn create(folder: &Path) -> Result<Self, RowFileError> {
        match tempfile::tempfile_in(folder) {
            Ok(file) => Ok(Self { file, folder: folder.into(), len: 0 }),
            Err(source) => Err(RowFileError { folder: folder.into(), doing: "created", source }),
        }
    }

    /// Bytes that were written.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Adds a row; gives the place of its first byte.
    pub(super) fn append(&mut self, values: &[f32]) -> Result<u64, RowFileError> {
        let (start, bytes) = (self.len, values.as_bytes());
        write_all_at(&self.file, bytes, start).map_err(|source| self.error("written", source))?;
        self.len += bytes.len() as u64;
        Ok(start)
    }

    /// Fills `values` with the numbers from a byte on.
    pub(super) fn read(&self, start: u64, values: &mut [f32]) -> Result<(), RowFileError> {
        read_exact_at(&self.file, values.as_mut_bytes(), start).map_err(|source| self.error("read", source))
    }

    fn error(&self, doing: &'static str, source: io::Error) -> RowFileError {
        RowFileError { folder: self.folder.clone(), doing, source }
    }
}

#[cfg(unix)]
use unix::{read_exact_at, write_all_at};

#[cfg(unix)]
mod unix {
    //! Reads and writes that share no position, so that threads do not wait for each other.

    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    pub(super) fn write_all_at(file: &File, bytes: &[u8], start: u64) -> io::Result<()> {
        file.write_all_at(bytes, start)
    }

    pub(super) fn read_exact_at(file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
        file.read_exact_at(bytes, start)
    }
}

#[cfg(not(unix))]
use elsewhere::{read_exact_at, write_all_at};

#[cfg(not(unix))]
mod elsewhere {
    //! One position for all, and one thread at a time.

    use std::fs::File;
    use std::io::{self, Read, Seek, SeekFrom, Write};
    use std::sync::{Mutex, PoisonError};

    static TURN: Mutex<()> = Mutex::new(());

    pub(super) fn write_all_at(mut file: &File, bytes: &[u8], start: u64) -> io::Result<()> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))?;
        file.write_all(bytes)
    }

    pub(super) fn read_exact_at(mut file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_in_pieces_and_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = RowFile::create(dir.path()).unwrap();
        let numbers = [1.5f32, -0.0, f32::NAN, 1e-45, f32::MAX];
        assert_eq!((file.append(&numbers[..2]).unwrap(), file.append(&numbers[2..]).unwrap()), (0, 8));
        let mut found = [0.0; 4];
        file.read(4, &mut found).unwrap();
        assert_eq!(
            found.map(f32::to_bits),
            [numbers[1], numbers[2], numbers[3], numbers[4]].map(f32::to_bits)
        );
        let error = file.read(8, &mut found).unwrap_err();
        assert_eq!((error.doing, error.source.kind()), ("read", io::ErrorKind::UnexpectedEof));
        assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
        // Nobody sees it.
        assert_eq!((file.len(), std::fs::read_dir(dir.path()).unwrap().count()), (20, 0));
    }

    #[test]
    fn no_folder_is_an_error_that_names_it() {
        let error = RowFile::create(Path::new("/no/such/folder")).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder: it cannot be created"), "{error}");
    }

    /// A device on which every write fails for want of room.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error() {
        let file = File::options().write(true).open("/dev/full").unwrap();
        let mut file = RowFile { file, folder: "/dev".into(), len: 0 };
        let error = file.append(&[1.0]).unwrap_err();
        assert_eq!((error.doing, error.source.kind()), ("written", io::ErrorKind::StorageFull));
        assert_eq!(file.len(), 0);
    }
}
