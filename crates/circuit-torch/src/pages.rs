//! Mapped files as memory: which addresses are maps, and giving their pages back.
//!
//! Pages of a mapped file that were touched count as memory of the process until the system wants them back. [`release`] gives
//! them back at once: what was read once is not held while the next thing is read. [`populate`] takes them at once. Not here: what
//! files hold.
#![allow(unsafe_code, reason = "mapping a file, and advice about its pages")]

use memmap2::{MmapMut, MmapOptions};
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tch::{Device, Tensor};

/// The maps that there are: first address and length.
static MAPS: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

fn maps() -> MutexGuard<'static, BTreeMap<usize, usize>> {
    // Nothing that panics is done while it is held, so what another thread left is whole.
    MAPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A private (copy-on-write) map of a file: even a stray in-place operation on a weight changes only this process's page, never
/// the file.
#[derive(Debug)]
pub(crate) struct MappedFile(MmapMut);

impl MappedFile {
    pub(crate) fn new(file: &File) -> std::io::Result<Self> {
        // Without a promise that every page could be copied: Linux refuses that for a file larger than the memory.
        // SAFETY: weights are read-only by everybody's convention; a file cut off while mapped ends the process with SIGBUS,
        // as it does for every program that maps weights. No reference to the bytes is handed out, only tensors.
        let map = unsafe { MmapOptions::new().no_reserve_swap().map_copy(file) }?;
        maps().insert(map.as_ptr() as usize, map.len());
        Ok(Self(map))
    }
}

impl Deref for MappedFile {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // Before the map itself goes, so that no other map can stand at the address yet.
        maps().remove(&(self.0.as_ptr() as usize));
    }
}

/// Gives the pages behind a tensor that lies in a mapped file back to the system; they are read again when they are used again,
/// most often from the system's cache. Does nothing to any other tensor.
///
/// What an operation in place wrote into a mapped tensor is forgotten.
pub fn release(tensor: &Tensor) {
    advise(tensor, Advice::Release);
}

/// Makes the pages behind a tensor that lies in a mapped file this process's at once, reading what is not in the system's cache: one
/// call instead of an interruption every few pages. Does nothing to any other tensor or one with
/// gaps, nor where the system has no such call.
pub fn populate(tensor: &Tensor) {
    // Between the numbers of a part of a matrix that is stored the other way round lies the rest of it.
    if tensor.is_contiguous() {
        advise(tensor, Advice::Populate);
    }
}

#[derive(Clone, Copy)]
enum Advice {
    Release,
    Populate,
}

/// Advice about the pages behind a tensor, if it lies in a mapped file.
fn advise(tensor: &Tensor, advice: Advice) {
    if tensor.device() != Device::Cpu || tensor.numel() == 0 {
        return;
    }
    let start = tensor.data_ptr() as usize;
    let (sizes, strides) = (tensor.size(), tensor.stride());
    let last = sizes.iter().zip(strides).map(|(size, stride)| (size - 1) * stride).sum::<i64>() as usize;
    let end = start + (last + 1) * tensor.kind().elt_size_in_bytes();
    // Reading takes its time: the list of maps must not wait for it. The tensor keeps the map alive.
    let first = match maps().range(..=start).next_back() {
        Some((&first, &len)) if end <= first + len => first,
        _ => return,
    };
    advise_pages(first, start, end, advice);
}

/// Advice about the whole pages around `start..end`, which lies in the map that begins at `first`.
#[cfg(target_os = "linux")]
fn advise_pages(first: usize, start: usize, end: usize, advice: Advice) {
    // SAFETY: takes a number, gives a number.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let start = (start / page * page).max(first);
    let advice = match advice {
        Advice::Release => libc::MADV_DONTNEED,
        Advice::Populate => libc::MADV_POPULATE_READ,
    };
    // SAFETY: the range lies in one of our maps (checked by the caller, who holds a tensor that keeps the map alive), whose pages
    // are the file's own: they come back with the same bytes. Maps begin at pages, and the system rounds the length up.
    unsafe { libc::madvise(start as *mut libc::c_void, end - start, advice) };
}

#[cfg(not(target_os = "linux"))]
fn advise_pages(_first: usize, _start: usize, _end: usize, _advice: Advice) {}

#[cfg(test)]
mod tests {
    use super::MappedFile;

    #[test]
    fn a_file_larger_than_the_memory_can_be_mapped() {
        let file = tempfile::tempfile().unwrap();
        // Takes no room: nothing is written but its length.
        file.set_len(1 << 42).unwrap();
        let map = MappedFile::new(&file).unwrap();
        assert_eq!((map.len(), map[(1 << 42) - 1]), (1 << 42, 0));
    }
}
