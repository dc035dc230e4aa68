//! Lets MKL, with which LibTorch multiplies on x86-64, use AVX-512 on processors that are not Intel's.
//!
//! MKL asks for the maker of the processor before it asks what the processor can do, and gives others its code for AVX2: half the speed
//! where there is AVX-512 (docs/lab-notes/speed.md). No documented setting changes that (MKL_CBWR, MKL_ENABLE_INSTRUCTIONS). But the answer
//! comes from a function that is looked up by name like all of a shared library, so that a program's own comes before it; replacing
//! it is the usual remedy. Only the answer is replaced: which instructions there are, MKL finds out as ever. A LibTorch without MKL
//! never asks. Not here: any other choice of kernels.
#![allow(
    unsafe_code,
    reason = "a function of the name that MKL asks for, and the call of the one that it hides"
)]

use std::ffi::c_int;
use std::sync::OnceLock;

/// Whether MKL is to choose among all its kernels: where there is AVX-512. Else what it would have answered itself, so that nothing
/// changes on other processors.
// SAFETY: the name is MKL's; the signature is that of its own function, `int (void)`.
#[unsafe(no_mangle)]
extern "C" fn mkl_serv_intel_cpu_true() -> c_int {
    static ANSWER: OnceLock<c_int> = OnceLock::new();
    *ANSWER.get_or_init(|| if std::arch::is_x86_feature_detected!("avx512f") { 1 } else { its_own() })
}

fn its_own() -> c_int {
    // SAFETY: the name is NUL-ended; a function of this name is MKL's own, of this signature.
    unsafe {
        let hidden = libc::dlsym(libc::RTLD_NEXT, c"mkl_serv_intel_cpu_true".as_ptr());
        if hidden.is_null() {
            return 0;
        }
        std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> c_int>(hidden)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_answer_comes_before_mkls_own() {
        // SAFETY: the name is NUL-ended.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"mkl_serv_intel_cpu_true".as_ptr()) };
        assert_eq!(found as usize, mkl_serv_intel_cpu_true as *const () as usize);
        if std::arch::is_x86_feature_detected!("avx512f") {
            assert_eq!(mkl_serv_intel_cpu_true(), 1);
        } else {
            assert_eq!(mkl_serv_intel_cpu_true(), its_own());
        }
    }
}
