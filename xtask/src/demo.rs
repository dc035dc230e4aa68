//! `cargo xtask demo`: from a fresh clone to a graph of the demo prompt. What the graph is, circuit-tracer says.

use crate::{bootstrap, shell};
use anyhow::{Context, Result, bail};

const PROMPT: &str = "fact : the capital of the state containing Dallas is";
const SLUG: &str = "dallas-austin";
const FOLDER: &str = "demo-out";

/// Sets up, builds, traces, and says where the files are.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let further = further(args)?;
    bootstrap::run(bootstrap::Options::default())?;
    println!("\n== build");
    shell::run(shell::cargo().args(["build", "--package", "circuit-cli"]))?;
    println!("\n== trace");
    std::fs::create_dir_all(shell::root().join(FOLDER))
        .with_context(|| format!("cannot make the folder {FOLDER}"))?;
    let raw = format!("{FOLDER}/{SLUG}.safetensors");
    let mut attribute = shell::cargo();
    attribute.args(["run", "--quiet", "--package", "circuit-cli", "--", "attribute"]);
    attribute.args(["-m", "demo/model", "-t", "demo/transcoders", "-p", PROMPT]);
    attribute.args(["--slug", SLUG, "--graph-file-dir", FOLDER, "-o", &raw]).args(further);
    shell::run(&mut attribute)?;
    println!("\nThe graph of \"{PROMPT}\":");
    println!("  {FOLDER}/{SLUG}.json         pruned, for a viewer of attribution graphs");
    println!("  {raw}  raw, all nodes");
    Ok(())
}

/// The arguments behind `--`. There is no page to serve yet, so `--no-server` changes nothing.
fn further<'a>(args: &'a [&'a str]) -> Result<&'a [&'a str]> {
    match args {
        ["--no-server", rest @ ..] => further(rest),
        ["--", rest @ ..] => Ok(rest),
        [] => Ok(&[]),
        [other, ..] => {
            bail!("`{other}` is not understood; arguments of `circuit-tracer attribute` go behind `--`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::further;

    #[test]
    fn arguments_go_behind_two_dashes() {
        assert_eq!(further(&["--no-server", "--", "--no-server", "x"]).unwrap(), ["--no-server", "x"]);
        assert!(further(&[]).unwrap().is_empty());
        assert!(further(&["--verbose"]).unwrap_err().to_string().contains("`--verbose`"));
    }
}
