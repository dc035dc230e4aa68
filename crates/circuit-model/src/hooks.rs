//! Reading and changing values inside the forward pass.
//!
//! The forward pass calls a [`Visitor`] at each site and goes on with the tensor it gets back; [`Hooks`] is the visitor for
//! everyday use: record, hold, add, edit. A site that the model does not have, and an edit that was never reached, are errors:
//! nothing is silent.

use crate::ModelError;
use circuit_index::Site;
use std::collections::{BTreeMap, BTreeSet};
use tch::Tensor;

/// Called at each site of the forward pass, in order.
pub trait Visitor {
    /// Takes the value at a site and gives back the one to go on with, of the same shape.
    ///
    /// # Errors
    /// Whatever keeps the visitor from doing its work; ends the forward pass.
    fn visit(&mut self, site: Site, value: Tensor) -> Result<Tensor, ModelError>;

    /// The sites without which this visitor makes no sense; checked against the model before the pass.
    fn needs(&self) -> Vec<Site> {
        Vec::new()
    }
}

/// Looks at nothing.
impl Visitor for () {
    fn visit(&mut self, _: Site, value: Tensor) -> Result<Tensor, ModelError> {
        Ok(value)
    }
}

type Edit<'a> = Box<dyn FnMut(Tensor) -> Result<Tensor, ModelError> + 'a>;

/// What to do at which site. At one site the order is: hold, add, edit, record.
#[derive(Default)]
pub struct Hooks<'a> {
    hold: BTreeMap<Site, Tensor>,
    add: BTreeMap<Site, Tensor>,
    edit: BTreeMap<Site, Edit<'a>>,
    record: BTreeSet<Site>,
    recorded: BTreeMap<Site, Tensor>,
    reached: BTreeSet<Site>,
}

impl<'a> Hooks<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the value at these sites.
    #[must_use]
    pub fn record(mut self, sites: impl IntoIterator<Item = Site>) -> Self {
        self.record.extend(sites);
        self
    }

    /// Puts `value` in place of what is computed at a site. It may have one batch row for all.
    #[must_use]
    pub fn hold(mut self, site: Site, value: Tensor) -> Self {
        self.hold.insert(site, value);
        self
    }

    /// Adds `value` at a site; what was added there before stays. It may have one batch row for all.
    #[must_use]
    pub fn add(mut self, site: Site, value: Tensor) -> Self {
        let value = match self.add.remove(&site) {
            Some(before) => before + value,
            None => value,
        };
        self.add.insert(site, value);
        self
    }

    /// Changes the value at a site by a function.
    #[must_use]
    pub fn edit(mut self, site: Site, change: impl FnMut(Tensor) -> Result<Tensor, ModelError> + 'a) -> Self {
        self.edit.insert(site, Box::new(change));
        self
    }

    /// The recorded values, once the forward pass is done.
    ///
    /// # Errors
    /// If the pass did not reach a site that something was asked of.
    pub fn finish(self) -> Result<BTreeMap<Site, Tensor>, ModelError> {
        match self.needs().into_iter().find(|site| !self.reached.contains(site)) {
            Some(site) => Err(ModelError::SiteNotReached { site }),
            None => Ok(self.recorded),
        }
    }
}

impl Visitor for Hooks<'_> {
    fn visit(&mut self, site: Site, mut value: Tensor) -> Result<Tensor, ModelError> {
        let fit = |given: &Tensor, value: &Tensor| {
            given.f_expand_as(value).map(|t| t.to_kind(value.kind())).map_err(|_| ModelError::SiteShape {
                site,
                found: given.size(),
                expected: value.size(),
            })
        };
        if let Some(held) = self.hold.get(&site) {
            value = fit(held, &value)?;
        }
        if let Some(addition) = self.add.get(&site) {
            value = &value + fit(addition, &value)?;
        }
        if let Some(change) = self.edit.get_mut(&site) {
            let before = value.size();
            value = change(value)?;
            if value.size() != before {
                return Err(ModelError::SiteShape { site, found: value.size(), expected: before });
            }
        }
        if self.record.contains(&site) {
            self.recorded.insert(site, value.shallow_clone());
        }
        self.reached.insert(site);
        Ok(value)
    }

    fn needs(&self) -> Vec<Site> {
        let sites: BTreeSet<_> = self
            .hold
            .keys()
            .chain(self.add.keys())
            .chain(self.edit.keys())
            .chain(&self.record)
            .copied()
            .collect();
        sites.into_iter().collect()
    }
}
