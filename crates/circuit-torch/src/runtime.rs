//! What this process runs on: LibTorch, CUDA if it is there, threads, memory.
//!
//! CUDA arrives at run time. LibTorch's CUDA half is no dependency of our programs; it is loaded by name when the
//! program starts, if the machine has the driver and the library path has the library. Without them everything runs on
//! the CPU. Read [`parse_device`] first. Not here: which device is the default, and what is printed; the command line
//! decides both.
//!
//! Why before `main`: the first CUDA query of a process, wherever it stands (a CPU `backward` makes one too), makes
//! LibTorch remember for good what it finds, and the other crates call tch without passing through this one. A
//! once-only call at this crate's doors would come too late for them, without a word. It exists as well, for programs
//! whose linker dropped the early call.
#![allow(unsafe_code, reason = "loading a library by name, and the call before main that does it")]

use crate::{TorchError, shim};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use tch::Device;

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// A device that cannot be read.
    #[error("unknown device `{0}`; devices are `cpu`, `cuda` (the first GPU) and `cuda:N`")]
    UnknownDevice(String),
    /// CUDA was asked for and is not there.
    #[error("device `{asked}` was asked for, but CUDA cannot be used here: {status}")]
    NoCuda {
        /// The device.
        asked: String,
        /// What was tried, and what came of it.
        status: CudaStatus,
    },
    /// A GPU beyond those that are there.
    #[error(
        "device `{asked}` was asked for, but this machine has {devices} CUDA device(s), counted from cuda:0"
    )]
    NoSuchDevice {
        /// The device.
        asked: String,
        /// How many there are.
        devices: usize,
    },
    /// A number of threads that cannot be had.
    #[error("{0} threads were asked for; it must be between 1 and {max}", max = i32::MAX)]
    Threads(usize),
}

/// What became of loading CUDA.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CudaStatus {
    /// The machine has no NVIDIA driver (or this system is not Linux), so that nothing else was tried.
    NoDriver(String),
    /// The driver is there, LibTorch's CUDA half or a library that it needs is not.
    NoLibrary(String),
    /// The library is loaded; it sees so many devices (none, if the driver is too old or all are hidden).
    Loaded {
        /// The number of devices.
        devices: usize,
    },
}

impl CudaStatus {
    /// The number of devices that can be computed on.
    #[must_use]
    pub fn devices(&self) -> usize {
        match self {
            Self::Loaded { devices } => *devices,
            Self::NoDriver(_) | Self::NoLibrary(_) => 0,
        }
    }
}

impl fmt::Display for CudaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDriver(why) => write!(f, "no NVIDIA driver ({why})"),
            Self::NoLibrary(why) => write!(
                f,
                "an NVIDIA driver, but {CUDA_LIBRARY} does not load ({why}); put the `lib` folder of a full PyTorch \
                 2.11 on LD_LIBRARY_PATH, or run `cargo xtask bootstrap --cuda`"
            ),
            Self::Loaded { devices: 0 } => {
                write!(
                    f,
                    "{CUDA_LIBRARY} is loaded but sees no device (driver too old, or all devices hidden)"
                )
            }
            Self::Loaded { devices } => write!(f, "{CUDA_LIBRARY} is loaded and sees {devices} device(s)"),
        }
    }
}

const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// What loading came to, before anything is asked of CUDA itself.
type Load = Result<(), CudaStatus>;

/// Loads CUDA once per process; later calls only read the result.
fn load_cuda() -> &'static Load {
    static LOAD: OnceLock<Load> = OnceLock::new();
    LOAD.get_or_init(|| {
        // Half a second goes into loading LibTorch's CUDA half: spare it where no driver could use it.
        dlopen::global(c"libcuda.so.1").map_err(CudaStatus::NoDriver)?;
        dlopen::global(c"libtorch_cuda.so").map_err(CudaStatus::NoLibrary)
    })
}

#[cfg(target_os = "linux")]
mod dlopen {
    //! Loading a library for the whole process, for good.

    use std::ffi::CStr;

    /// Loads a library so that its symbols are seen by all others, or says why not.
    pub(super) fn global(name: &CStr) -> Result<(), String> {
        // SAFETY: the name is NUL-ended. The initialisers that run are those of the NVIDIA driver and of LibTorch, made to
        // be loaded so (Python does the same). The handle is never closed, so nothing loaded goes away.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_GLOBAL) };
        if handle.is_null() { Err(last_error()) } else { Ok(()) }
    }

    fn last_error() -> String {
        // SAFETY: dlerror returns null or a NUL-ended string that stays until this thread's next dl call; it is copied.
        unsafe {
            let message = libc::dlerror();
            if message.is_null() {
                return "no reason given".into();
            }
            std::ffi::CStr::from_ptr(message).to_string_lossy().into_owned()
        }
    }

    extern "C" fn before_main() {
        super::load_cuda();
    }

    #[used]
    // SAFETY: the section holds pointers to functions of this signature (extra arguments are ignored by the calling
    // convention), called once before main. This one uses no part of std that main's start would have to prepare.
    #[unsafe(link_section = ".init_array")]
    static BEFORE_MAIN: extern "C" fn() = before_main;
}

