//! Tensors in memory-mapped safetensors (or `.npz`) files: opened, checked and handed out without a copy.
//!
//! [`TensorFile`] is one file, [`TensorStore`] a checkpoint of one or several. Nothing is read until a tensor's values
//! are used. Not here: what the tensors mean, and any other file layout.

use crate::headers::{START, too_short};
use crate::pages::MappedFile;
use crate::recognise::recognised;
use crate::{Stored, TorchError, npz, safetensors_header, shim};
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tch::{Kind, Tensor};

/// A tensor of a file.
pub(crate) struct Entry {
    /// `None` for a type that no tensor here has.
    pub(crate) kind: Option<Kind>,
    /// The type, as the file names it.
    pub(crate) dtype: String,
    pub(crate) shape: Vec<i64>,
    /// Whether the first index runs fastest.
    pub(crate) fortran: bool,
    pub(crate) data: Data,
}

impl Entry {
    /// The shape with the first index running slowest.
    fn stored_shape(&self) -> Vec<i64> {
        let mut shape = self.shape.clone();
        if self.fortran {
            shape.reverse();
        }
        shape
    }
}

/// What a tensor is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Numbers that are computed with.
    Numbers,
    /// Bytes, such as packed numbers.
    Bytes,
}

impl Wanted {
    fn accepts(self, kind: Kind) -> bool {
        (kind == Kind::Uint8) == (self == Self::Bytes)
    }

    /// The types that do, as safetensors names them.
    fn in_words(self) -> &'static str {
        match self {
            Self::Numbers => "F32, BF16, F16 or F64",
            Self::Bytes => "U8",
        }
    }
}

/// What a file's header says of a tensor.
#[derive(Clone, Copy, Debug)]
pub struct TensorHeader<'a> {
    /// The file.
    pub path: &'a Path,
    /// Its name.
    pub name: &'a str,
    /// The type of its numbers, as the file names it.
    pub dtype: &'a str,
    /// The same; `None` for a type that no tensor here has.
    pub kind: Option<Kind>,
    /// Its shape.
    pub shape: &'a [i64],
    /// How many numbers.
    pub numbers: u64,
    /// Their bytes, unpacked.
    pub bytes: u64,
    /// How they are reached.
    pub access: Access,
}

impl TensorHeader<'_> {
    /// Whether the tensor has this shape and holds what is wanted. Gives the type of its numbers.
    ///
    /// # Errors
    /// If it has another shape, or a type that is of no use.
    pub fn check(&self, expected: &[i64], wanted: Wanted) -> Result<Kind, TorchError> {
        let (path, name) = (self.path.to_owned(), self.name.to_owned());
        if self.shape != expected {
            return Err(TorchError::Shape {
                path,
                name,
                found: self.shape.to_vec(),
                expected: expected.to_vec(),
            });
        }
        let usable = self.kind.filter(|&kind| wanted.accepts(kind));
        let found = self.dtype.to_owned();
        usable.ok_or_else(|| TorchError::Dtype { path, name, found, expected: wanted.in_words() })
    }
}

/// The headers of a checkpoint's tensors by their names, to be judged before any value is read.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    place: &'a Path,
    tensors: BTreeMap<&'a str, TensorHeader<'a>>,
}

impl<'a> Headers<'a> {
    /// The headers of tensors in a file or folder, which messages about missing ones name.
    #[must_use]
    pub fn new(place: &'a Path, tensors: impl IntoIterator<Item = TensorHeader<'a>>) -> Self {
        Self { place, tensors: tensors.into_iter().map(|header| (header.name, header)).collect() }
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &TensorHeader<'a>> {
        self.tensors.values()
    }

    /// Whether there is a tensor of that name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The header of one tensor.
    ///
    /// # Errors
    /// If it is missing.
    pub fn get(&self, name: &str) -> Result<&TensorHeader<'a>, TorchError> {
        self.tensors.get(name).ok_or_else(|| TorchError::MissingTensor {
            path: self.place.into(),
            name: name.into(),
            present: sample(self.tensors.keys().copied()),
        })
    }
}

