//! What is given up so that the work fits: first what costs little time, then what costs more.
//!
//! Whatever is given up changes no result but for last bits. Ways to spare memory are tried on the plan itself: each is taken only
//! where it spares a good part of what is needed, so that short prompts stay as fast as they are. Not here: what a plan is made of.

use super::{Budget, Chosen, Level, Over, Request, RowsIn, bytes};
use crate::args::Spare;
use crate::failure::{Code, Failure};
use circuit_attribution::AttributeConfig;
use circuit_attribution::budget::{Job, Step};
use circuit_model::{Model, WeightSizes};
use circuit_replacement::{Cuts, Products};
use circuit_torch::runtime;
use tch::{Device, Kind};

/// Rows that go down together on a GPU, which large products keep busy; and so many that it, or a processor, is busy enough.
const ROWS_ON_GPU: usize = 1024;
const ENOUGH_ROWS_ON_GPU: usize = 256;
const ENOUGH_ROWS: usize = 16;
/// Rows that go down together where a level is made anew for each group.
const ROWS_MADE_ANEW: usize = 256;

/// Rows, pre-activations and weights that are done together at least: with fewer, products are too small to be worth it.
const FEWEST_ROWS: usize = 4;
const FEWEST_NUMBERS: usize = 1 << 20;

/// Shares of what a phase needs, as divisors: a way that spares so much is taken at once, and one that spares too little never.
const MUCH: u64 = 8;
const LITTLE: u64 = 64;

/// How much is done at once where there is memory for it.
pub(crate) fn usual_cuts(device: Device, products: Products) -> Cuts {
    match device {
        Device::Cpu => Cuts { workers: runtime::threads(), products, ..Cuts::default() },
        _ => Cuts { rows: ROWS_ON_GPU, products, ..Cuts::default() },
    }
}

impl Budget {
    /// The usual cuts with all kept, or what fits where that does not: as fine as needed, as long as that is of use. Whether patterns
    /// are kept may be settled already.
    pub(super) fn fitting<'a>(&'a self, patterns: Option<bool>, job: impl Fn(Chosen) -> Job<'a>) -> Chosen {
        let disk = self.request.scratch.as_ref().map_or(0, |scratch| scratch.free.unwrap_or(u64::MAX));
        self.fitting_on(disk, patterns, job)
    }

    /// The same with so many bytes of disk.
    fn fitting_on<'a>(
        &'a self,
        disk: u64,
        patterns: Option<bool>,
        job: impl Fn(Chosen) -> Job<'a>,
    ) -> Chosen {
        let mut chosen = self.usual(patterns);
        let mut given_up = Vec::new();
        while let Some(over) =
            self.all_over(&job(chosen)).into_iter().find(|over| !given_up.contains(&over.step))
        {
            match less(chosen, over, disk, patterns.is_some(), &job) {
                Some(less) => chosen = less,
                None => given_up.push(over.step),
            }
        }
        chosen
    }

    /// What is chosen where there is enough memory.
    fn usual(&self, patterns: Option<bool>) -> Chosen {
        let cuts = usual_cuts(self.request.device, self.request.products);
        let mut chosen = Chosen { cuts, rows: RowsIn::Memory };
        for &spare in &self.request.spare {
            chosen = chosen.without(spare).in_groups_for(spare);
        }
        if self.request.spare.contains(&Spare::Rows) {
            chosen.rows = RowsIn::Disk;
        }
        chosen.cuts.keep_patterns = patterns.unwrap_or(chosen.cuts.keep_patterns);
        chosen
    }

    /// What does not fit, and what would.
    pub(super) fn refusal<'a>(
        &'a self,
        over: Over,
        patterns: Option<bool>,
        job: impl Fn(Chosen) -> Job<'a>,
    ) -> Failure {
        let place = if over.on_device { "on the device" } else { "of memory" };
        let (n_active, known) = (job(self.fitting(patterns, &job)).n_active(), self.active.known_from);
        let (need, step, room) = (bytes(over.need), over.step.name(), bytes(over.room));
        let message = format!(
            "this does not fit: `{step}` needs {need} {place}, {room} can be had ({n_active} active features, {known})"
        );
        let changes = self.changes();
        let hint = match changes.is_empty() {
            true => {
                "neither fewer features nor a smaller type nor a shorter prompt alone makes it fit".into()
            }
            false => format!("what would fit: {}", changes.join("; or ")),
        };
        Failure::new(Code::Device, message).hint(hint)
    }

    /// Changes each of which alone makes it fit.
    fn changes(&self) -> Vec<String> {
        let fits = |request: &Request, weights: &WeightSizes| {
            let job = |chosen| self.job_of(Level::Low, chosen, request, weights);
            let job = job(self.fitting(None, job));
            self.over(&job).is_none()
        };
        let mut changes = Vec::new();
        let job = |chosen| self.job(Level::Low, chosen);
        let with_a_disk = job(self.fitting_on(u64::MAX, None, job));
        if self.over(&with_a_disk).is_none() {
            changes.push(format!("--scratch-dir on a disk with {} free", bytes(with_a_disk.rows_on_disk())));
        }
        let selected = self.job(Level::Low, self.chosen).n_selected() as usize;
        let config = |n| AttributeConfig { max_feature_nodes: Some(n), ..self.request.config };
        let with_nodes = |n| Request { config: config(n), ..self.request.clone() };
        if let Some(n) = largest(selected, |n| fits(&with_nodes(n), &self.weights)) {
            changes.push(format!("--max-feature-nodes {n}"));
        }
        if matches!(self.request.kind, Kind::Float | Kind::Double) {
            let request = Request { kind: Kind::BFloat16, ..self.request.clone() };
            let weights = Model::sizes(&self.model, request.kind, request.device);
            if weights.is_ok_and(|weights| fits(&request, &weights)) {
                changes.push("--dtype bfloat16".into());
            }
        }
        let with_pos = |n_pos| Request { n_pos, ..self.request.clone() };
        let shortest = self.ignored() + 1;
        if let Some(n) = largest(self.request.n_pos, |n| n >= shortest && fits(&with_pos(n), &self.weights))
            && n >= shortest
        {
            changes.push(format!("a prompt of at most {n} tokens"));
        }
        changes
    }
}

