//! Running other programs, and where things lie. No knowledge of what is run.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the workspace, asked of cargo at run time: a checkout may be moved after it was built.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).parent().expect("xtask lies in the workspace").into()
}

/// The cargo that runs us, at the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // Cargo describes the program that it runs in these variables. A build script that watches them (ring's does) would run again,
    // and all that depends on it would be compiled again, each time a cargo is started from another program.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Runs a program with our input and output; an error if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", words(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", words(command));
    }
    Ok(())
}

/// Runs a program as [`run`] does; also gives the lines of its stderr that begin with `prefix`.
pub(crate) fn run_listening(command: &mut Command, prefix: &str) -> (Result<()>, Vec<String>) {
    let started =
        command.stderr(Stdio::piped()).spawn().with_context(|| format!("cannot start {}", words(command)));
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return (Err(error), Vec::new()),
    };
    let mut heard = Vec::new();
    for line in BufReader::new(child.stderr.take().expect("stderr is piped"))
        .split(b'\n')
        .map_while(std::io::Result::ok)
    {
        let line = String::from_utf8_lossy(&line).into_owned();
        eprintln!("{line}");
        if line.starts_with(prefix) {
            heard.push(line);
        }
    }
    let ended = child.wait().with_context(|| format!("cannot wait for {}", words(command)));
    let result = ended.and_then(|status| match status.success() {
        true => Ok(()),
        false => bail!("{} failed ({status})", words(command)),
    });
    (result, heard)
}

/// What a program prints, and what it says on stderr where it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", words(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}): {}", words(command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it, for messages.
pub(crate) fn words(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_of_skipped_tests_is_heard() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'skipped a: no GPU' >&2; echo other >&2; exit 3"]);
        let (result, heard) = run_listening(&mut command, "skipped");
        assert_eq!(heard, ["skipped a: no GPU"]);
        assert!(result.unwrap_err().to_string().contains("exit status: 3"));
        let (result, heard) = run_listening(&mut Command::new("/no/such/program"), "skipped");
        assert!(result.is_err() && heard.is_empty());
    }
}
