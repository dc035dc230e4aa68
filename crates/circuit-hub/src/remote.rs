//! Parts of files, read by range and kept nowhere: headers of weights, feature records.

use crate::net::About;
use crate::{Hub, HubError, Snapshot};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// What is read at once, so that a header and what stands behind it cost one request.
const BLOCK: u64 = 1 << 16;

/// Blocks that are remembered: the two ends of a file, mostly.
const BLOCKS: usize = 64;

impl Hub {
    /// The bytes of a range of a file: from the cache where it is there whole, else from the hub.
    ///
    /// # Errors
    /// If the file is not listed, ends before, or the hub refuses or cannot be asked.
    pub fn read(&self, snapshot: &Snapshot, file: &str, range: Range<u64>) -> Result<Vec<u8>, HubError> {
        let size = snapshot.file(file)?.size;
        let url = self.url(snapshot, file);
        if range.end > size || range.start > range.end {
            let reason = format!("bytes {}..{} of {size} are asked for", range.start, range.end);
            return Err(HubError::Answer { url, reason });
        }
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let n = range.end - range.start;
        let looked = self.look(snapshot, file)?;
        if looked.missing == 0 && looked.path.is_file() {
            let read = || {
                let mut bytes = vec![0; n as usize];
                let mut file = std::fs::File::open(&looked.path)?;
                file.seek(SeekFrom::Start(range.start))?;
                file.read_exact(&mut bytes).map(|()| bytes)
            };
            return read().map_err(HubError::io(&looked.path));
        }
        if self.config.offline || snapshot.from_cache {
            return Err(snapshot.no_file(file));
        }
        let about = About { repo: &snapshot.repo, revision: snapshot.revision.as_str(), path: file };
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        let response = self.get(&url, Some(&header), about)?;
        let whole = n == size && response.status() == 200;
        if response.status() != 206 && !whole {
            // Reading all of a large file for a few bytes of it is not what was asked for.
            return Err(HubError::NoRanges { url });
        }
        let mut bytes = Vec::new();
        let read = response.into_reader().take(n).read_to_end(&mut bytes);
        match read {
            Ok(_) if bytes.len() as u64 == n => Ok(bytes),
            Ok(_) => Err(HubError::Answer {
                url,
                reason: format!("{} bytes came, {n} were asked for", bytes.len()),
            }),
            Err(e) => Err(HubError::Answer { url, reason: e.to_string() }),
        }
    }

    /// A file to be read here and there.
    ///
    /// # Errors
    /// If the snapshot has no such file.
    pub fn open<'a>(&'a self, snapshot: &'a Snapshot, file: &'a str) -> Result<RemoteFile<'a>, HubError> {
        let size = snapshot.file(file)?.size;
        Ok(RemoteFile { hub: self, snapshot, file, size, at: 0, blocks: Vec::new() })
    }
}

/// A file of the hub that is read in blocks, as they are asked for.
#[derive(Debug)]
pub struct RemoteFile<'a> {
    hub: &'a Hub,
    snapshot: &'a Snapshot,
    file: &'a str,
    size: u64,
    at: u64,
    blocks: Vec<(u64, Vec<u8>)>,
}

impl RemoteFile<'_> {
    /// Its size.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Read for RemoteFile<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size || into.is_empty() {
            return Ok(0);
        }
        let number = self.at / BLOCK;
        let known = self.blocks.iter().position(|(n, _)| *n == number);
        let place = match known {
            Some(place) => place,
            None => {
                let start = number * BLOCK;
                let range = start..(start + BLOCK).min(self.size);
                let bytes = self.hub.read(self.snapshot, self.file, range).map_err(io::Error::other)?;
                if self.blocks.len() == BLOCKS {
                    self.blocks.remove(0);
                }
                self.blocks.push((number, bytes));
                self.blocks.len() - 1
            }
        };
        let from = &self.blocks[place].1[(self.at - number * BLOCK) as usize..];
        let n = from.len().min(into.len());
        into[..n].copy_from_slice(&from[..n]);
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for RemoteFile<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(n) => Some(n),
            SeekFrom::End(n) => self.size.checked_add_signed(n),
            SeekFrom::Current(n) => self.at.checked_add_signed(n),
        };
        self.at =
            place.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a place before the file"))?;
        Ok(self.at)
    }
}
