//! A zip of stored entries whose sizes are known beforehand, so that the size of the whole is known before a byte is
//! written, and it can be written without going back.
//!
//! The form is that of PyTorch's own writer: data aligned by padding in an extra field, checksums in a descriptor behind
//! the data; long fields only where an entry or offset needs them. Not here: compression, and reading.

use std::io::{self, Write};

/// As PyTorch aligns, so that `torch.load(mmap=True)` can map tensors.
const ALIGNMENT: u64 = 64;
/// The id that PyTorch gives its padding, which readers skip.
const PADDING_ID: u16 = 0x4246;
const ZIP64_ID: u16 = 1;
/// From here on a number does not fit the short fields (the largest short number itself says "see the long field").
const LONG: u64 = u32::MAX as u64;

/// "The checksum follows the data."
const FLAGS: u16 = 1 << 3;
/// Midnight of 1 January 1980: two files of one graph are the same, byte by byte.
const DATE: u16 = 1 << 5 | 1;

/// The plan of a zip.
pub(super) struct StoredZip {
    entries: Vec<Entry>,
    central_at: u64,
    central_len: u64,
    long: u64,
}

struct Entry {
    name: String,
    size: u64,
    at: u64,
    padding: u64,
}

impl StoredZip {
    /// Plans a zip of entries with these names (few, short, ASCII) and sizes, in this order.
    pub(super) fn plan(entries: Vec<(String, u64)>) -> Self {
        Self::plan_with(entries, LONG)
    }

    fn plan_with(entries: Vec<(String, u64)>, long: u64) -> Self {
        let mut zip = Self { entries: Vec::new(), central_at: 0, central_len: 0, long };
        for (name, size) in entries {
            let mut entry = Entry { name, size, at: zip.central_at, padding: 0 };
            // The padding's own head is four bytes.
            let unpadded = entry.at + zip.local_header_len(&entry) + 4;
            entry.padding = unpadded.next_multiple_of(ALIGNMENT) - unpadded;
            let descriptor = if size >= long { 24 } else { 16 };
            zip.central_at = (unpadded + entry.padding).saturating_add(size).saturating_add(descriptor);
            zip.central_len += zip.central_header(&entry, 0).len() as u64;
            zip.entries.push(entry);
        }
        zip
    }

    /// How many bytes the zip has.
    pub(super) fn len(&self) -> u64 {
        self.central_at.saturating_add(self.central_len + self.end().len() as u64)
    }

