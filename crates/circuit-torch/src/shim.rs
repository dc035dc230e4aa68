//! Safe faces of the C++ shim (cxx/shim.cpp): what LibTorch has and tch has not.
//!
//! [`tensor_over`] makes a tensor over memory that somebody else owns, [`inference_mode`] switches off the bookkeeping of
//! autograd, [`products_of_slices`] are many in one call and sum up in fp32, [`Copies`] are those between a GPU and the process that run
//! beside computation. No computation of its own.
#![allow(unsafe_code, reason = "the functions of cxx/shim.cpp and the pointers they take")]

use crate::TorchError;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use tch::{Kind, Tensor};

/// A C++ `at::Tensor`; tch calls the same type `C_tensor`.
type RawTensor = torch_sys::C_tensor;

/// A C++ `c10::InferenceMode`, seen only by address.
#[repr(C)]
struct RawInferenceMode([u8; 0]);

/// The shim's `circuit_copies`, seen only by address.
#[repr(C)]
struct RawCopies([u8; 0]);

unsafe extern "C" {
    fn circuit_tensor_over(
        out: *mut *mut RawTensor,
        data: *mut c_void,
        sizes: *const i64,
        rank: usize,
        scalar_type: c_int,
        owner: *mut c_void,
        release: extern "C" fn(*mut c_void),
    ) -> *mut c_char;
    fn circuit_inference_enter(out: *mut *mut RawInferenceMode) -> *mut c_char;
    fn circuit_inference_leave(mode: *mut RawInferenceMode);
    fn circuit_copies_new(out: *mut *mut RawCopies, device: c_int) -> *mut c_char;
    fn circuit_copies_delete(copies: *mut RawCopies);
    fn circuit_copies_start(
        copies: *mut RawCopies,
        to: *mut RawTensor,
        from: *const RawTensor,
    ) -> *mut c_char;
    fn circuit_copies_finish(copies: *mut RawCopies) -> *mut c_char;
    fn circuit_copies_before_computing(copies: *mut RawCopies) -> *mut c_char;
    fn circuit_products_of_slices(
        sums: *mut RawTensor,
        a: *const RawTensor,
        b: *const *const RawTensor,
        first_columns: *const i64,
        n: i64,
        beta: f32,
        done: *mut bool,
    ) -> *mut c_char;
    fn circuit_summed_products(
        out: *mut RawTensor,
        a: *const RawTensor,
        b: *const RawTensor,
        done: *mut bool,
    ) -> *mut c_char;
    fn circuit_cuda_memory(device: c_int, out: *mut u64) -> *mut c_char;
    fn circuit_cuda_empty_cache() -> *mut c_char;
    fn circuit_loaded_version() -> u64;
}

