//! A plan of memory before the work: what a prompt will need here, how the work is cut so that it fits, and what to change where
//! it does not.
//!
//! Made of headers alone for an assumed number of active features, and again once they are counted. What fits is judged by
//! what is allocated: pages of mapped files are read again when memory was short, which is slow but no failure. The arithmetic
//! is `circuit_attribution::budget`; how a plan is told is `show.rs`.

mod show;

pub(crate) use show::{bytes, measured};

use crate::failure::{Code, Failure};
use crate::hub::{Ahead, Coming};
use crate::machine;
use crate::plan::RawFile;
use circuit_attribution::budget::{Job, Phase, Step};
use circuit_model::spec::ModelSpec;
use circuit_model::{Model, ModelError, WeightSizes};
use circuit_replacement::{Cuts, Products};
use circuit_torch::runtime;
use circuit_transcoder::{SetFolder, SetSizes, TranscoderSet};
use std::path::{Path, PathBuf};
use tch::{Device, Kind};

/// Active features per position and layer where nobody knows: what published sets have on most prompts, within a factor of two;
/// and of a small set not more than this share.
const ASSUMED: f64 = 64.0;
const SPARSE: f64 = 1.0 / 16.0;
const RANGE: (f64, f64) = (0.5, 2.0);
/// A mean that the set states is that of other texts.
const STATED_RANGE: (f64, f64) = (0.7, 1.5);

/// Beside what the work holds: stacks of LibTorch's threads and room its products work in, and pages of its code that are touched
/// on the way. Measured on the demo, which holds next to nothing else.
const LIBRARY: (u64, u64) = (6 << 20, 20 << 20);

/// How much is done at once where there is memory for it.
pub(crate) fn usual_cuts(device: Device, products: Products) -> Cuts {
    match device {
        Device::Cpu => Cuts { workers: runtime::threads(), products, ..Cuts::default() },
        _ => Cuts { rows: ROWS_ON_GPU, products, ..Cuts::default() },
    }
}

/// Rows that go down together on a GPU, which large products keep busy.
const ROWS_ON_GPU: usize = 1024;
/// Rows that go down together where patterns are folded for each group.
const ROWS_FOLDED_ANEW: usize = 256;

/// Rows, pre-activations and weights that are done together at least: with fewer, products are too small to be worth it.
const FEWEST_ROWS: usize = 4;
const FEWEST_NUMBERS: usize = 1 << 20;

/// What is to be traced.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) device: Device,
    pub(crate) n_pos: usize,
    pub(crate) ignored: Option<usize>,
    pub(crate) n_targets: usize,
    pub(crate) max_feature_nodes: Option<usize>,
    /// What this process may allocate in all, where the user says so.
    pub(crate) memory: Option<u64>,
    /// Active features per position and layer, where the user knows.
    pub(crate) expected_active: Option<f64>,
    pub(crate) products: Products,
}

/// How many features are active at a position of each layer: at least, expected, at most.
struct Active {
    per_position: [Vec<f64>; 3],
    /// Where that is known from.
    known_from: &'static str,
}

/// How much can be allocated, in bytes; `None` where the system does not tell.
#[derive(Clone, Copy, Debug)]
struct Room {
    host: Option<u64>,
    device: Option<u64>,
}

/// What does not fit.
#[derive(Clone, Copy, Debug)]
struct Over {
    step: Step,
    on_device: bool,
    need: u64,
    room: u64,
}

/// A plan.
pub(crate) struct Budget {
    model: PathBuf,
    spec: ModelSpec,
    weights: WeightSizes,
    set: SetSizes,
    request: Request,
    active: Active,
    room: Room,
    /// What has to be fetched before the work.
    coming: Coming,
    /// What the process held when the plan was made.
    before: runtime::ProcessMemory,
    cuts: Cuts,
}

/// Which number of active features a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Low,
    Expected,
    High,
}

