//! `download`: brings a model, a transcoder set or both into the cache; `cache`: what is in it, and removing it.

use crate::args::{CacheCommand, DownloadArgs};
use crate::failure::{Code, Failure};
use crate::hub::{Finder, bytes};
use circuit_hub::{CachedRepo, HubError, HubName};
use serde_json::json;
use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Write as _};

pub(crate) fn run(args: &DownloadArgs) -> Result<String, Failure> {
    if args.model.is_none() && args.transcoder_set.is_none() {
        return Err(Failure::usage("nothing to download: give -m, -t or both"));
    }
    let finder = Finder::new(false).strict(args.strict_config);
    if args.dry_run {
        let coming = finder.missing(args.model.as_deref(), args.transcoder_set.as_deref())?;
        let refusal = coming.check().err().map(|failure| format!("{}\n", failure.message));
        return Ok(coming.text("nothing: model and transcoders are here") + &refusal.unwrap_or_default());
    }
    let (model, set) = finder.find(args.model.as_deref(), args.transcoder_set.as_deref(), false)?;
    let paths = model.map(|model| model.folder).into_iter().chain(set.map(|set| set.folder.path));
    Ok(paths.map(|path| format!("{}\n", path.display())).collect())
}

pub(crate) fn cache(command: &CacheCommand) -> Result<String, Failure> {
    let finder = Finder::new(true);
    match command {
        CacheCommand::List { json } => {
            let repos = finder.hub()?.cached()?;
            Ok(if *json { as_json(&repos) } else { as_text(&repos, &finder)? })
        }
        CacheCommand::Remove { names, yes } => remove(names, *yes, &finder),
    }
}

fn as_text(repos: &[CachedRepo], finder: &Finder) -> Result<String, Failure> {
    let mut text = String::new();
    for repo in repos {
        let _ = writeln!(text, "{:>10}  {}", bytes(repo.size), repo.repo);
        for revision in &repo.revisions {
            let refs = if revision.refs.is_empty() {
                String::new()
            } else {
                format!("  {}", revision.refs.join(", "))
            };
            let _ = writeln!(
                text,
                "{:>10}    {}  {} files{refs}",
                bytes(revision.size),
                revision.commit,
                revision.n_files
            );
        }
        if repo.unfinished > 0 {
            let _ = writeln!(text, "{:>10}    unfinished", bytes(repo.unfinished));
        }
    }
    let total = bytes(repos.iter().map(|repo| repo.size).sum());
    let _ = writeln!(text, "{total:>10}  in {}", finder.hub()?.config().cache.display());
    Ok(text)
}

fn as_json(repos: &[CachedRepo]) -> String {
    let repo = |repo: &CachedRepo| {
        let revisions = repo
            .revisions
            .iter()
            .map(|r| json!({"commit": r.commit, "refs": r.refs, "files": r.n_files, "bytes": r.size}));
        json!({
            "repo": repo.repo.as_str(),
            "bytes": repo.size,
            "unfinished_bytes": repo.unfinished,
            "revisions": revisions.collect::<Vec<_>>(),
        })
    };
    format!("{}\n", json!({"repos": repos.iter().map(repo).collect::<Vec<_>>()}))
}

fn remove(names: &[String], yes: bool, finder: &Finder) -> Result<String, Failure> {
    let mut parsed = Vec::new();
    for text in names {
        let name: HubName = text.parse().map_err(HubError::from)?;
        if !name.folder.is_empty() {
            return Err(Failure::usage(format!(
                "{text}: a repository or one revision of it can be removed, not a folder"
            )));
        }
        parsed.push(name);
    }
    let hub = finder.hub()?;
    let cached = hub.cached()?;
    for name in &parsed {
        // Told before anything is gone.
        if !cached.iter().any(|repo| repo.repo == name.repo) {
            let cache = hub.config().cache.clone();
            return Err(HubError::NotCached { name: name.to_string(), cache }.into());
        }
    }
    if !yes && !agreed(&parsed)? {
        return Ok("nothing was removed\n".into());
    }
    let mut text = String::new();
    for name in &parsed {
        let removed = hub.remove(&name.repo, name.revision.as_ref())?;
        let _ =
            writeln!(text, "removed {name}: {} revisions, {} freed", removed.revisions, bytes(removed.freed));
    }
    Ok(text)
}

/// Asks whoever sits there; a script must say it beforehand.
fn agreed(names: &[HubName]) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody is there to be asked").hint("--yes removes without asking"));
    }
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut out = std::io::stderr();
    let _ = write!(out, "remove {} from the cache? [y/N] ", names.join(", ")).and_then(|()| out.flush());
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|e| Failure::new(Code::Other, format!("standard input: {e}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