    /// Writes the zip; `write` writes the data of one entry, given its number.
    ///
    /// # Errors
    /// Those of `out` and `write`, and where `write` writes more or less than planned.
    pub(super) fn write<W: Write>(
        &self,
        out: &mut W,
        mut write: impl FnMut(usize, &mut Checked<'_, W>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut central = Vec::new();
        for (number, entry) in self.entries.iter().enumerate() {
            out.write_all(&self.local_header(entry))?;
            let mut data = Checked { out, crc: crc32fast::Hasher::new(), written: 0 };
            write(number, &mut data)?;
            if data.written != entry.size {
                let what = format!("{} has {} bytes, planned were {}", entry.name, data.written, entry.size);
                return Err(io::Error::other(what));
            }
            let crc = data.crc.finalize();
            out.write_all(&self.descriptor(entry, crc))?;
            central.extend(self.central_header(entry, crc));
        }
        out.write_all(&central)?;
        out.write_all(&self.end())
    }

    fn is_long(&self, entry: &Entry) -> bool {
        entry.size >= self.long
    }

    /// Without the padding field.
    fn local_header_len(&self, entry: &Entry) -> u64 {
        30 + entry.name.len() as u64 + if self.is_long(entry) { 20 } else { 0 }
    }

    fn local_header(&self, entry: &Entry) -> Vec<u8> {
        let mut extra = Bytes::default();
        let mut short_size = 0;
        if self.is_long(entry) {
            short_size = u32::MAX;
            extra.u16(ZIP64_ID).u16(16).u64(entry.size).u64(entry.size);
        }
        extra.u16(PADDING_ID).u16(low16(entry.padding));
        extra.0.extend((0..entry.padding).map(|_| b'Z'));
        let mut head = Bytes::default();
        head.u32(0x0403_4b50).u16(self.version(entry)).u16(FLAGS).u16(0).u16(0).u16(DATE);
        head.u32(0).u32(short_size).u32(short_size).u16(low16(entry.name.len() as u64)).u16(extra.len16());
        head.0.extend(entry.name.bytes());
        head.0.extend(extra.0);
        head.0
    }

    fn descriptor(&self, entry: &Entry, crc: u32) -> Vec<u8> {
        let mut bytes = Bytes::default();
        bytes.u32(0x0807_4b50).u32(crc);
        if self.is_long(entry) {
            bytes.u64(entry.size).u64(entry.size);
        } else {
            bytes.u32(low32(entry.size)).u32(low32(entry.size));
        }
        bytes.0
    }

    fn central_header(&self, entry: &Entry, crc: u32) -> Vec<u8> {
        let mut extra = Bytes::default();
        let (mut size, mut at) = (low32(entry.size), low32(entry.at));
        if self.is_long(entry) || entry.at >= self.long {
            (size, at) = (u32::MAX, u32::MAX);
            extra.u16(ZIP64_ID).u16(24).u64(entry.size).u64(entry.size).u64(entry.at);
        }
        let version = self.version(entry);
        let mut head = Bytes::default();
        head.u32(0x0201_4b50).u16(version).u16(version).u16(FLAGS).u16(0).u16(0).u16(DATE);
        head.u32(crc).u32(size).u32(size).u16(low16(entry.name.len() as u64)).u16(extra.len16());
        head.u16(0).u16(0).u16(0).u32(0).u32(at);
        head.0.extend(entry.name.bytes());
        head.0.extend(extra.0);
        head.0
    }

    fn end(&self) -> Vec<u8> {
        let n = self.entries.len() as u64;
        let mut end = Bytes::default();
        let mut at = low32(self.central_at);
        if self.central_at >= self.long {
            at = u32::MAX;
            end.u32(0x0606_4b50).u64(44).u16(45).u16(45).u32(0).u32(0);
            end.u64(n).u64(n).u64(self.central_len).u64(self.central_at);
            end.u32(0x0706_4b50).u32(0).u64(self.central_at + self.central_len).u32(1);
        }
        end.u32(0x0605_4b50)
            .u16(0)
            .u16(0)
            .u16(low16(n))
            .u16(low16(n))
            .u32(low32(self.central_len))
            .u32(at)
            .u16(0);
        end.0
    }

    /// The release of the format that a reader must know: 4.5 has the long fields.
    fn version(&self, entry: &Entry) -> u16 {
        if self.is_long(entry) || entry.at >= self.long { 45 } else { 20 }
    }
}

/// The data of one entry on its way out: counted and summed up.
pub(super) struct Checked<'a, W> {
    out: &'a mut W,
    crc: crc32fast::Hasher,
    written: u64,
}

impl<W: Write> Write for Checked<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.crc.update(&bytes[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn len16(&self) -> u16 {
        low16(self.0.len() as u64)
    }
}

/// For numbers that are known to be short, or that a long field repeats.
fn low16(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

fn low32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Read};

    /// Long fields are needed beyond 4 GiB; a lower bound tests them with a few bytes.
    #[test]
    fn short_and_long_fields_read_back() {
        for long in [LONG, 100, 1] {
            let data: [&[u8]; 3] = [b"first", &[7; 300], b""];
            let entries =
                data.iter().enumerate().map(|(i, d)| (format!("folder/{i}"), d.len() as u64)).collect();
            let plan = StoredZip::plan_with(entries, long);
            let mut bytes = Vec::new();
            plan.write(&mut bytes, |i, out| out.write_all(data[i])).unwrap();
            assert_eq!(bytes.len() as u64, plan.len(), "long from {long}");

            let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
            for (i, expected) in data.iter().enumerate() {
                let mut entry = zip.by_name(&format!("folder/{i}")).unwrap();
                assert_eq!(entry.data_start().map(|at| at % ALIGNMENT), Some(0));
                let mut read = Vec::new();
                entry.read_to_end(&mut read).unwrap();
                assert_eq!(&read, expected);
            }
        }
    }

    #[test]
    fn an_entry_of_another_size_is_an_error() {
        let plan = StoredZip::plan(vec![("a".into(), 3)]);
        assert!(plan.write(&mut Vec::new(), |_, out| out.write_all(b"ab")).is_err());
    }
}