/// A CPU tensor over `len_bytes` bytes at `data`, which must lie inside the owner's slice: no copy is made, and the owner
/// lives until the last tensor that shares the memory is gone.
///
/// Operations that write in place write into the owner's memory: give it an owner whose memory may be written (a private
/// map, an owned vector that nobody else reads), or leave the tensor alone.
///
/// # Errors
/// If the bytes are not the owner's, their number does not fit the sizes, the address does not suit the kind of number,
/// the kind is none that can be viewed so, or LibTorch refuses.
pub fn tensor_over<O>(
    owner: Arc<O>,
    data: *const u8,
    len_bytes: usize,
    sizes: &[i64],
    kind: Kind,
) -> Result<Tensor, TorchError>
where
    O: Deref<Target = [u8]> + Send + Sync + 'static,
{
    let scalar_type = scalar_type(kind)?;
    let data = inside(&*owner, data, len_bytes)?;
    check_size(sizes, kind, len_bytes)?;
    if !(data as usize).is_multiple_of(kind.elt_size_in_bytes()) {
        return Err(refused(format!("{data:p} is no aligned address for {kind:?}")));
    }
    let owner = Arc::into_raw(owner).cast_mut().cast::<c_void>();
    let mut out = std::ptr::null_mut();
    // SAFETY: `data` lies in the slice of `*owner` and `sizes` covers no more than it (both checked above). The slice
    // stays in place: the Arc that `owner` stands for is given up only in `release`, and while it is held nobody can have
    // `&mut O`. `release` fits the type behind `owner` and runs exactly once, also when the call fails (shim.cpp).
    // Any thread may run it: O is Send and Sync.
    let error = unsafe {
        circuit_tensor_over(
            &raw mut out,
            data.cast_mut().cast(),
            sizes.as_ptr(),
            sizes.len(),
            scalar_type,
            owner,
            release::<O>,
        )
    };
    check(error)?;
    // SAFETY: without an error `out` is a tensor made by `new`, which from now on belongs to this Tensor alone.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// Gives up the Arc that [`tensor_over`] handed to LibTorch. A panic in the owner's drop ends the process, as it must at
/// a foreign frame.
extern "C" fn release<O>(owner: *mut c_void) {
    // SAFETY: `owner` comes from `Arc::<O>::into_raw` in `tensor_over`, and LibTorch calls this once.
    drop(unsafe { Arc::from_raw(owner.cast_const().cast::<O>()) });
}

/// The same address, taken from the owner's slice, so that the claim is checked and the pointer is the owner's.
fn inside<O: Deref<Target = [u8]>>(owner: &O, data: *const u8, len: usize) -> Result<*const u8, TorchError> {
    let bytes: &[u8] = owner;
    let start = (data as usize).checked_sub(bytes.as_ptr() as usize);
    let part = start.and_then(|start| bytes.get(start..start.checked_add(len)?));
    part.map(<[u8]>::as_ptr).ok_or_else(|| refused(format!("{len} bytes at {data:p} are not the owner's")))
}

fn check_size(sizes: &[i64], kind: Kind, len_bytes: usize) -> Result<(), TorchError> {
    let width = kind.elt_size_in_bytes();
    let needed = sizes.iter().try_fold(width, |n, &size| n.checked_mul(usize::try_from(size).ok()?));
    if needed == Some(len_bytes) {
        return Ok(());
    }
    Err(refused(format!("{len_bytes} bytes are not a tensor of {sizes:?} {kind:?}")))
}

/// The number of this kind in LibTorch's `ScalarType` (c10/core/ScalarType.h).
fn scalar_type(kind: Kind) -> Result<c_int, TorchError> {
    Ok(match kind {
        Kind::Uint8 => 0,
        Kind::Int8 => 1,
        Kind::Int16 => 2,
        Kind::Int => 3,
        Kind::Int64 => 4,
        Kind::Half => 5,
        Kind::Float => 6,
        Kind::Double => 7,
        Kind::Bool => 11,
        Kind::BFloat16 => 15,
        other => {
            return Err(refused(format!("a tensor of {other:?} over foreign memory is not provided for")));
        }
    })
}

fn refused(message: String) -> TorchError {
    TorchError::Libtorch(message)
}

/// Reads and frees the message of a shim function; null means that all went well.
fn check(error: *mut c_char) -> Result<(), TorchError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the shim returns either null or a NUL-ended string from `strdup`, which is ours to free, here and once.
    let message = unsafe {
        let message = CStr::from_ptr(error).to_string_lossy().into_owned();
        libc::free(error.cast());
        message
    };
    Err(TorchError::Libtorch(message))
}

/// Runs `compute` in LibTorch's inference mode: less bookkeeping per operation than `no_grad`.
///
/// Tensors made inside can never take part in autograd afterwards. The mode holds for this thread and ends with the
/// closure, also when it panics.
///
/// # Errors
/// If LibTorch cannot enter the mode. What the closure returns passes through.
pub fn inference_mode<T>(compute: impl FnOnce() -> T) -> Result<T, TorchError> {
    let _mode = InferenceMode::enter()?;
    Ok(compute())
}

/// Holds inference mode on this thread until dropped.
struct InferenceMode {
    raw: *mut RawInferenceMode,
    // The mode is a state of the thread: it must be left where it was entered.
    _same_thread: PhantomData<*const ()>,
}

impl InferenceMode {
    fn enter() -> Result<Self, TorchError> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: `raw` is a valid place for the result.
        check(unsafe { circuit_inference_enter(&raw mut raw) })?;
        Ok(Self { raw, _same_thread: PhantomData })
    }
}

impl Drop for InferenceMode {
    fn drop(&mut self) {
        // SAFETY: `raw` was made by `circuit_inference_enter` on this thread (the type is not Send) and is given up here.
        unsafe { circuit_inference_leave(self.raw) };
    }
}

