//! `cargo xtask train-demo`: builds and runs the program that makes the demo anew, and puts the result into `demo/` if asked.
//!
//! What is made, and how, is in `train-demo/`.

use crate::{bootstrap, shell};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where results go unless told otherwise.
const FOLDER: &str = "train-demo-out";
/// What a demo consists of. Whatever else lies in `demo/` (README.md, view.json) stays.
const PARTS: [&str; 6] =
    ["model", "transcoders", "cross-layer", "corpus.txt", "held-out.txt", "held-out-two-hop.txt"];

/// Makes demos; with `--install` the one of the first seed replaces that in `demo/`.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let (install, mut args): (Vec<_>, Vec<_>) = args.iter().copied().partition(|arg| *arg == "--install");
    let given = args.iter().position(|arg| ["-o", "--output"].contains(arg));
    let output = given.and_then(|at| args.get(at + 1)).copied().unwrap_or(FOLDER);
    if given.is_none() {
        args.extend(["-o", FOLDER]);
    }
    bootstrap::run(bootstrap::Options::default())?;
    shell::run(shell::cargo().args(["build", "--package", "circuit-train-demo"]))?;
    let mut command = Command::new(shell::target().join("debug/train-demo"));
    shell::run(command.current_dir(shell::root()).args(&args))?;
    if !install.is_empty() {
        let at = args.iter().position(|arg| *arg == "--first-seed");
        let seed = at.and_then(|at| args.get(at + 1)).copied().unwrap_or("0");
        let (from, to) =
            (shell::root().join(output).join(format!("seed-{seed}")), shell::root().join("demo"));
        for part in PARTS {
            replace(&from.join(part), &to.join(part))
                .with_context(|| format!("cannot put {part} into {}", to.display()))?;
        }
        println!("{} now holds what was made with seed {seed}", to.display());
    }
    Ok(())
}

/// A copy of a file or folder in the place of what was there.
fn replace(from: &Path, to: &Path) -> std::io::Result<()> {
    match fs::symlink_metadata(to) {
        Ok(old) if old.is_dir() => fs::remove_dir_all(to)?,
        Ok(_) => fs::remove_file(to)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    if !from.is_dir() {
        return fs::copy(from, to).map(|_| ());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        replace(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn what_was_there_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("new"), dir.path().join("old"));
        std::fs::create_dir_all(from.join("deep")).unwrap();
        std::fs::write(from.join("deep/a"), "new").unwrap();
        std::fs::create_dir_all(&to).unwrap();
        std::fs::write(to.join("b"), "old").unwrap();
        replace(&from, &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("deep/a")).unwrap(), "new");
        assert!(!to.join("b").exists());
        assert!(replace(&dir.path().join("nothing"), &to).is_err());
    }
}