impl Budget {
    /// Reads headers and plans. What has yet to come is taken over.
    pub(crate) fn new(ahead: &mut Ahead, request: Request) -> Result<Self, Failure> {
        let planned = Self::plan(ahead.model_headers(), ahead.set_headers(), request);
        let planned = planned.map_err(|failure| ahead.named(failure))?;
        Ok(Self { coming: std::mem::take(&mut ahead.coming), ..planned })
    }

    fn plan(model: &Path, transcoders: &SetFolder, request: Request) -> Result<Self, Failure> {
        let spec = Model::describe(model)?;
        match request.n_pos {
            0 => return Err(ModelError::EmptyPrompt.into()),
            found if found > spec.n_ctx => {
                return Err(ModelError::PromptTooLong { found, limit: spec.n_ctx }.into());
            }
            _ => {}
        }
        let weights = Model::sizes(model, request.kind, request.device)?;
        let set = TranscoderSet::sizes(transcoders, spec.n_layers(), spec.d_model)?;
        let before = runtime::process_memory().unwrap_or(runtime::ProcessMemory {
            resident: 0,
            allocated: 0,
            peak: 0,
        });
        let host = match request.memory {
            Some(limit) => Some(limit.saturating_sub(before.allocated)),
            None => machine::available(),
        };
        let device = runtime::device_memory(request.device)?.map(|memory| memory.free);
        let active = assumed(&set, request.expected_active);
        let mut budget = Self {
            model: model.into(),
            spec,
            weights,
            set,
            request,
            active,
            room: Room { host, device },
            coming: Coming::default(),
            before,
            cuts: Cuts::default(),
        };
        budget.cuts = budget.fitting_cuts(|cuts| budget.job(Level::Expected, cuts));
        Ok(budget)
    }

    /// All is here now; the model in this folder.
    pub(crate) fn fetched(&mut self, model: &Path) {
        self.model = model.into();
        self.coming = Coming::default();
    }

    /// How the work is cut.
    pub(crate) fn cuts(&self) -> Cuts {
        self.cuts
    }

    /// Refuses what cannot fit however few features are active, and what the disk has no room for; gives a warning where it fits
    /// only if they are few.
    pub(crate) fn check(&self) -> Result<Option<String>, Failure> {
        let warning = self.check_memory()?;
        self.coming.check()?;
        Ok(warning)
    }

    fn check_memory(&self) -> Result<Option<String>, Failure> {
        let low = |cuts| self.job(Level::Low, cuts);
        if let Some(over) = self.over(&low(self.fitting_cuts(low))) {
            return Err(self.refusal(over, low));
        }
        let expected = self.job(Level::Expected, self.cuts);
        Ok(self.over(&expected).map(|over| {
            let (need, room) = (bytes(over.need), bytes(over.room));
            let n = expected.n_active();
            format!(
                "with {n} active features {} would need {need} of {room}: they are counted first",
                over.step.name()
            )
        }))
    }

    /// The plan for active features that have been counted, layer by layer.
    ///
    /// # Errors
    /// If they do not fit.
    pub(crate) fn counted(&mut self, n_active: &[usize]) -> Result<Cuts, Failure> {
        let open = self.request.n_pos.saturating_sub(self.ignored()).max(1) as f64;
        let counted: Vec<f64> = n_active.iter().map(|&n| n as f64 / open).collect();
        self.active =
            Active { per_position: [counted.clone(), counted.clone(), counted], known_from: "counted" };
        let job = |cuts| self.job(Level::Expected, cuts);
        let cuts = self.fitting_cuts(job);
        // What lies behind is no longer in question.
        let over = self
            .all_over(&job(cuts))
            .into_iter()
            .find(|over| !matches!(over.step, Step::Open | Step::Forward | Step::Encode));
        if let Some(over) = over {
            return Err(self.refusal(over, job));
        }
        self.cuts = cuts;
        Ok(cuts)
    }