/// For each slice of `a [m, i, k]` with the matrix of `b [k, n_i]` beside it, on a CPU: `sums[:, first_i ..] = a[:, i] b_i`, or `+=`,
/// from the columns on that `first_columns` has. Factors are in fp32 or bfloat16, `sums [m, n]` in fp32, so that nothing is rounded on
/// the way. One call for all, since on its way from call to BLAS LibTorch spends as long as a good part of a small product takes.
///
/// Says whether it was done: not for numbers of other types, nor where matrices lie neither by rows nor by columns, are empty or do
/// not fit, nor where LibTorch does not show its BLAS, or for bfloat16 is without MKL; then nothing is written.
///
/// # Errors
/// If LibTorch fails.
///
/// # Panics
/// If there are not as many columns as matrices.
pub fn products_of_slices(
    sums: &mut Tensor,
    a: &Tensor,
    b: &[&Tensor],
    first_columns: &[i64],
    add: bool,
) -> Result<bool, TorchError> {
    assert_eq!(b.len(), first_columns.len());
    let mut done = false;
    let beta = if add { 1.0 } else { 0.0 };
    let b: Vec<*const RawTensor> = b.iter().map(|b| b.as_ptr()).collect();
    // SAFETY: all are tensors that live through the call, as do the two lists, of one length; the shim checks type, device, shape and
    // strides of all before it computes, and writes into the first alone.
    check(unsafe {
        circuit_products_of_slices(
            sums.as_mut_ptr(),
            a.as_ptr(),
            b.as_ptr(),
            first_columns.as_ptr(),
            b.len() as i64,
            beta,
            &raw mut done,
        )
    })?;
    Ok(done)
}

/// `out[x, y] = Σ_c a[x, y, c] b[x, y, c]` on a CPU, for matrices in fp32: `out [x, y, m, n]`, `a [x, y, c, m, k]`, `b [x, y, c, k, n]`.
/// Each is taken where it lies, by rows or by columns, and none is copied: LibTorch's own products of many matrices want those of a
/// tensor at equal distances. Of `out` no two matrices may share a place.
///
/// Says whether it was done: not for other numbers, nor where matrices lie otherwise, are empty or do not fit, nor where LibTorch does
/// not show its BLAS; then nothing is written.
///
/// # Errors
/// If LibTorch fails.
pub fn summed_products(out: &mut Tensor, a: &Tensor, b: &Tensor) -> Result<bool, TorchError> {
    let mut done = false;
    // SAFETY: the three are tensors that live through the call; the shim checks type, device, shape and strides of all before it
    // computes, and writes into the first alone.
    check(unsafe { circuit_summed_products(out.as_mut_ptr(), a.as_ptr(), b.as_ptr(), &raw mut done) })?;
    Ok(done)
}

/// A stream of a GPU on which copies run while the GPU computes something else.
///
/// Streams belong to a device, not to a thread: a value may be sent on, and is used by one thread at a time.
pub(crate) struct Copies(*mut RawCopies);

// SAFETY: c10's streams and events may be used from any thread, one at a time (methods that change them take `&mut self`).
unsafe impl Send for Copies {}

impl Copies {
    /// A stream of this CUDA device.
    pub(crate) fn new(device: usize) -> Result<Self, TorchError> {
        let device = c_int::try_from(device).map_err(|e| refused(format!("device {device}: {e}")))?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: `raw` is a valid place for the result.
        check(unsafe { circuit_copies_new(&raw mut raw, device) })?;
        Ok(Self(raw))
    }

    /// Starts to copy, once the device has done what it was asked for before. Both tensors must stay as they are until
    /// [`Copies::finish`]; where one lies in memory that is not pinned, the copy is done before this returns.
    pub(crate) fn start(&mut self, to: &mut Tensor, from: &Tensor) -> Result<(), TorchError> {
        // SAFETY: all three pointers are those of living objects, and the shim keeps none of them.
        check(unsafe { circuit_copies_start(self.0, to.as_mut_ptr(), from.as_ptr()) })
    }

    /// Waits until the last copy is done; not for what the device was asked for since.
    pub(crate) fn finish(&mut self) -> Result<(), TorchError> {
        // SAFETY: a living object.
        check(unsafe { circuit_copies_finish(self.0) })
    }

    /// Lets what the device is asked for from now on wait until the last copy is done.
    pub(crate) fn before_computing(&mut self) -> Result<(), TorchError> {
        // SAFETY: a living object.
        check(unsafe { circuit_copies_before_computing(self.0) })
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        // A copy under way would write into memory that is given up next.
        let _ = self.finish();
        // SAFETY: made by `circuit_copies_new`, and given up here.
        unsafe { circuit_copies_delete(self.0) };
    }
}

