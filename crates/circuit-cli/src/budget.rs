//! A plan of memory before the work: what a prompt will need here, how the work is cut so that it fits, and what to change where
//! it does not.
//!
//! Made of headers alone for an assumed number of active features, and again once they are counted. What fits is judged by
//! what is allocated: pages of mapped files are read again when memory was short, which is slow but no failure. The arithmetic
//! is `circuit_attribution::budget`; what is given up so that it fits is `fit.rs`, and how a plan is told `show.rs`.

mod fit;
mod show;

pub(crate) use fit::usual_cuts;
pub(crate) use show::{bytes, measured};

use crate::args::Spare;
use crate::failure::{Code, Failure};
use crate::hub::{Ahead, Coming};
use crate::machine::{self, Scratch};
use crate::plan::RawFile;
use crate::say::say_notices;
use circuit_attribution::budget::{Job, Phase, Step};
use circuit_attribution::{AttributeConfig, RowRoom};
use circuit_index::TokenId;
use circuit_model::spec::ModelSpec;
use circuit_model::{Model, ModelError, WeightSizes, chat_prefix_notice};
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

/// What is to be traced.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) device: Device,
    pub(crate) n_pos: usize,
    pub(crate) ignored: Option<usize>,
    pub(crate) n_targets: usize,
    pub(crate) config: AttributeConfig,
    /// What this process may allocate in all, where the user says so.
    pub(crate) memory: Option<u64>,
    /// Active features per position and layer, where the user knows.
    pub(crate) expected_active: Option<f64>,
    pub(crate) products: Products,
    /// What is not kept in memory though there may be enough.
    pub(crate) spare: Vec<Spare>,
    /// Where rows can go that memory has no room for.
    pub(crate) scratch: Option<Scratch>,
}

/// How the work is cut, and where rows are while features are ranked.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    cuts: Cuts,
    rows: RowsIn,
}

