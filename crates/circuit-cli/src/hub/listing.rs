//! A folder of a repository, as far as a model's files are chosen by it.
//!
//! Names come from the snapshot. What is read is fetched: small files, which say what else is needed.

use super::Finder;
use crate::failure::{Code, Failure};
use circuit_hub::{HubName, Snapshot};
use circuit_model::weight_files::Listing;
use std::path::PathBuf;
use std::rc::Rc;

/// A folder of a repository at a revision.
pub(super) struct OnHub<'a> {
    pub(super) finder: &'a Finder,
    pub(super) snapshot: &'a Rc<Snapshot>,
    pub(super) name: &'a HubName,
}

impl Listing for OnHub<'_> {
    type Error = Failure;

    fn place(&self) -> PathBuf {
        self.name.to_string().into()
    }

    fn has(&self, name: &str) -> bool {
        self.snapshot.files.contains_key(&self.name.file(name))
    }

    fn names(&self) -> Vec<String> {
        self.snapshot.files.keys().filter_map(|file| self.name.within(file)).map(str::to_owned).collect()
    }

    fn is_whole(&self) -> bool {
        !self.snapshot.from_cache
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let wanted = [(Rc::clone(self.snapshot), self.name.file(name))];
        let path = self.finder.quietly(&wanted)?.swap_remove(0);
        std::fs::read(&path).map_err(|e| Failure::new(Code::Input, format!("{}: {e}", path.display())))
    }
}