#[cfg(not(target_os = "linux"))]
mod dlopen {
    //! Where CUDA is not looked for.

    use std::ffi::CStr;

    pub(super) fn global(_name: &CStr) -> Result<(), String> {
        Err("CUDA is used on Linux only".into())
    }
}

/// Whether CUDA can be used, and if not, what was tried.
#[must_use]
pub fn cuda_status() -> CudaStatus {
    match load_cuda() {
        Err(status) => status.clone(),
        Ok(()) => CudaStatus::Loaded { devices: usize::try_from(tch::Cuda::device_count()).unwrap_or(0) },
    }
}

/// The device that a user names: `cpu`, `cuda` (which is `cuda:0`) or `cuda:N`.
///
/// # Errors
/// If it is none of these, or a GPU that is not there; the message says what was tried.
///
/// ```
/// use circuit_torch::runtime::parse_device;
/// assert_eq!(parse_device("cpu").unwrap(), tch::Device::Cpu);
/// assert!(parse_device("gpu").unwrap_err().to_string().contains("cuda:N"));
/// ```
pub fn parse_device(name: &str) -> Result<Device, RuntimeError> {
    match device_index(name)? {
        None => Ok(Device::Cpu),
        Some(index) => check_present(name, index, cuda_status()),
    }
}

/// `None` for the CPU, else the number of the GPU.
fn device_index(name: &str) -> Result<Option<usize>, RuntimeError> {
    let unknown = || RuntimeError::UnknownDevice(name.into());
    match name {
        "cpu" => Ok(None),
        "cuda" => Ok(Some(0)),
        _ => {
            let digits = name.strip_prefix("cuda:").ok_or_else(unknown)?;
            // `parse` alone would accept a sign.
            if !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(unknown());
            }
            digits.parse().map(Some).map_err(|_| unknown())
        }
    }
}

fn check_present(name: &str, index: usize, status: CudaStatus) -> Result<Device, RuntimeError> {
    match status.devices() {
        0 => Err(RuntimeError::NoCuda { asked: name.into(), status }),
        devices if index >= devices => Err(RuntimeError::NoSuchDevice { asked: name.into(), devices }),
        _ => Ok(Device::Cuda(index)),
    }
}

/// The version of the LibTorch that this process loaded, such as `2.11.0`.
#[must_use]
pub fn libtorch_version() -> String {
    let [major, minor, patch] = shim::loaded_version();
    format!("{major}.{minor}.{patch}")
}

/// How many threads an operation on the CPU may use.
#[must_use]
pub fn threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1)
}

/// Whether this processor multiplies numbers in bfloat16. On others LibTorch does it by way of fp32, which takes longer.
#[must_use]
pub fn has_bfloat16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("bf16");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// Sets how many threads an operation on the CPU may use.
///
/// # Errors
/// If the number is zero or absurd.
pub fn set_threads(threads: usize) -> Result<(), RuntimeError> {
    match i32::try_from(threads) {
        Ok(n) if n > 0 => {
            tch::set_num_threads(n);
            Ok(())
        }
        _ => Err(RuntimeError::Threads(threads)),
    }
}