/// How the values of a tensor in a file are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Where the map has them.
    Mapped,
    /// Likewise, but a part must be copied to be computed with.
    Misaligned,
    /// They are unpacked into memory as a whole.
    Deflated,
}

/// Where a tensor's values are.
pub(crate) enum Data {
    /// In the mapped file, as they are.
    Mapped(Range<usize>),
    /// In an entry of an `.npz`, deflated, `len` bytes behind a header.
    Deflated { index: usize, header: usize, len: usize },
}

/// One mapped safetensors (or `.npz`) file.
pub struct TensorFile {
    path: PathBuf,
    map: Arc<MappedFile>,
    entries: BTreeMap<String, Entry>,
}

impl std::fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TensorFile").field("path", &self.path).field("tensors", &self.entries.len()).finish()
    }
}

impl TensorFile {
    /// Maps a file and checks its header: every tensor lies inside the file.
    ///
    /// # Errors
    /// If the file cannot be opened or mapped, or is no safetensors or `.npz` file.
    pub fn open(path: &Path) -> Result<Self, TorchError> {
        let io = |source| TorchError::Io { path: path.into(), source };
        let bad = |reason: String| TorchError::Header { path: path.into(), reason };
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        if len == 0 {
            return Err(bad(too_short(&[]))); // Nothing can be mapped.
        }
        let map = MappedFile::new(&file).map_err(io)?;
        let entries = match map.starts_with(npz::MAGIC) {
            true => npz::entries(path, &map)?,
            false => safetensors_entries(&map).map_err(bad)?,
        };
        Ok(Self { path: path.into(), map: Arc::new(map), entries })
    }

    /// Where the file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The shape of a tensor, `None` if there is none of that name.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[i64]> {
        self.entries.get(name).map(|e| e.shape.as_slice())
    }

    /// A tensor of exactly this shape, on the CPU, over the mapped bytes: no copy (unless the file misaligns it).
    ///
    /// # Errors
    /// If it is missing, has another shape, or a type of number that no computation here uses.
    pub fn tensor(&self, name: &str, expected: &[i64]) -> Result<Tensor, TorchError> {
        let (entry, kind) = self.checked(name, expected, Wanted::Numbers)?;
        self.view(entry, kind)
    }

    /// A tensor of bytes, such as packed numbers, of exactly this shape; otherwise as [`TensorFile::tensor`].
    ///
    /// # Errors
    /// If it is missing, has another shape, or holds anything but bytes.
    pub fn bytes(&self, name: &str, expected: &[i64]) -> Result<Tensor, TorchError> {
        let (entry, kind) = self.checked(name, expected, Wanted::Bytes)?;
        self.view(entry, kind)
    }

    /// The same as [`TensorFile::tensor`], to be read in parts: not even what the file misaligns is copied yet.
    ///
    /// # Errors
    /// As there.
    pub fn stored(&self, name: &str, expected: &[i64]) -> Result<Stored, TorchError> {
        let (entry, kind) = self.checked(name, expected, Wanted::Numbers)?;
        match &entry.data {
            Data::Mapped(range) if !self.is_aligned(range, kind) => {
                let mut sizes = entry.stored_shape();
                sizes.push(kind.elt_size_in_bytes() as i64);
                let bytes = over(Arc::clone(&self.map), range.clone(), &sizes, Kind::Uint8)?;
                let n = entry.shape.len() as i64;
                let order: Vec<i64> = (0..n).rev().chain([n]).collect();
                Ok(Stored::from_bytes(if entry.fortran { bytes.f_permute(order)? } else { bytes }, kind))
            }
            _ => Ok(self.view(entry, kind)?.into()),
        }
    }

    /// What the header says of each tensor, sorted by name.
    pub fn headers(&self) -> impl Iterator<Item = TensorHeader<'_>> {
        self.entries.iter().map(|(name, entry)| self.header(name, entry))
    }

    fn header<'a>(&'a self, name: &'a str, entry: &'a Entry) -> TensorHeader<'a> {
        let numbers = entry.shape.iter().fold(1, |n: u64, &size| n.saturating_mul(size as u64));
        let (bytes, access) = match (&entry.data, entry.kind) {
            (Data::Mapped(range), Some(kind)) if !self.is_aligned(range, kind) => {
                (range.len(), Access::Misaligned)
            }
            (Data::Mapped(range), _) => (range.len(), Access::Mapped),
            (Data::Deflated { len, .. }, _) => (*len, Access::Deflated),
        };
        let (dtype, shape) = (entry.dtype.as_str(), entry.shape.as_slice());
        let (path, kind) = (self.path.as_path(), entry.kind);
        TensorHeader { path, name, dtype, kind, shape, numbers, bytes: bytes as u64, access }
    }

    /// Length of the file in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    fn is_aligned(&self, range: &Range<usize>, kind: Kind) -> bool {
        (self.map.as_ptr() as usize + range.start).is_multiple_of(kind.elt_size_in_bytes())
    }

    fn checked(&self, name: &str, expected: &[i64], wanted: Wanted) -> Result<(&Entry, Kind), TorchError> {
        let (name, entry) = self.entries.get_key_value(name).ok_or_else(|| TorchError::MissingTensor {
            path: self.path.clone(),
            name: name.into(),
            present: sample(self.entries.keys().map(String::as_str)),
        })?;
        let kind = self.header(name, entry).check(expected, wanted)?;
        Ok((entry, kind))
    }

    /// The tensor of an entry.
    fn view(&self, entry: &Entry, kind: Kind) -> Result<Tensor, TorchError> {
        let stored = entry.stored_shape();
        let tensor = match &entry.data {
            Data::Mapped(range) => over(Arc::clone(&self.map), range.clone(), &stored, kind)?,
            Data::Deflated { index, header, len } => {
                let bytes = npz::inflate(&self.path, &self.map, *index, *header, *len)?;
                let all = 0..bytes.len();
                over(Arc::new(bytes), all, &stored, kind)?
            }
        };
        let turned: Vec<i64> = (0..entry.shape.len() as i64).rev().collect();
        Ok(if entry.fortran { tensor.f_permute(turned)? } else { tensor })
    }
}

