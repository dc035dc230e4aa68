//! Looking for a PyTorch that is already there, and telling whether it is one that we can build against.
//!
//! Only files are looked at: torch is never imported (five seconds, and another Python's torch may not even import).
//! Whether it loads, [`super::probe`] finds out.

use super::state::Source;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The PyTorch that tch is made for. A patch release may differ: it keeps the binary interface.
pub(super) const VERSION: &str = "2.11";

/// A PyTorch to build against: a folder with `include/` and `lib/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Torch {
    pub(super) root: PathBuf,
    pub(super) source: Source,
    pub(super) version: String,
    pub(super) has_cuda: bool,
}

/// The root that LIBTORCH names, unless that is our own view (cargo's configuration sets it where the user does not).
pub(super) fn named(view: &Path) -> Option<PathBuf> {
    let root = PathBuf::from(std::env::var_os("LIBTORCH").filter(|value| !value.is_empty())?);
    (!same(&root, view)).then_some(root)
}

/// Whether two paths mean the same folder, which need not exist.
fn same(a: &Path, b: &Path) -> bool {
    let full = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    full(a) == full(b)
}

/// The folder of the package `torch` in the active Python.
pub(super) fn python_package() -> Option<PathBuf> {
    const FIND: &str =
        "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0])";
    // From another folder than ours, whose names Python would find first.
    let mut python = Command::new("python3");
    let output = python.args(["-c", FIND]).current_dir("/").stdin(Stdio::null()).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !folder.trim().is_empty()).then(|| PathBuf::from(folder.trim()))
}

/// Checks that a folder is the root of a fitting PyTorch.
pub(super) fn inspect(root: &Path, source: Source) -> Result<Torch> {
    for file in ["include/torch/csrc/api/include/torch/torch.h", "lib/libtorch_cpu.so", "lib/libc10.so"] {
        ensure!(root.join(file).is_file(), "it has no {file}");
    }
    let version = version(root)?;
    let fits = version.strip_prefix(VERSION).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    ensure!(fits, "it is PyTorch {version}, and this program is made for {VERSION}");
    ensure!(has_new_abi(root), "it was built with the old C++ ABI (before C++11)");
    let has_cuda = root.join("lib/libtorch_cuda.so").is_file();
    Ok(Torch { root: root.into(), source, version, has_cuda })
}

/// The version, without what follows a `+`: from `version.py` of a wheel or `build-version` of a LibTorch archive.
fn version(root: &Path) -> Result<String> {
    let wheel = fs::read_to_string(root.join("version.py")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("__version__")?.split_once('='))?;
        Some(line.1.trim().trim_matches(['\'', '"']).to_owned())
    });
    let archive = || fs::read_to_string(root.join("build-version")).ok().map(|text| text.trim().to_owned());
    let version =
        wheel.or_else(archive).context("it has neither version.py nor build-version to tell its version")?;
    Ok(version.split('+').next().unwrap_or_default().to_owned())
}

/// Whether it was built with the C++11 ABI, as all wheels since 2.7 are; some older archives were not.
fn has_new_abi(root: &Path) -> bool {
    let config = fs::read_to_string(root.join("share/cmake/Torch/TorchConfig.cmake")).unwrap_or_default();
    !config.contains("_GLIBCXX_USE_CXX11_ABI=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(version: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in ["include/torch/csrc/api/include/torch/torch.h", "lib/libtorch_cpu.so", "lib/libc10.so"] {
            fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
            fs::write(dir.path().join(file), "").unwrap();
        }
        let python =
            format!("from typing import Optional\n__all__ = ['__version__']\n__version__ = '{version}'\n");
        fs::write(dir.path().join("version.py"), python).unwrap();
        dir
    }

    #[test]
    fn a_fitting_torch_is_taken() {
        let dir = fake("2.11.0+cu130");
        let torch = inspect(dir.path(), Source::Python).unwrap();
        assert_eq!((torch.version.as_str(), torch.has_cuda), ("2.11.0", false));
        fs::write(dir.path().join("lib/libtorch_cuda.so"), "").unwrap();
        assert!(inspect(dir.path(), Source::Python).unwrap().has_cuda);
    }

    #[test]
    fn an_archive_tells_its_version_in_another_file() {
        let dir = fake("x");
        fs::remove_file(dir.path().join("version.py")).unwrap();
        assert!(inspect(dir.path(), Source::Variable).unwrap_err().to_string().contains("build-version"));
        fs::write(dir.path().join("build-version"), "2.11.1+cpu\n").unwrap();
        assert_eq!(inspect(dir.path(), Source::Variable).unwrap().version, "2.11.1");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_reason() {
        let refuse = |dir: &tempfile::TempDir, word: &str| {
            let error = inspect(dir.path(), Source::Python).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        refuse(&fake("2.1.10"), "PyTorch 2.1.10");
        refuse(&fake("2.110.0"), "PyTorch 2.110.0");
        let dir = fake("2.11.0");
        let config = dir.path().join("share/cmake/Torch");
        fs::create_dir_all(&config).unwrap();
        let flags = "set(TORCH_CXX_FLAGS \"-D_GLIBCXX_USE_CXX11_ABI=0\")";
        fs::write(config.join("TorchConfig.cmake"), flags).unwrap();
        refuse(&dir, "old C++ ABI");
        fs::remove_file(dir.path().join("lib/libc10.so")).unwrap();
        refuse(&dir, "no lib/libc10.so");
    }

    #[test]
    fn the_same_folder_is_known_under_two_names() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("view")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("view"), dir.path().join("other")).unwrap();
        assert!(same(&dir.path().join("view"), &dir.path().join("other")));
        assert!(same(Path::new("/none/view"), Path::new("/none/view")));
        assert!(!same(&dir.path().join("view"), dir.path()));
    }
}
