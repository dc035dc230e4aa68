//! `cargo xtask web`: from nothing to a built page in `web/dist`, which the server's crate takes into the binary.
//!
//! Node and npm do the work; what is newer than its result is made anew, all else left alone. Also the page's own checks and the
//! search for Chromium. What the page is, `web/` says.

use crate::shell;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The oldest Node that the page's tools run on.
const NODE: (u32, u32) = (20, 19);

/// The folder of the page.
pub(crate) fn folder() -> PathBuf {
    shell::root().join("web")
}

/// Builds the page.
pub(crate) fn build() -> Result<()> {
    let web = folder();
    install(&web)?;
    let sources = [
        "src",
        "public",
        "index.html",
        "package.json",
        "package-lock.json",
        "vite.config.ts",
        "tsconfig.json",
    ];
    let newest = sources.iter().filter_map(|part| newest(&web.join(part))).max();
    let built = changed(&web.join("dist/index.html"));
    if built.is_none() || built < newest {
        npm(&web, &["run", "--silent", "build"])?;
    }
    println!("The page is built: web/dist");
    Ok(())
}

/// Runs one of the scripts of `package.json`.
pub(crate) fn script(name: &str, variables: &[(&str, &Path)]) -> Result<()> {
    let mut command = command(&folder(), &["run", "--silent", name]);
    command.envs(variables.iter().copied());
    shell::run(&mut command)
}

/// Whether a Node that is new enough, and npm, are there; what is missing otherwise.
pub(crate) fn node() -> Result<()> {
    let needed = format!("Node {}.{} or newer with npm", NODE.0, NODE.1);
    let version = shell::output(Command::new("node").arg("--version"));
    let version = version.with_context(|| format!("the page needs {needed}"))?;
    if parse(&version).is_none_or(|found| found < NODE) {
        bail!("the page needs {needed}; this one is {}", version.trim());
    }
    shell::output(Command::new("npm").arg("--version"))
        .with_context(|| format!("the page needs {needed}"))?;
    Ok(())
}

/// A Chromium to test the page in: the one that `CHROMIUM` names, or one where systems install it.
pub(crate) fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let usual = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    named.into_iter().chain(usual.map(PathBuf::from)).find(|path| path.is_file())
}

/// `v20.20.2` as (20, 20).
fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim().strip_prefix('v')?.split('.').map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The packages that the lock file names, and no others; skipped where they are there.
fn install(web: &Path) -> Result<()> {
    let lock = changed(&web.join("package-lock.json")).context("web/package-lock.json is missing")?;
    let installed = changed(&web.join("node_modules/.package-lock.json"));
    if installed.is_none_or(|installed| installed < lock) {
        npm(web, &["ci", "--no-audit", "--no-fund", "--loglevel=error"])?;
    }
    Ok(())
}

fn npm(web: &Path, args: &[&str]) -> Result<()> {
    shell::run(&mut command(web, args))
}

fn command(web: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(web).args(args);
    command
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}

/// When anything in a folder, or a file, was last changed.
fn newest(path: &Path) -> Option<SystemTime> {
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    inside.filter_map(|entry| newest(&entry.path())).chain(changed(path)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse("v20.20.2\n"), Some((20, 20)));
        assert!(parse("v9.30.0").unwrap() < NODE && parse("v22.0.0").unwrap() > NODE);
        assert_eq!(parse("20.1"), None);
    }

    #[test]
    fn a_change_deep_inside_counts() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c.ts");
        fs::create_dir_all(deep.parent().unwrap()).unwrap();
        fs::write(&deep, "x").unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        fs::File::options().write(true).open(&deep).unwrap().set_modified(later).unwrap();
        assert_eq!(newest(dir.path()), changed(&deep));
        assert_eq!(newest(&dir.path().join("nothing")), None);
    }
}