    /// Bytes that rows may hold while they are ranked: as long as they are usual, or longer where there is room.
    pub(crate) fn room_for_rows(&self) -> usize {
        let (job, host) = (self.job(Level::Expected, self.cuts), self.room.host.unwrap_or(u64::MAX));
        let usual = job.usual_rows();
        let with = |step| job.phases().iter().find(|phase| phase.step == step).map_or(0, |phase| phase.host);
        let beside = with(Step::Rows).max(with(Step::Graph)).saturating_sub(usual) + LIBRARY.0;
        usize::try_from(host.saturating_sub(beside).max(usual)).unwrap_or(usize::MAX)
    }

    /// Refuses a raw file that the disk has no room for.
    pub(crate) fn check_disk(&self, raw: &RawFile) -> Result<(), Failure> {
        let (needed, path) = (self.raw_bytes(raw, Level::Low), raw.path());
        let folder = path.parent().unwrap_or(Path::new("."));
        let Some(free) = machine::free_disk(folder).filter(|&free| free < needed) else { return Ok(()) };
        let message =
            format!("{}: {} to write, {} free on its disk", path.display(), bytes(needed), bytes(free));
        let failure = Failure::new(Code::Output, message);
        Err(match raw {
            RawFile::Pt(..) => {
                let rows = bytes(self.safetensors_bytes(Level::Low));
                failure.hint(format!("a .pt is square; .safetensors would need {rows}"))
            }
            RawFile::Safetensors(_) => {
                failure.hint("fewer features (--max-feature-nodes) make a smaller graph")
            }
        })
    }

    /// Whether there is room to look for a better input site.
    pub(crate) fn allows_second_look(&self) -> bool {
        let phase = self.job(Level::Expected, self.cuts).second_look();
        let fits = |need: u64, room: Option<u64>| room.is_none_or(|room| need <= room);
        fits(phase.host + LIBRARY.0, self.room.host) && fits(phase.device, self.room.device)
    }

    fn ignored(&self) -> usize {
        self.request.ignored.unwrap_or(self.spec.ignored_positions)
    }

