//! What the machine must bring: a C++ compiler, Python with pip for downloads, room on the disk. All that is missing is
//! said at once, with how to get it.

use anyhow::{Result, bail};
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

/// Something that must be there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need<'a> {
    /// A C++ compiler: tch comes with C++ sources.
    Compiler,
    /// Python with pip, which knows the package registries that this machine is to use.
    Pip,
    /// So many bytes of room where this folder lies.
    Room(&'a Path, u64),
}

/// Checks all; an error lists each that is missing.
pub(super) fn check(needs: &[Need<'_>]) -> Result<()> {
    let missing: Vec<String> = needs.iter().filter_map(|need| missing(*need)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this machine lacks something:\n  - {}", missing.join("\n  - "))
}

fn missing(need: Need<'_>) -> Option<String> {
    match need {
        Need::Compiler => (!works(Command::new(compiler()).arg("--version"))).then(|| {
            format!(
                "a C++ compiler (`{}` does not run): Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++; \
                 or set CXX to one",
                compiler().to_string_lossy()
            )
        }),
        Need::Pip => match (works(Command::new("python3").arg("--version")), works(pip().arg("--version"))) {
            (_, true) => None,
            (true, false) => Some(
                "pip (`python3 -m pip` does not run): Debian, Ubuntu: apt-get install python3-pip; Fedora: dnf install \
                 python3-pip; others: python3 -m ensurepip"
                    .into(),
            ),
            (false, false) => Some(
                "Python 3 with pip, which fetches LibTorch: Debian, Ubuntu: apt-get install python3 python3-pip; Fedora: \
                 dnf install python3-pip. Not needed where LIBTORCH names a PyTorch 2.11"
                    .into(),
            ),
        },
        Need::Room(folder, needed) => {
            let free = room(folder)?;
            (free < needed).then(|| {
                let folder = folder.display();
                format!("room on the disk: {} needed below {folder}, {} free", gigabytes(needed), gigabytes(free))
            })
        }
    }
}

/// The compiler that the crate cc will choose.
pub(super) fn compiler() -> OsString {
    std::env::var_os("CXX").filter(|cxx| !cxx.is_empty()).unwrap_or_else(|| "c++".into())
}

/// Python's pip.
pub(super) fn pip() -> Command {
    let mut command = Command::new("python3");
    // The wheels go into a folder of ours, so it does not matter whether a virtual environment is active.
    command.args(["-m", "pip", "--disable-pip-version-check"]).env("PIP_REQUIRE_VIRTUALENV", "0");
    command
}

fn works(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Free bytes where a folder lies; `None` where `df` does not tell.
fn room(folder: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(folder).stdin(Stdio::null()).output().ok()?;
    parse_df(&String::from_utf8(output.stdout).ok()?)
}

/// The fourth column of the second line, in units of 1024 bytes.
fn parse_df(text: &str) -> Option<u64> {
    let kib: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    kib.checked_mul(1024)
}

fn gigabytes(bytes: u64) -> String {
    format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_room_is_read() {
        let text = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda 100 40 60 40% /\n";
        assert_eq!(parse_df(text), Some(60 * 1024));
        assert_eq!(parse_df("df: not found"), None);
        assert!(room(Path::new("/")).is_some());
    }

    #[test]
    fn all_that_is_missing_is_said_at_once() {
        let here = Path::new("/");
        let needs = [Need::Room(here, u64::MAX), Need::Room(here, 1), Need::Room(here, u64::MAX - 1)];
        let error = check(&needs).unwrap_err().to_string();
        assert_eq!(error.matches("18446744073.7 GB needed").count(), 2, "{error}");
        assert!(check(&[Need::Room(here, 1)]).is_ok());
    }
}