/// A tensor over a part of its owner's bytes: no copy, unless they are misaligned.
fn over<O>(owner: Arc<O>, range: Range<usize>, stored: &[i64], kind: Kind) -> Result<Tensor, TorchError>
where
    O: Deref<Target = [u8]> + Send + Sync + 'static,
{
    let bytes = &owner[range];
    if bytes.is_empty() || !(bytes.as_ptr() as usize).is_multiple_of(kind.elt_size_in_bytes()) {
        return Ok(Tensor::f_from_data_size(bytes, stored, kind)?);
    }
    let (data, len) = (bytes.as_ptr(), bytes.len());
    shim::tensor_over(owner, data, len, stored, kind)
}

/// The tensors of a mapped safetensors file, all of which lie inside it.
fn safetensors_entries(map: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
    let &first = map.first_chunk().ok_or_else(|| too_short(map))?;
    let instead = |reason: String| {
        let start = &map[..map.len().min(START as usize)];
        recognised(start).map_or(reason, str::to_owned)
    };
    let header = safetensors_header::header_len(first, map.len() as u64).map_err(instead)? as usize;
    let (header, data) = map[8..].split_at(header);
    let base = 8 + header.len();
    let tensors = safetensors_header::read(header, data.len() as u64).map_err(instead)?;
    let entry = |tensor: safetensors_header::Listed| {
        // Within the map, so that these are no larger than its length.
        let data = Data::Mapped(base + tensor.start as usize..base + tensor.end as usize);
        let (kind, dtype) = (tensor.kind, tensor.dtype.to_owned());
        (tensor.name, Entry { kind, dtype, shape: tensor.shape, fortran: false, data })
    };
    Ok(tensors.into_iter().map(entry).collect())
}

/// The first few names, for messages.
fn sample<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let total = names.len();
    if total == 0 {
        return "none".into();
    }
    let mut text = names.take(6).collect::<Vec<_>>().join(", ");
    if total > 6 {
        text += &format!(", … ({total} in all)");
    }
    text
}