/// Memory of a CUDA device, in bytes: in tensors now, in tensors at the highest, free, in all.
pub(crate) fn cuda_memory(device: usize) -> Result<[u64; 4], TorchError> {
    let device = c_int::try_from(device).map_err(|e| refused(format!("device {device}: {e}")))?;
    let mut out = [0; 4];
    // SAFETY: the shim writes exactly four numbers.
    check(unsafe { circuit_cuda_memory(device, out.as_mut_ptr()) })?;
    Ok(out)
}

/// Gives cached, unused memory of the CUDA devices back to the driver.
pub(crate) fn cuda_empty_cache() -> Result<(), TorchError> {
    // SAFETY: takes nothing.
    check(unsafe { circuit_cuda_empty_cache() })
}

/// Major, minor and patch number of the LibTorch that is loaded (not: that was compiled against).
pub(crate) fn loaded_version() -> [u8; 3] {
    // SAFETY: takes nothing and cannot fail.
    let [major, minor, patch, ..] = unsafe { circuit_loaded_version() }.to_be_bytes();
    [major, minor, patch]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Sixteen aligned bytes that count how often they were dropped.
    struct Counted {
        words: [u64; 2],
        drops: Arc<AtomicUsize>,
    }

    impl Deref for Counted {
        type Target = [u8];
        fn deref(&self) -> &[u8] {
            // SAFETY: two u64 are sixteen initialised bytes, and u8 needs no alignment.
            unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), 16) }
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.drops.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn counted(values: [f64; 2]) -> (Arc<Counted>, Arc<AtomicUsize>) {
        let drops = Arc::new(AtomicUsize::new(0));
        (Arc::new(Counted { words: values.map(f64::to_bits), drops: Arc::clone(&drops) }), drops)
    }

    #[test]
    fn the_tensor_outlives_the_local_owner_without_a_copy() {
        let (owner, drops) = counted([1.5, -2.5]);
        let data = owner.as_ptr();
        let tensor = tensor_over(owner, data, 16, &[2], Kind::Double).unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 0);
        assert_eq!(tensor.data_ptr().cast_const().cast::<u8>(), data);
        assert_eq!(Vec::<f64>::try_from(&tensor).unwrap(), [1.5, -2.5]);
    }

    #[test]
    fn the_owner_goes_with_the_last_tensor() {
        let (owner, drops) = counted([1.0, 2.0]);
        let data = owner.as_ptr();
        let tensor = tensor_over(owner, data, 16, &[2], Kind::Double).unwrap();
        let view = tensor.get(1);
        drop(tensor);
        assert_eq!(drops.load(Ordering::SeqCst), 0, "a view still uses the memory");
        assert_eq!(f64::try_from(&view).unwrap(), 2.0);
        drop(view);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn the_owner_may_go_on_another_thread() {
        let (owner, drops) = counted([1.0, 2.0]);
        let data = owner.as_ptr();
        let tensor = tensor_over(owner, data, 16, &[2], Kind::Double).unwrap();
        std::thread::spawn(move || drop(tensor)).join().unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_the_owner_is_freed() {
        let (owner, drops) = counted([0.0, 0.0]);
        let data = owner.as_ptr();
        let refuse = |data, len, sizes: &[i64], kind, word: &str| {
            let error = tensor_over(Arc::clone(&owner), data, len, sizes, kind).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        refuse(data, 16, &[3], Kind::Double, "16 bytes are not a tensor");
        refuse(data, 16, &[i64::MAX, 4], Kind::Double, "16 bytes are not a tensor");
        refuse(data, 16, &[-2, -1], Kind::Double, "16 bytes are not a tensor");
        refuse(data, 24, &[3], Kind::Double, "not the owner's");
        refuse(data.wrapping_add(8), 16, &[2], Kind::Double, "not the owner's");
        refuse(data.wrapping_sub(8), 16, &[2], Kind::Double, "not the owner's");
        refuse(data.wrapping_add(1), 8, &[1], Kind::Double, "aligned");
        refuse(data, 16, &[2], Kind::ComplexFloat, "not provided for");
        drop(owner);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_exception_of_libtorch_becomes_an_error() {
        // Without a CUDA library the allocator is not there; with one, this device is not.
        let error = cuda_memory(120).unwrap_err().to_string();
        assert!(error.starts_with("LibTorch: "), "{error}");
    }

    #[test]
    fn products_of_slices_stand_side_by_side_and_are_summed_up_in_fp32() {
        for kind in [Kind::BFloat16, Kind::Float] {
            let random = |shape: &[i64]| Tensor::randn(shape, (kind, tch::Device::Cpu));
            let a = random(&[7, 3, 40]);
            let b = [random(&[40, 9]), random(&[40, 1]), random(&[40, 5])];
            let first = [2, 11, 20];
            // By rows and by columns, with gaps between them.
            let wide = Tensor::zeros([7, 4, 60], (kind, tch::Device::Cpu));
            wide.narrow(1, 0, 3).narrow(2, 10, 40).copy_(&a);
            let by_slice = a.transpose(0, 1).contiguous().transpose(0, 1);
            let by_column = a.permute([1, 2, 0]).contiguous().permute([2, 0, 1]);
            for a in [a.shallow_clone(), by_slice, by_column, wide.narrow(1, 0, 3).narrow(2, 10, 40)] {
                for transposed in [false, true] {
                    let b =
                        b.each_ref().map(|b| if transposed { b.tr().contiguous().tr() } else { b.copy() });
                    let all = Tensor::ones([7, 40], (Kind::Float, tch::Device::Cpu));
                    let expected = all.to_kind(Kind::Double);
                    for (add, before) in [(true, 1.0), (false, 0.0)] {
                        for ((slice, b), first) in (0..).zip(&b).zip(first) {
                            let product =
                                a.select(1, slice).to_kind(Kind::Double).matmul(&b.to_kind(Kind::Double));
                            expected.narrow(1, first, b.size()[1]).copy_(&(product + before));
                        }
                        let b = b.each_ref();
                        assert!(products_of_slices(&mut all.narrow(1, 0, 30), &a, &b, &first, add).unwrap());
                        let difference =
                            (all.to_kind(Kind::Double) - &expected).abs().max().double_value(&[]);
                        assert!(difference < 1e-4, "{kind:?}, {add}: {difference}");
                    }
                }
            }
            // One row, one column, one number between.
            for (m, k, n) in [(1, 40, 9), (7, 40, 1), (7, 1, 9), (1, 1, 1)] {
                let (a, b) = (a.narrow(0, 0, m).narrow(2, 0, k), b[0].narrow(0, 0, k).narrow(1, 0, n));
                let mut sum = Tensor::zeros([m, n], (Kind::Float, tch::Device::Cpu));
                assert!(products_of_slices(&mut sum, &a.narrow(1, 0, 1), &[&b], &[0], false).unwrap());
                let expected = a.select(1, 0).to_kind(Kind::Double).matmul(&b.to_kind(Kind::Double));
                assert!((sum.to_kind(Kind::Double) - expected).abs().max().double_value(&[]) < 1e-4);
            }
        }
    }

    #[test]
    fn products_of_other_matrices_are_left_undone() {
        let matrix = |shape: &[i64], kind| Tensor::ones(shape, (kind, tch::Device::Cpu));
        let undone = |sum: &Tensor, a: &Tensor, b: &[&Tensor], first: &[i64]| {
            let before = sum.copy();
            assert!(!products_of_slices(&mut sum.shallow_clone(), a, b, first, true).unwrap());
            assert_eq!(*sum, before);
        };
        for (kind, other) in [(Kind::BFloat16, Kind::Float), (Kind::Float, Kind::BFloat16)] {
            let (a, b) = (matrix(&[4, 2, 6], kind), matrix(&[6, 5], kind));
            let sum = matrix(&[4, 10], Kind::Float);
            undone(&sum, &matrix(&[4, 2, 6], other), &[&b, &b], &[0, 5]);
            undone(&sum, &a, &[&b, &matrix(&[6, 5], other)], &[0, 5]);
            undone(&sum, &a, &[&b, &matrix(&[5, 5], kind)], &[0, 5]);
            undone(&sum, &a, &[&b, &b], &[0, 6]);
            undone(&sum, &a, &[&b, &b], &[0, -1]);
            undone(&sum, &a, &[&b, &b], &[0, i64::MAX]);
            undone(&sum, &matrix(&[4, 3, 6], kind), &[&b, &b], &[0, 5]);
            undone(&sum, &matrix(&[4, 1, 6], kind), &[&b, &b], &[0, 5]);
            undone(&sum, &a.narrow(0, 0, 3), &[&b, &b], &[0, 5]);
            undone(&sum, &a.select(1, 0), &[&b, &b], &[0, 5]);
            undone(&sum, &matrix(&[1, 2, 6], kind).expand([4, 2, 6], false), &[&b, &b], &[0, 5]);
            undone(&sum, &matrix(&[4, 2, 12], kind).slice(2, 0, 12, 2), &[&b, &b], &[0, 5]);
            undone(&matrix(&[10, 4], Kind::Float).tr(), &a, &[&b, &b], &[0, 5]);
            undone(&matrix(&[4, 10], Kind::Double), &a, &[&b, &b], &[0, 5]);
            undone(&matrix(&[0, 10], Kind::Float), &a.narrow(0, 0, 0), &[&b, &b], &[0, 5]);
            undone(&sum, &a, &[&b, &b.narrow(1, 0, 0)], &[0, 5]);
        }
        let double = matrix(&[4, 2, 6], Kind::Double);
        let b = matrix(&[6, 5], Kind::Double);
        undone(&matrix(&[4, 10], Kind::Double), &double, &[&b, &b], &[0, 5]);
    }

    #[test]
    fn products_are_summed_up_where_they_lie() {
        let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, tch::Device::Cpu));
        let (a, b) = (random(&[3, 2, 5, 4, 6]), random(&[3, 2, 5, 6, 7]));
        let expected = a.matmul(&b).sum_dim_intlist(2, false, Kind::Float);
        let near = |found: &Tensor, expected: &Tensor| {
            let difference = (found - expected).abs().max().double_value(&[]);
            assert!(difference < 1e-4, "{difference}");
        };
        let transposed = |t: &Tensor| t.transpose(3, 4).contiguous().transpose(3, 4);
        let reordered = |t: &Tensor| t.permute([3, 1, 2, 0, 4]).contiguous().permute([3, 1, 2, 0, 4]);
        for a in [a.shallow_clone(), transposed(&a), reordered(&a)] {
            for b in [b.shallow_clone(), transposed(&b), reordered(&b)] {
                let all = Tensor::ones([3, 4, 2, 9], (Kind::Float, tch::Device::Cpu));
                let mut out = all.narrow(3, 1, 7).permute([0, 2, 1, 3]);
                assert!(summed_products(&mut out, &a, &b).unwrap());
                near(&out, &expected);
                for outside in [all.narrow(3, 0, 1), all.narrow(3, 8, 1)] {
                    assert_eq!(outside, outside.ones_like());
                }
            }
        }
        // One factor for all.
        let (one, mut out) =
            (a.narrow(0, 1, 1).expand_as(&a), Tensor::zeros([3, 2, 4, 7], (Kind::Float, tch::Device::Cpu)));
        assert!(summed_products(&mut out, &one, &b).unwrap());
        near(&out, &one.matmul(&b).sum_dim_intlist(2, false, Kind::Float));

        let before = out.copy();
        let mut undone = |a: &Tensor, b: &Tensor| assert!(!summed_products(&mut out, a, b).unwrap());
        undone(&a.to_kind(Kind::Double), &b);
        undone(&a, &b.to_kind(Kind::BFloat16));
        undone(&a.get(0), &b);
        undone(&a.narrow(0, 0, 2), &b);
        undone(&a.narrow(2, 0, 4), &b);
        undone(&a.narrow(4, 0, 5), &b);
        undone(&a.narrow(3, 0, 3), &b);
        undone(&a, &b.narrow(4, 0, 6));
        undone(&a.narrow(2, 0, 0), &b.narrow(2, 0, 0));
        undone(&random(&[3, 2, 5, 4, 12]).slice(4, 0, 12, 2), &b);
        assert_eq!(out, before);
    }

    #[test]
    fn copies_need_a_gpu_and_say_so() {
        let error = Copies::new(120).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("LibTorch: "), "{error}");
    }

    #[test]
    fn inference_mode_ends_with_the_closure_even_after_a_panic() {
        let inside = inference_mode(|| Tensor::ones([1], (Kind::Float, tch::Device::Cpu))).unwrap();
        assert!(inside.is_inference());
        let panicked = std::panic::catch_unwind(|| inference_mode(|| panic!("on purpose")));
        assert!(panicked.is_err());
        assert!(!Tensor::ones([1], (Kind::Float, tch::Device::Cpu)).is_inference());
    }

    #[test]
    fn the_loaded_version_is_the_one_tch_was_made_for() {
        assert_eq!(loaded_version()[..2], [2, 11]);
    }
}