/// Where rows are while features are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowsIn {
    /// In memory, if they turn out no longer than planned.
    Memory,
    /// As many in memory as there is room for, the further ones on disk.
    Both,
    /// On disk.
    Disk,
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
    chosen: Chosen,
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
        if request.spare.contains(&Spare::Rows) && request.scratch.is_none() {
            return Err(Failure::usage("--spare rows: there is no usual folder on a disk")
                .hint("--scratch-dir names one"));
        }
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
        say_notices(&set.notices);
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
            chosen: Chosen { cuts: Cuts::default(), rows: RowsIn::Memory },
        };
        budget.chosen = budget.fitting(None, |chosen| budget.job(Level::Expected, chosen));
        // Whether patterns are kept is settled before features are counted, and to make them anew costs little.
        let of_many = budget.fitting(None, |chosen| budget.job(Level::High, chosen));
        budget.chosen.cuts.keep_patterns &= of_many.cuts.keep_patterns;
        Ok(budget)
    }

    /// Says what is worth knowing about a prompt before it is run.
    pub(crate) fn note(&self, tokens: &[TokenId]) {
        say_notices(&chat_prefix_notice(&self.spec, self.ignored(), tokens));
    }

    /// All is here now; the model in this folder.
    pub(crate) fn fetched(&mut self, model: &Path) {
        self.model = model.into();
        self.coming = Coming::default();
    }

    /// How the work is cut.
    pub(crate) fn cuts(&self) -> Cuts {
        self.chosen.cuts
    }

    /// Refuses what cannot fit however few features are active, and what the disk has no room for; gives a warning where it fits
    /// only if they are few.
    pub(crate) fn check(&self) -> Result<Option<String>, Failure> {
        let warning = self.check_memory()?;
        self.check_scratch(&self.job(Level::Low, self.chosen))?;
        self.coming.check()?;
        Ok(warning)
    }

    fn check_memory(&self) -> Result<Option<String>, Failure> {
        let low = |chosen| self.job(Level::Low, chosen);
        if let Some(over) = self.over(&low(self.fitting(None, low))) {
            return Err(self.refusal(over, None, low));
        }
        let expected = self.job(Level::Expected, self.chosen);
        Ok(self.over(&expected).map(|over| {
            let (need, room) = (bytes(over.need), bytes(over.room));
            let n = expected.n_active();
            format!(
                "with {n} active features {} would need {need} of {room}: they are counted first",
                over.step.name()
            )
        }))
    }

    /// Refuses rows that the disk has no room for.
    fn check_scratch(&self, job: &Job<'_>) -> Result<(), Failure> {
        let needed = job.rows_on_disk();
        let Some(Scratch { folder, free: Some(free) }) = &self.request.scratch else { return Ok(()) };
        if needed <= *free {
            return Ok(());
        }
        let (shown, needed, free) = (folder.display(), bytes(needed), bytes(*free));
        Err(Failure::new(Code::Output, format!("{shown}: {needed} of rows would go there, {free} are free"))
            .hint("--scratch-dir names another folder; fewer features (--max-feature-nodes) have fewer rows"))
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
        let job = |chosen| self.job(Level::Expected, chosen);
        let patterns = Some(self.chosen.cuts.keep_patterns);
        let chosen = self.fitting(patterns, job);
        // What lies behind is no longer in question.
        let over = self
            .all_over(&job(chosen))
            .into_iter()
            .find(|over| !matches!(over.step, Step::Open | Step::Forward | Step::Encode));
        if let Some(over) = over {
            return Err(self.refusal(over, patterns, job));
        }
        self.check_scratch(&job(chosen))?;
        self.chosen = chosen;
        Ok(chosen.cuts)
    }

    /// Where rows are while features are ranked: as many in memory as are planned there, or as there is room for. They may turn
    /// out longer than planned, so there is always the disk.
    pub(crate) fn row_room(&self) -> RowRoom {
        let job = self.job(Level::Expected, self.chosen);
        let memory = match self.chosen.rows {
            RowsIn::Memory => self.room_beside(&job).max(job.usual_rows()),
            RowsIn::Both | RowsIn::Disk => job.rows_in_memory,
        };
        let overflow = self.request.scratch.as_ref().map(|scratch| scratch.folder.clone());
        RowRoom { memory: usize::try_from(memory).unwrap_or(usize::MAX), overflow }
    }

    /// Bytes of host memory that are left for rows while they are ranked, and while they become those of the graph.
    fn room_beside(&self, job: &Job<'_>) -> u64 {
        let without = Job { rows_in_memory: 0, ..job.clone() };
        let phases = without.phases();
        let of = |step| phases.iter().find(|phase| phase.step == step).map_or(0, |phase| phase.host);
        let beside = of(Step::Rows).max(of(Step::Graph)) + LIBRARY.0;
        // The rest of a plan may be a little wrong, rows would take all the rest.
        self.room.host.map_or(u64::MAX, |host| (host - host / 16).saturating_sub(beside))
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
        let phase = self.job(Level::Expected, self.chosen).second_look();
        let fits = |need: u64, room: Option<u64>| room.is_none_or(|room| need <= room);
        fits(phase.host + LIBRARY.0, self.room.host) && fits(phase.device, self.room.device)
    }

    fn ignored(&self) -> usize {
        self.request.ignored.unwrap_or(self.spec.ignored_positions)
    }

    fn job(&self, level: Level, chosen: Chosen) -> Job<'_> {
        self.job_of(level, chosen, &self.request, &self.weights)
    }

    fn job_of<'a>(
        &'a self,
        level: Level,
        chosen: Chosen,
        request: &Request,
        weights: &'a WeightSizes,
    ) -> Job<'a> {
        let ignored = request.ignored.unwrap_or(self.spec.ignored_positions);
        let open = request.n_pos.saturating_sub(ignored) as f64;
        let per_position = &self.active.per_position[level as usize];
        let job = Job {
            spec: &self.spec,
            weights,
            set: &self.set,
            kind: request.kind,
            on_gpu: request.device != Device::Cpu,
            n_pos: request.n_pos,
            ignored,
            active: per_position.iter().map(|n| (n * open).round() as u64).collect(),
            n_targets: request.n_targets,
            config: request.config,
            cuts: chosen.cuts,
            rows_in_memory: u64::MAX,
        };
        let rows_in_memory = match chosen.rows {
            RowsIn::Memory => u64::MAX,
            RowsIn::Both => self.room_beside(&job),
            RowsIn::Disk => 0,
        };
        Job { rows_in_memory, ..job }
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

    /// What the whole process holds at the most: allocated and mapped; allocated.
    fn peak(&self, level: Level) -> (u64, u64) {
        let phases = self.job(level, self.chosen).phases();
        let most = |of: fn(&Phase) -> u64| phases.iter().map(of).max().unwrap_or(0);
        let resident = self.before.resident + LIBRARY.0 + LIBRARY.1 + most(Phase::resident);
        (resident, self.before.allocated + LIBRARY.0 + most(|phase| phase.host))
    }

    fn safetensors_bytes(&self, level: Level) -> u64 {
        let job = self.job(level, self.chosen);
        let (rows, columns) = job.graph_shape();
        4 * rows * columns + 28 * job.n_active() + 8 * job.n_selected() + 4096
    }

    fn raw_bytes(&self, raw: &RawFile, level: Level) -> u64 {
        match raw {
            RawFile::Safetensors(_) => self.safetensors_bytes(level),
            RawFile::Pt(..) => {
                let job = self.job(level, self.chosen);
                let nodes = job.graph_shape().1 + job.n_targets as u64;
                4 * nodes * nodes + 28 * job.n_active()
            }
        }
    }
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