/// All tensors of a checkpoint that may be in several files.
#[derive(Debug)]
pub struct TensorStore {
    folder: PathBuf,
    files: Vec<TensorFile>,
    home: BTreeMap<String, usize>,
}

impl TensorStore {
    /// Opens the given files of a folder as one set of tensors.
    ///
    /// # Errors
    /// If a file cannot be read, or two of them hold a tensor of the same name.
    pub fn open(folder: &Path, files: &[PathBuf]) -> Result<Self, TorchError> {
        let files = files.iter().map(|f| TensorFile::open(&folder.join(f))).collect::<Result<Vec<_>, _>>()?;
        let mut home = BTreeMap::new();
        for (i, file) in files.iter().enumerate() {
            for name in file.names() {
                if let Some(other) = home.insert(name.to_owned(), i) {
                    let other = files[other].path.file_name().unwrap_or_default().display();
                    let reason = format!("tensor `{name}` is in {other} too, a file of the same checkpoint");
                    return Err(TorchError::Header { path: file.path.clone(), reason });
                }
            }
        }
        Ok(Self { folder: folder.into(), files, home })
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.home.keys().map(String::as_str)
    }

    /// Whether there is a tensor of that name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.home.contains_key(name)
    }

    /// The shape of a tensor, `None` if there is none of that name.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[i64]> {
        self.files[*self.home.get(name)?].shape(name)
    }

    /// A tensor of exactly this shape, as [`TensorFile::tensor`].
    ///
    /// # Errors
    /// As there; the message names the file that holds the tensor.
    pub fn tensor(&self, name: &str, expected: &[i64]) -> Result<Tensor, TorchError> {
        self.home_of(name)?.tensor(name, expected)
    }

    /// A tensor to be read in parts, as [`TensorFile::stored`].
    ///
    /// # Errors
    /// As there.
    pub fn stored(&self, name: &str, expected: &[i64]) -> Result<Stored, TorchError> {
        self.home_of(name)?.stored(name, expected)
    }

    /// What the headers say of each tensor, file by file.
    pub fn headers(&self) -> impl Iterator<Item = TensorHeader<'_>> {
        self.files.iter().flat_map(TensorFile::headers)
    }

    /// What the headers say of each tensor, by name.
    #[must_use]
    pub fn by_name(&self) -> Headers<'_> {
        Headers::new(self.place(), self.headers())
    }

    /// What the header says of one tensor.
    ///
    /// # Errors
    /// If it is missing.
    pub fn header(&self, name: &str) -> Result<TensorHeader<'_>, TorchError> {
        let file = self.home.get(name).map(|&home| &self.files[home]);
        let header = file.and_then(|file| file.headers().find(|header| header.name == name));
        header.ok_or_else(|| self.missing(name))
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &[TensorFile] {
        &self.files
    }

    /// A tensor of bytes of exactly this shape, as [`TensorFile::bytes`].
    ///
    /// # Errors
    /// As there.
    pub fn bytes(&self, name: &str, expected: &[i64]) -> Result<Tensor, TorchError> {
        self.home_of(name)?.bytes(name, expected)
    }

    /// The file that holds a tensor.
    fn home_of(&self, name: &str) -> Result<&TensorFile, TorchError> {
        self.home.get(name).map(|&home| &self.files[home]).ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> TorchError {
        let present = sample(self.home.keys().map(String::as_str));
        TorchError::MissingTensor { path: self.place().into(), name: name.into(), present }
    }

    /// Where a tensor would be looked for: the file, or the folder of several.
    #[must_use]
    pub fn place(&self) -> &Path {
        match self.files.as_slice() {
            [one] => one.path(),
            _ => &self.folder,
        }
    }

    /// The file that holds a tensor.
    #[must_use]
    pub fn file_of(&self, name: &str) -> Option<&Path> {
        self.home.get(name).map(|&file| self.files[file].path())
    }

    /// The folder the files lie in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