    fn job(&self, level: Level, cuts: Cuts) -> Job<'_> {
        self.job_of(level, cuts, &self.request, &self.weights)
    }

    fn job_of<'a>(
        &'a self,
        level: Level,
        cuts: Cuts,
        request: &Request,
        weights: &'a WeightSizes,
    ) -> Job<'a> {
        let ignored = request.ignored.unwrap_or(self.spec.ignored_positions);
        let open = request.n_pos.saturating_sub(ignored) as f64;
        let per_position = &self.active.per_position[level as usize];
        Job {
            spec: &self.spec,
            weights,
            set: &self.set,
            kind: request.kind,
            on_gpu: request.device != Device::Cpu,
            n_pos: request.n_pos,
            ignored,
            active: per_position.iter().map(|n| (n * open).round() as u64).collect(),
            n_targets: request.n_targets,
            max_feature_nodes: request.max_feature_nodes,
            cuts,
        }
    }

    /// The first phase that does not fit.
    fn over(&self, job: &Job<'_>) -> Option<Over> {
        self.all_over(job).into_iter().next()
    }

    fn all_over(&self, job: &Job<'_>) -> Vec<Over> {
        let over = |phase: Phase| {
            let Room { host, device } = self.room;
            let sides = [(false, phase.host + LIBRARY.0, host), (true, phase.device, device)];
            let sides =
                sides.into_iter().filter_map(|(on_device, need, room)| Some((on_device, need, room?)));
            let mut sides = sides.filter(|&(_, need, room)| need > room);
            sides.next().map(|(on_device, need, room)| Over { step: phase.step, on_device, need, room })
        };
        job.phases().into_iter().filter_map(over).collect()
    }

    /// The usual cuts, or finer ones where the usual do not fit: as fine as needed, as long as that is of use.
    fn fitting_cuts<'a>(&'a self, job: impl Fn(Cuts) -> Job<'a>) -> Cuts {
        let mut cuts = usual_cuts(self.request.device, self.request.products);
        let mut given_up = Vec::new();
        while let Some(over) =
            self.all_over(&job(cuts)).into_iter().find(|over| !given_up.contains(&over.step))
        {
            let kept = job(Cuts { keep_folded: true, ..cuts }).folded_bytes();
            let encode = &mut cuts.encode;
            match over.step {
                // Patterns of long prompts are most of all there is, and quickly folded; those of short ones are little.
                Step::PullBack | Step::Rows if cuts.keep_folded && kept > over.need / 8 => {
                    // Each group folds anew: the fewer, the better.
                    (cuts.keep_folded, cuts.rows) = (false, cuts.rows.max(ROWS_FOLDED_ANEW));
                }
                Step::Rows if cuts.workers > 1 => cuts.workers /= 2,
                Step::Rows if cuts.rows > FEWEST_ROWS => cuts.rows /= 2,
                Step::Encode
                    if encode.pre_activations > FEWEST_NUMBERS || encode.weights > FEWEST_NUMBERS =>
                {
                    encode.pre_activations = (encode.pre_activations / 2).max(FEWEST_NUMBERS);
                    encode.weights = (encode.weights / 2).max(FEWEST_NUMBERS);
                }
                Step::Write if encode.weights > FEWEST_NUMBERS => encode.weights /= 2,
                step => given_up.push(step),
            }
        }
        cuts
    }

    /// What does not fit, and what would.
    fn refusal<'a>(&'a self, over: Over, job: impl Fn(Cuts) -> Job<'a>) -> Failure {
        let place = if over.on_device { "on the device" } else { "of memory" };
        let cuts = self.fitting_cuts(&job);
        let (n_active, known) = (job(cuts).n_active(), self.active.known_from);
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
            let job = |cuts| self.job_of(Level::Low, cuts, request, weights);
            let job = job(self.fitting_cuts(job));
            self.over(&job).is_none()
        };
        let mut changes = Vec::new();
        let selected = self.job(Level::Low, self.cuts).n_selected() as usize;
        let with_nodes = |n| Request { max_feature_nodes: Some(n), ..self.request.clone() };
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

    /// What the whole process holds at the most: allocated and mapped; allocated.
    fn peak(&self, level: Level) -> (u64, u64) {
        let phases = self.job(level, self.cuts).phases();
        let most = |of: fn(&Phase) -> u64| phases.iter().map(of).max().unwrap_or(0);
        let resident = self.before.resident + LIBRARY.0 + LIBRARY.1 + most(Phase::resident);
        (resident, self.before.allocated + LIBRARY.0 + most(|phase| phase.host))
    }

    fn safetensors_bytes(&self, level: Level) -> u64 {
        let job = self.job(level, self.cuts);
        let (rows, columns) = job.graph_shape();
        4 * rows * columns + 28 * job.n_active() + 8 * job.n_selected() + 4096
    }

    fn raw_bytes(&self, raw: &RawFile, level: Level) -> u64 {
        match raw {
            RawFile::Safetensors(_) => self.safetensors_bytes(level),
            RawFile::Pt(..) => {
                let job = self.job(level, self.cuts);
                let nodes = job.graph_shape().1 + job.n_targets as u64;
                4 * nodes * nodes + 28 * job.n_active()
            }
        }
    }
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

/// Active features per position, as the user, the set's files or its activation function tell.
fn assumed(set: &SetSizes, expected: Option<f64>) -> Active {
    let stated = set.layers.iter().all(|layer| layer.mean_active.is_some());
    let (range, known_from) = match (expected, set.at_most, stated) {
        (Some(_), _, _) => ((1.0, 1.0), "as --expected-active says"),
        (_, Some(_), _) => ((RANGE.0, 1.0), "as many as the set selects at most"),
        (_, _, true) => (STATED_RANGE, "as the names of the set's files say"),
        _ => (RANGE, "assumed"),
    };
    let of = |times: f64| -> Vec<f64> {
        let per_layer = set.layers.iter().map(|layer| {
            let usual = expected.or(set.at_most.map(|k| k as f64)).or(layer.mean_active.filter(|_| stated));
            (usual.unwrap_or(ASSUMED.min(SPARSE * layer.n_features as f64)) * times)
                .min(layer.n_features as f64)
        });
        per_layer.collect()
    };
    Active { per_position: [of(range.0), of(1.0), of(range.1)], known_from }
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
