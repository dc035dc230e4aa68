//! What memory and disk there are, and how much this process uses of the memory while it works.
//!
//! Not here: what the work will need (`circuit_attribution::budget`), and what to do where it does not fit (`budget.rs`).

use crate::failure::{Code, Failure};
use circuit_torch::runtime::{self, ProcessMemory};
use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The machine's memory in all and what can be had of it, in bytes; `None` where the system does not tell.
pub(crate) fn memory() -> (Option<u64>, Option<u64>) {
    let text = read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    (bytes("MemTotal"), bytes("MemAvailable"))
}

/// What this process may still allocate: what the machine has, or less where its control group allows less.
pub(crate) fn available() -> Option<u64> {
    [memory().1, group_room()].into_iter().flatten().min()
}

/// Room below the limits of this process's control groups, if there are any.
fn group_room() -> Option<u64> {
    let groups = read_to_string("/proc/self/cgroup").ok()?;
    let mut rooms = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, limit, usage, cache) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
            c if c.split(',').any(|c| c == "memory") => (
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            ),
            _ => continue,
        };
        // Within a container the path may be that of the host: then the group is the root of what is seen.
        let folder = PathBuf::from(root).join(path.trim_start_matches('/'));
        let folders = folder.ancestors().take_while(|f| f.starts_with(root));
        rooms.extend(folders.filter_map(|folder| room_below(folder, limit, usage, cache)));
    }
    rooms.into_iter().min()
}

/// What a group may still use. Files in the cache are given up before the limit is reached.
fn room_below(folder: &Path, limit: &str, usage: &str, cache: &str) -> Option<u64> {
    let number = |file: &str| -> Option<u64> { read_to_string(folder.join(file)).ok()?.trim().parse().ok() };
    let stat = read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = stat.lines().find_map(|l| l.strip_prefix(cache)?.trim().parse::<u64>().ok()).unwrap_or(0);
    Some(number(limit)?.saturating_sub(number(usage)?.saturating_sub(cached)))
}

/// Bytes free on the disk of a folder that may still have to be made.
pub(crate) fn free_disk(path: &Path) -> Option<u64> {
    let there = path.ancestors().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    let stat = there.into_iter().find_map(|p| rustix::fs::statvfs(p).ok())?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// A folder on a disk for what memory has no room for.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    pub(crate) folder: PathBuf,
    /// Bytes free there, where the system tells.
    pub(crate) free: Option<u64>,
}

/// The folder that the user names, or the first of the usual ones in which a file can be made and that is on a disk.
pub(crate) fn scratch(given: Option<&Path>) -> Result<Option<Scratch>, Failure> {
    let at = |folder: PathBuf| Scratch { free: free_disk(&folder), folder };
    if let Some(folder) = given {
        if let Err(error) = tempfile::tempfile_in(folder) {
            return Err(Failure::new(Code::Output, format!("--scratch-dir {}: {error}", folder.display())));
        }
        if is_memory(folder) {
            let message = format!("--scratch-dir {}: its file system is in memory", folder.display());
            return Err(Failure::usage(message).hint("name a folder on a disk"));
        }
        return Ok(Some(at(folder.into())));
    }
    let usual =
        [std::env::var_os("TMPDIR").map(PathBuf::from), Some("/var/tmp".into()), Some(std::env::temp_dir())];
    let fit = |folder: &PathBuf| !is_memory(folder) && tempfile::tempfile_in(folder).is_ok();
    Ok(usual.into_iter().flatten().find(fit).map(at))
}

/// Whether what is written to a folder stays in memory.
#[cfg(target_os = "linux")]
fn is_memory(folder: &Path) -> bool {
    /// The numbers of tmpfs and ramfs.
    const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    // Some platforms have the number as a signed one of 32 bits.
    rustix::fs::statfs(folder).is_ok_and(|stat| IN_MEMORY.contains(&(stat.f_type as u64 & 0xffff_ffff)))
}

#[cfg(not(target_os = "linux"))]
fn is_memory(_: &Path) -> bool {
    false
}

/// Looks every few milliseconds at what this process uses.
pub(crate) struct Watch {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    done: AtomicBool,
    /// The most since the last look of the owner.
    resident: AtomicU64,
    allocated: AtomicU64,
}

impl State {
    fn look(&self) {
        if let Some(ProcessMemory { resident, allocated, .. }) = runtime::process_memory() {
            self.resident.fetch_max(resident, Ordering::Relaxed);
            self.allocated.fetch_max(allocated, Ordering::Relaxed);
        }
    }
}

/// The most that a process held over some time, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// Allocated and mapped.
    pub(crate) resident: u64,
    /// Allocated.
    pub(crate) allocated: u64,
}

impl Watch {
    pub(crate) fn start() -> Self {
        let state = Arc::new(State::default());
        let watcher = Arc::clone(&state);
        std::thread::spawn(move || {
            while !watcher.done.load(Ordering::Relaxed) {
                watcher.look();
                std::thread::sleep(Duration::from_millis(4));
            }
        });
        Self { state }
    }

    /// The most since the last call.
    pub(crate) fn take(&self) -> Held {
        self.state.look();
        let [resident, allocated] =
            [&self.state.resident, &self.state.allocated].map(|most| most.swap(0, Ordering::Relaxed));
        Held { resident, allocated }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.state.done.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_s_room_is_its_limit_less_what_it_cannot_give_up() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).unwrap();
        let room = || room_below(dir.path(), "memory.max", "memory.current", "inactive_file");
        assert_eq!(room(), None);
        write("memory.max", "max\n");
        write("memory.current", "700\n");
        assert_eq!(room(), None, "no limit");
        write("memory.max", "1000\n");
        assert_eq!(room(), Some(300));
        write("memory.stat", "anon 100\ninactive_file 250\nactive_file 9\n");
        assert_eq!(room(), Some(550));
        write("memory.current", "5000\n");
        assert_eq!(room(), Some(0));
    }

    #[test]
    fn a_scratch_folder_is_on_a_disk_and_can_be_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |folder: &Path| scratch(Some(folder)).unwrap_err();
        assert_eq!(refused(Path::new("/no/such/folder")).code, Code::Output);
        if let Some(found) = scratch(None).unwrap() {
            assert!(!is_memory(&found.folder) && found.free.is_some_and(|free| free > 0));
        }
        // Where tests run in memory, that is refused.
        match is_memory(dir.path()) {
            true => assert_eq!(refused(dir.path()).code, Code::Usage),
            false => assert_eq!(scratch(Some(dir.path())).unwrap().unwrap().folder, dir.path()),
        }
        if read_to_string("/proc/mounts").is_ok_and(|mounts| mounts.contains(" /dev/shm tmpfs ")) {
            assert_eq!(refused(Path::new("/dev/shm")).code, Code::Usage);
        }
    }

    #[test]
    fn the_machine_tells_and_the_watch_sees() {
        let (Some(total), Some(free)) = memory() else { return };
        // Other programs give memory back at any time, so that two looks at what is free cannot be compared.
        assert!(free <= total && available().is_some_and(|room| room <= total));
        assert!(free_disk(Path::new("/no/such/folder")).is_some_and(|free| free > 0));
        let watch = Watch::start();
        let before = watch.take();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        let during = watch.take();
        drop(block);
        assert!(before.allocated <= before.resident && during.allocated > before.allocated + (50 << 20));
    }
}