/// Does independent jobs beside one another, one thread for each worker, in which LibTorch uses no further ones. A worker is what
/// a thread needs of its own. Results come to the caller's thread, in any order; `take` says whether to go on.
pub fn side_by_side<W: Send, J: Send, R: Send>(
    workers: &mut [W],
    jobs: Vec<J>,
    work: impl Fn(&mut W, J) -> R + Sync,
    mut take: impl FnMut(R) -> ControlFlow<()>,
) {
    let _before = ThreadsBefore(tch::get_num_threads());
    let jobs = Mutex::new(jobs.into_iter());
    let (results, done) = mpsc::sync_channel(workers.len());
    std::thread::scope(|scope| {
        let (jobs, work) = (&jobs, &work);
        for worker in workers {
            let results = results.clone();
            scope.spawn(move || {
                tch::set_num_threads(1);
                let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some(job) = next() {
                    if results.send(work(worker, job)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(results);
        // Leaving the loop closes the channel, and the workers stop.
        for result in done {
            if take(result).is_break() {
                break;
            }
        }
    });
}

/// Does something without LibTorch's further threads: after each of its parallel loops they keep their cores busy for some
/// milliseconds, waiting for the next, at the cost of whoever works there then.
pub fn on_one_thread<R>(work: impl FnOnce() -> R) -> R {
    let _before = ThreadsBefore(tch::get_num_threads());
    tch::set_num_threads(1);
    work()
}

/// Sets LibTorch's number of threads, one of the process for threads to come, to what it was; also after a panic.
struct ThreadsBefore(i32);

impl Drop for ThreadsBefore {
    fn drop(&mut self) {
        tch::set_num_threads(self.0);
    }
}

/// Memory of this process in bytes, as the system counts it: mapped weights count as far as they were touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessMemory {
    /// In use now.
    pub resident: u64,
    /// Of it, what was allocated; the rest are pages of mapped files, which the system can take back.
    pub allocated: u64,
    /// The most that was ever in use.
    pub peak: u64,
}

/// The memory of this process; `None` where the system does not tell (it does on Linux).
#[must_use]
pub fn process_memory() -> Option<ProcessMemory> {
    parse_process_memory(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Reads the three lines of `/proc/self/status`.
fn parse_process_memory(status: &str) -> Option<ProcessMemory> {
    let bytes = |key: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some(ProcessMemory { resident: bytes("VmRSS")?, allocated: bytes("RssAnon")?, peak: bytes("VmHWM")? })
}

/// Gives memory that was freed but is kept for reuse by the allocator back to the system, where it can (with glibc). For the
/// borders between parts of the work that need much.
pub fn trim() {
    // SAFETY: takes a number, and touches nothing that is in use.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Memory of a GPU in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// In this process's tensors now.
    pub allocated: u64,
    /// The most that was ever in this process's tensors.
    pub peak: u64,
    /// Not used by any process.
    pub free: u64,
    /// What the device has.
    pub total: u64,
}

/// The memory of a GPU; `None` for the CPU.
///
/// # Errors
/// If LibTorch cannot tell: no CUDA, or no such device.
pub fn device_memory(device: Device) -> Result<Option<DeviceMemory>, TorchError> {
    let Device::Cuda(index) = device else { return Ok(None) };
    let [allocated, peak, free, total] = shim::cuda_memory(index)?;
    Ok(Some(DeviceMemory { allocated, peak, free, total }))
}

/// Gives memory that LibTorch keeps for reuse on the GPUs back to the driver; does nothing without CUDA.
///
/// # Errors
/// If CUDA refuses.
pub fn empty_cuda_cache() -> Result<(), TorchError> {
    if cuda_status().devices() == 0 { Ok(()) } else { shim::cuda_empty_cache() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_exactly() {
        assert_eq!(device_index("cpu"), Ok(None));
        assert_eq!(device_index("cuda"), Ok(Some(0)));
        assert_eq!(device_index("cuda:11"), Ok(Some(11)));
        for wrong in [
            "",
            "CPU",
            "cuda:",
            "cuda:+1",
            "cuda:-1",
            "cuda:1 ",
            "cuda1",
            "cpu:0",
            "cuda:99999999999999999999",
        ] {
            assert_eq!(device_index(wrong), Err(RuntimeError::UnknownDevice(wrong.into())));
        }
    }

    #[test]
    fn a_missing_gpu_is_named_with_what_was_tried() {
        let none = CudaStatus::NoLibrary("libcudnn.so.9: not found".into());
        let message = check_present("cuda:0", 0, none).unwrap_err().to_string();
        for part in ["`cuda:0`", "libtorch_cuda.so", "libcudnn.so.9", "bootstrap --cuda", "LD_LIBRARY_PATH"] {
            assert!(message.contains(part), "{message}");
        }
        let two = || CudaStatus::Loaded { devices: 2 };
        assert_eq!(check_present("cuda:1", 1, two()), Ok(Device::Cuda(1)));
        let message = check_present("cuda:2", 2, two()).unwrap_err().to_string();
        assert!(message.contains("has 2 CUDA device(s)"), "{message}");
    }

    #[test]
    fn the_status_agrees_with_libtorch_and_with_the_devices_offered() {
        let status = cuda_status();
        assert_eq!(status.devices() > 0, tch::Cuda::is_available(), "{status}");
        assert_eq!(parse_device("cuda").is_ok(), status.devices() > 0);
        assert_eq!(parse_device("cpu"), Ok(Device::Cpu));
    }

    #[test]
    fn threads_are_set_and_nonsense_refused() {
        let before = threads();
        set_threads(1).unwrap();
        assert_eq!(threads(), 1);
        set_threads(before).unwrap();
        assert_eq!(set_threads(0), Err(RuntimeError::Threads(0)));
        assert_eq!(set_threads(usize::MAX), Err(RuntimeError::Threads(usize::MAX)));
    }

    #[test]
    fn memory_of_the_process_is_read() {
        let status = "Name:\tx\nVmPeak:\t  99 kB\nVmHWM:\t   30 kB\nVmRSS:\t    20 kB\nRssAnon:\t 12 kB\n";
        assert_eq!(
            parse_process_memory(status),
            Some(ProcessMemory { resident: 20 * 1024, allocated: 12 * 1024, peak: 30 * 1024 })
        );
        assert_eq!(parse_process_memory("VmHWM:\t30 kB\n"), None);
        if cfg!(target_os = "linux") {
            let before = process_memory().unwrap().peak;
            let block = std::hint::black_box(vec![1u8; 64 << 20]);
            let during = process_memory().unwrap();
            assert!(during.peak >= before && during.peak >= during.resident && during.peak > 64 << 20);
            assert!(during.allocated > 64 << 20 && during.allocated <= during.resident);
            drop(block);
        }
    }

    #[test]
    fn the_cpu_has_no_device_memory() {
        assert_eq!(device_memory(Device::Cpu).unwrap(), None);
    }

    #[test]
    fn the_version_is_that_of_the_headers() {
        assert!(libtorch_version().starts_with("2.11."), "{}", libtorch_version());
    }
}
