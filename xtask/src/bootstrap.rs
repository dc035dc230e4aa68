//! `cargo xtask bootstrap`: from nothing, or from anything half-done, to a LibTorch that cargo finds.
//!
//! What lies in `.libtorch/`:
//!
//! - `view/`   the root that cargo's configuration names: links to the headers and the few libraries to link
//! - `site/`   our own wheels, unpacked side by side as pip would, where no other PyTorch was found
//! - `state.json`  what was chosen, and every file of ours with its size and checksum
//! - `lock`, `tmp/`, `wheels/`  held or filled only while a bootstrap runs
//!
//! This module decides; [`find`] looks for a PyTorch, [`wheels`] installs one, [`state`] remembers and finds damage,
//! [`view`] makes the links, [`needs`] says what the machine lacks, [`probe`] compiles and loads for real.

mod find;
mod needs;
mod probe;
mod state;
mod view;
mod wheels;

use crate::shell;
use anyhow::{Context, Result, bail, ensure};
use find::Torch;
use state::{Set, Source, State};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// What the command line asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    cuda: bool,
    check: bool,
}

impl Options {
    /// Reads `--cuda` and `--check`.
    pub(crate) fn parse(args: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        for arg in args {
            match *arg {
                "--cuda" => options.cuda = true,
                "--check" => options.check = true,
                other => bail!("`{other}` is not understood; bootstrap takes --cuda and --check"),
            }
        }
        Ok(options)
    }

    fn set(self) -> Set {
        if self.cuda { Set::Cuda } else { Set::Cpu }
    }
}

/// Makes LibTorch available to cargo, or says what is missing.
pub(crate) fn run(options: Options) -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "bootstrap knows Linux on x86-64 only so far, and this is {} on {}. The crates circuit-index, circuit-graph and \
         circuit-format build and pass their tests without LibTorch",
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    let home = Home::open(shell::root().join(".libtorch"))?;
    let mut state = State::load(&home.state_file());
    let torch = choose(&home, &mut state, options)?;
    let changed = view::make(&home.view(), &torch)?;
    let chosen = state.choose(&torch, &home.path);
    // Compiling takes a second: do it only where something is new, or asked for.
    if changed || chosen || options != Options::default() || !state.probed {
        state.probed = false;
        state.save(&home.state_file())?;
        let version = prove(&home, &torch, options.set())?;
        state.probed = true;
        state.save(&home.state_file())?;
        println!("A program compiled against it loads LibTorch {version}");
    }
    println!("LibTorch {} is ready ({}: {})", torch.version, torch.source, torch.root.display());
    Ok(())
}

/// The PyTorch to use: the one that is asked for, the one in use so far, the active Python's, or our own.
fn choose(home: &Home, state: &mut State, options: Options) -> Result<Torch> {
    if let Some(root) = find::named(&home.view()) {
        return find::inspect(&root, Source::Variable).with_context(|| {
            format!(
                "LIBTORCH is set to {}, which cannot be used; correct it, or unset it to have one found or installed",
                root.display()
            )
        });
    }
    if let Some(torch) = in_use(home, state, options) {
        return Ok(torch);
    }
    // Our own wheels, once there, are kept and repaired rather than exchanged for a Python that comes and goes.
    if state.wheels.is_empty()
        && let Some(torch) = active_python(home, options)
    {
        return Ok(torch);
    }
    wheels::install(home, state, options.set(), options.check)?;
    find::inspect(&home.site().join("torch"), Source::Wheels)
}

/// The one that an earlier bootstrap settled on, if it is still whole and enough.
fn in_use(home: &Home, state: &State, options: Options) -> Option<Torch> {
    let source = state.source?;
    let root = home.path.join(state.root.as_ref()?);
    if source == Source::Wheels {
        let whole = state.set >= options.set() && state.damage(&home.site(), options.check).is_empty();
        return if whole { find::inspect(&root, source).ok() } else { None };
    }
    let torch = find::inspect(&root, source).ok()?;
    if options.cuda {
        // It was taken for the CPU's sake; whether all that CUDA needs is there too, only loading can tell.
        prove(home, &torch, Set::Cuda).ok()?;
    }
    Some(torch)
}

/// The PyTorch of the active Python, where it fits and loads.
fn active_python(home: &Home, options: Options) -> Option<Torch> {
    let root = find::python_package()?;
    let torch = find::inspect(&root, Source::Python).and_then(|torch| {
        ensure!(!options.cuda || torch.has_cuda, "it has no CUDA half");
        // Whether its neighbours are there, only loading can tell.
        prove(home, &torch, options.set())?;
        Ok(torch)
    });
    torch.map_err(|why| println!("The PyTorch at {} is not used: {why:#}", root.display())).ok()
}

/// Compiles against LibTorch and loads it; the version that it says to have.
fn prove(home: &Home, torch: &Torch, set: Set) -> Result<String> {
    needs::check(&[needs::Need::Compiler])?;
    probe::load(&home.tmp(), torch, set)
}

/// The folder `.libtorch`, held by this process alone.
struct Home {
    path: PathBuf,
    _lock: File,
}

impl Home {
    /// Makes the folder where it is missing, and waits for another bootstrap to end.
    fn open(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let lock_file = path.join("lock");
        let lock =
            File::create(&lock_file).with_context(|| format!("cannot write {}", lock_file.display()))?;
        // The system gives the lock up with the process, however it ends: no stale locks.
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                println!("Another bootstrap is at work here; waiting for it to end");
                lock.lock().context("cannot wait for the other bootstrap")?;
            }
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock .libtorch"),
        }
        let home = Self { path, _lock: lock };
        home.sweep()?;
        Ok(home)
    }

    /// Removes what an interrupted bootstrap left half unpacked. Finished downloads stay, for the next try.
    fn sweep(&self) -> Result<()> {
        remove_folder(&self.tmp())
    }

    fn site(&self) -> PathBuf {
        self.path.join("site")
    }

    fn tmp(&self) -> PathBuf {
        self.path.join("tmp")
    }

    fn downloads(&self) -> PathBuf {
        self.path.join("wheels")
    }

    fn view(&self) -> PathBuf {
        self.path.join("view")
    }

    fn state_file(&self) -> PathBuf {
        self.path.join("state.json")
    }
}

/// Removes a folder with all in it; one that is not there is fine.
fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a file so that it is either the old one or the new one, whatever happens.
fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_others_refused() {
        assert_eq!(Options::parse(&[]).unwrap(), Options { cuda: false, check: false });
        assert_eq!(Options::parse(&["--check", "--cuda"]).unwrap(), Options { cuda: true, check: true });
        assert!(Options::parse(&["--gpu"]).unwrap_err().to_string().contains("`--gpu`"));
    }

    #[test]
    fn two_bootstraps_wait_for_each_other_and_the_first_sweeps() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join("tmp/half");
        fs::create_dir_all(&left).unwrap();
        let home = Home::open(dir.path().into()).unwrap();
        assert!(!left.exists());
        let (sender, receiver) = std::sync::mpsc::channel();
        let path = dir.path().to_owned();
        let second = std::thread::spawn(move || {
            let _home = Home::open(path).unwrap();
            sender.send(()).unwrap();
        });
        assert!(receiver.recv_timeout(std::time::Duration::from_millis(200)).is_err(), "it did not wait");
        drop(home);
        receiver.recv().unwrap();
        second.join().unwrap();
    }
}