impl Chosen {
    /// The same without what is spared.
    fn without(mut self, spare: Spare) -> Self {
        match spare {
            Spare::Patterns => self.cuts.keep_patterns = false,
            Spare::Folded => self.cuts.keep_folded = false,
            Spare::Writes => self.cuts.keep_writes = false,
            Spare::Rows if self.rows == RowsIn::Memory => self.rows = RowsIn::Both,
            Spare::Rows => {}
        }
        self
    }

    /// In large groups, one after the other, where each makes what is spared anew: the fewer, the better.
    fn in_groups_for(mut self, spare: Spare) -> Self {
        if matches!(spare, Spare::Folded | Spare::Writes) {
            self.cuts.rows = self.cuts.rows.max(ROWS_MADE_ANEW);
            self.cuts.workers = 1;
        }
        self
    }

    /// The same, cut otherwise.
    fn cut(mut self, change: impl FnOnce(&mut Cuts)) -> Self {
        change(&mut self.cuts);
        self
    }
}

/// What needs less where a phase needs too much; `None` if nothing does. Rows may take so many bytes of a disk.
fn less<'a>(
    chosen: Chosen,
    over: Over,
    disk: u64,
    patterns_settled: bool,
    job: &impl Fn(Chosen) -> Job<'a>,
) -> Option<Chosen> {
    let (cuts, encode) = (chosen.cuts, chosen.cuts.encode);
    let fewer_rows = |cuts: &mut Cuts| cuts.rows /= 2;
    match over.step {
        Step::Rows if over.on_device && cuts.rows > ENOUGH_ROWS_ON_GPU => {
            return Some(chosen.cut(fewer_rows));
        }
        Step::Encode if encode.pre_activations > FEWEST_NUMBERS || encode.weights > FEWEST_NUMBERS => {
            return Some(chosen.cut(|cuts| {
                let encode = &mut cuts.encode;
                encode.pre_activations = (encode.pre_activations / 2).max(FEWEST_NUMBERS);
                encode.weights = (encode.weights / 2).max(FEWEST_NUMBERS);
            }));
        }
        _ => {}
    }
    // Groups beside one another need levels that are kept: what one alone needs is compared.
    let need = |chosen: Chosen| {
        let job = job(chosen.cut(|cuts| cuts.workers = 1));
        let phase = job.phases().into_iter().find(|phase| phase.step == over.step);
        phase.map_or(0, |phase| if over.on_device { phase.device } else { phase.host })
    };
    let now = need(chosen);
    // Patterns that are made once cost next to no time; whether a disk is fast is not known.
    let spared = |share: u64| {
        [Spare::Patterns, Spare::Folded, Spare::Writes, Spare::Rows].into_iter().find_map(|spare| {
            let less = chosen.without(spare);
            let is_open = spare != Spare::Patterns || !patterns_settled;
            let spares = now.saturating_sub(need(less)) >= (over.need / share).max(1);
            (is_open && spares && job(less).rows_on_disk() <= disk).then_some(less.in_groups_for(spare))
        })
    };
    spared(MUCH).or_else(|| match over.step {
        Step::Rows if cuts.workers > 1 => Some(chosen.cut(|cuts| cuts.workers /= 2)),
        Step::Rows if cuts.rows > ENOUGH_ROWS => Some(chosen.cut(fewer_rows)),
        Step::Write if encode.weights > FEWEST_NUMBERS => Some(chosen.cut(|cuts| cuts.encode.weights /= 2)),
        Step::Rows => spared(LITTLE).or((cuts.rows > FEWEST_ROWS).then_some(chosen.cut(fewer_rows))),
        _ => spared(LITTLE),
    })
}

/// The largest number below `limit` for which something holds that holds for all smaller ones (from some on).
fn largest(limit: usize, holds: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut low, mut high) = (0, limit);
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            found = Some(middle);
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_that_holds_is_found() {
        for bound in [0, 1, 7, 99] {
            assert_eq!(largest(100, |n| n <= bound), Some(bound));
        }
        assert_eq!(largest(100, |_| false), None);
        assert_eq!(largest(0, |_| true), None);
    }
}
