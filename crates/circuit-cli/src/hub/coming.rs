//! What has yet to come from the hub for some piece of work, and whether the disk of the cache has room for it.
//!
//! Told before it is fetched, and by plans that fetch nothing. Not here: fetching.

use super::{Wanted, bytes};
use crate::failure::Failure;
use circuit_hub::{Fetched, Hub, HubError};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;

/// Files of the hub that are needed, by repository, with what of them is not here yet.
#[derive(Debug, Default)]
pub(crate) struct Coming {
    repos: Vec<Repo>,
    /// The cache, and what is free on its disk where that can be told. `None` where nothing is needed of the hub.
    place: Option<(PathBuf, Option<u64>)>,
    /// Why it cannot come.
    refusal: Option<HubError>,
}

/// Files of a repository at a revision.
#[derive(Debug)]
struct Repo {
    name: String,
    files: usize,
    size: u64,
    missing: u64,
}

impl Coming {
    pub(super) fn new(hub: &Hub, wanted: &[Wanted], looked: &[Fetched]) -> Self {
        let mut repos: Vec<Repo> = Vec::new();
        for ((snapshot, _), file) in wanted.iter().zip(looked) {
            let name = format!("{}@{}", snapshot.repo, snapshot.revision);
            let at = repos.iter().position(|known| known.name == name).unwrap_or(repos.len());
            if at == repos.len() {
                repos.push(Repo { name, files: 0, size: 0, missing: 0 });
            }
            let repo = &mut repos[at];
            repo.files += 1;
            repo.size += file.size;
            repo.missing += file.missing;
        }
        let needed = repos.iter().map(|repo| repo.missing).sum();
        let place = Some((hub.config().cache.clone(), hub.free_room()));
        Self { repos, place, refusal: hub.check_room(needed).err() }
    }

    /// Bytes that have yet to come.
    pub(crate) fn missing(&self) -> u64 {
        self.repos.iter().map(|repo| repo.missing).sum()
    }

    /// Refuses what the disk has no room for.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.refusal.as_ref().map_or(Ok(()), |refusal| Err(Failure::of_hub(refusal)))
    }

    /// One line for each repository of which something is missing, as it is said before it is fetched.
    pub(super) fn announcements(&self) -> impl Iterator<Item = String> {
        self.repos.iter().filter(|repo| repo.missing > 0).map(|Repo { name, files, size, missing }| {
            format!("fetching {name}: {files} files, {}, of which {} to come", bytes(*size), bytes(*missing))
        })
    }

    /// A line for each repository, and one for what is missing in all; `else_` where nothing is needed of the hub.
    pub(crate) fn text(&self, else_: &str) -> String {
        let Some((cache, free)) = &self.place else { return format!("  {else_}\n") };
        let width = self.repos.iter().map(|repo| repo.name.len()).max().unwrap_or(0).max(18);
        let mut text = String::new();
        for Repo { name, files, size, missing } in &self.repos {
            let _ = writeln!(
                text,
                "  {name:width$} {:>10} to come, of {files} file(s) of {}",
                bytes(*missing),
                bytes(*size)
            );
        }
        let free = free.map_or_else(|| "an unknown amount of".into(), bytes);
        let _ = writeln!(
            text,
            "  {:width$} {:>10} to come, {free} free in {}",
            "in all",
            bytes(self.missing()),
            cache.display()
        );
        text
    }

    pub(crate) fn json(&self) -> Value {
        let repo = |Repo { name, files, size, missing }: &Repo| json!({"name": name, "files": files, "bytes": size, "to_come_bytes": missing});
        json!({
            "to_come_bytes": self.missing(),
            "repositories": self.repos.iter().map(repo).collect::<Vec<_>>(),
            "cache": self.place.as_ref().map(|(cache, _)| cache),
            "free_bytes": self.place.as_ref().and_then(|(_, free)| *free),
            "fits": self.refusal.is_none(),
        })
    }
}
