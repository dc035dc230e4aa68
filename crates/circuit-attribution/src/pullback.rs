//! The frozen pull-back: rows of direct effects, from the top layer down. The heart of the project.
//!
//! With patterns, denominators and MLP outputs held the model is linear, so an edge is an inner product: what the target
//! reads, pulled back to where the source writes, times what the source writes. For one row with its gradient `g [pos, d]`:
//!
//! ```text
//! target:       g[last] = P(gain_f · w) / s_f
//! for l = L-1 .. 0:
//!   contract:   A[row, source] += g[p] · write     (sources that write at layer l and position p)
//!   join:       g += read, brought from the feature-input site into the stream   (rows of features of layer l; skips)
//!   attention:  z = norm_post^T(g) W_O ;  v = pattern^T z ;  g += norm_1^T(v W_V)
//! tokens:       A[row, token p] = g[p] · embedding
//! ```
//!
//! Per layer the norms are folded into the two matrices and the pattern once ([`level`]), so that a step is three products:
//! `g += pattern' ᵀ(g A) B`. Many rows go down together; a row joins when its layer is reached, and at its own layer meets `A`
//! at its own position only. On a CPU several groups of rows go down beside one another, each on a thread of its own.
//!
//! A feature writes at one layer or, of a cross-layer set, at several: its effect is the sum over them. Sums stand in an order
//! ([`SumOrder`]) where all that write at one layer and position are neighbours: so they are one matrix and one product, from
//! however many layers they come, and no gradient is gathered. In the end rows are in the order in which what they see is a prefix
//! ([`circuit_index::SourceOrder`]): below a row's own layer, features have then written all that it can see. Nothing here is
//! LibTorch autograd; that both agree is a test. Not here: which rows, and in which order.

mod cut;
mod heads;
mod level;
mod products;
mod room;

use crate::AttributionError;
use circuit_index::{ActiveIndex, Layer, LayerSite, Pos, SumOrder};
use circuit_replacement::LocalReplacement;
use circuit_torch::{Landing, runtime};
use cut::{Reach, cost_of_group, cut};
use level::{Level, read_to_stream};
use products::add_product;
use rayon::prelude::*;
use room::{Gradients, Joining, Room, sizes};
use std::cell::RefCell;
use std::ops::ControlFlow;
use tch::{Device, Kind, Tensor};

/// What a row reads.
#[derive(Debug)]
pub enum Read {
    /// The pre-activation of an active feature.
    Feature(ActiveIndex),
    /// A direction `[d_model]` at the input of the unembedding, at the last position.
    Direction(Tensor),
    /// A direction `[d_model]` in the residual stream before a layer, at a position.
    Stream(Layer, Pos, Tensor),
}

impl Read {
    /// The same read; a direction's numbers are shared.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        match self {
            Self::Feature(i) => Self::Feature(*i),
            Self::Direction(w) => Self::Direction(w.shallow_clone()),
            Self::Stream(layer, pos, w) => Self::Stream(*layer, *pos, w.shallow_clone()),
        }
    }
}

/// The linear model that remains of one prompt when everything is held, ready to be gone through backwards.
pub struct PullBack<'a> {
    replacement: &'a LocalReplacement<'a>,
    /// The layers, unless they are to be folded anew each time.
    levels: Option<Vec<Level>>,
    n_layers: usize,
    reads_at: LayerSite,
    /// Those of the last call, for the next.
    spare: RefCell<Vec<Worker>>,
}

/// What a thread needs of its own to take groups down.
struct Worker {
    descent: Descent,
    /// The layers, if they are kept.
    levels: Vec<Level>,
    /// Room for one row.
    row: Vec<f32>,
}

/// A level that is kept, or one that was made for this once.
enum Folded<'a> {
    Kept(&'a Level),
    Anew(Box<Level>),
}

impl std::ops::Deref for Folded<'_> {
    type Target = Level;

    fn deref(&self) -> &Level {
        match self {
            Self::Kept(level) => level,
            Self::Anew(level) => level,
        }
    }
}

/// Which rows go down together.
struct Members {
    /// Which of the reads they are.
    reads: Vec<usize>,
    /// For each, the layer below which its sources are written.
    layers: Vec<usize>,
}

impl Members {
    /// How many sums a row sees.
    fn seen(&self, nth: usize, order: &SumOrder) -> usize {
        order.width(self.layers[nth])
    }

    /// What `make` makes of a row, in the order of sources, of its sums in theirs.
    fn row<R>(&self, nth: usize, order: &SumOrder, sums: &[f32], make: impl Fn(usize, &[f32]) -> R) -> R {
        let (read, layer) = (self.reads[nth], self.layers[nth]);
        if order.visible_from(layer).next() == Some(0..sums.len()) {
            return make(read, sums); // already in this order
        }
        let pieces: Vec<_> = order.visible_from(layer).map(|piece| &sums[piece]).collect();
        make(read, &pieces.concat())
    }
}

/// Rows that go down together, in the order in which they join, with what each reads brought into the stream.
struct Group {
    members: Members,
    /// The gradients with which they join.
    joining: Joining,
    /// How many join at a layer, and whether above its attention.
    joins: Vec<(usize, bool, usize)>,
    /// The positions that they see together.
    n_pos: usize,
    /// The places in which their effects are summed up.
    width: usize,
}

impl Group {
    /// How much there is to do, to compare groups by: layers and positions that rows are carried through.
    fn work(&self) -> usize {
        self.n_pos * self.members.layers.iter().sum::<usize>()
    }
}

impl<'a> PullBack<'a> {
    /// Prepares the layers of a prompt.
    ///
    /// # Errors
    /// If LibTorch fails, for example for want of memory.
    pub fn new(replacement: &'a LocalReplacement<'a>) -> Result<Self, AttributionError> {
        circuit_torch::guard(|| {
            let n_layers = replacement.model().blocks().len();
            let fold = |l| Level::of(replacement, Layer::from(l));
            let levels = || match replacement.cuts().keep_folded {
                true => (0..n_layers).map(fold).collect::<Result<_, _>>().map(Some),
                false => Ok(None),
            };
            let reads_at = replacement.transcoders().info().reads;
            Ok(Self {
                replacement,
                levels: tch::no_grad(levels)?,
                n_layers,
                reads_at,
                spare: RefCell::default(),
            })
        })
    }

    /// The prompt's replacement model.
    #[must_use]
    pub fn replacement(&self) -> &'a LocalReplacement<'a> {
        self.replacement
    }

    /// A layer for gradients at the first positions: as it is kept, or what is not kept of it made anew.
    fn level(&self, layer: usize, n_pos: usize) -> Result<Folded<'_>, AttributionError> {
        let keep_writes = self.replacement.cuts().keep_writes;
        let level = match &self.levels {
            Some(kept) if keep_writes => return Ok(Folded::Kept(&kept[layer])),
            Some(kept) => kept[layer].shallow_clone(),
            None => Level::of(self.replacement, Layer::from(layer))?,
        };
        Ok(Folded::Anew(Box::new(match keep_writes {
            true => level,
            false => level.with_writes(self.replacement, Layer::from(layer), n_pos)?,
        })))
    }

    /// The layer below which a row's sources are written, and the position up to which it sees.
    fn place(&self, read: &Read) -> (usize, usize) {
        match read {
            Read::Feature(i) => {
                let feature = self.replacement.active()[i.get()];
                (feature.layer.get(), feature.pos.get())
            }
            Read::Direction(_) => (self.n_layers, self.replacement.n_pos() - 1),
            Read::Stream(layer, pos, _) => (layer.get(), pos.get()),
        }
    }

    /// Rows of direct effects on `reads`, each over the sources it can see: a prefix of
    /// [`circuit_index::SourceOrder`]. `done` is told after each product how many rows are finished.
    ///
    /// # Errors
    /// If LibTorch fails, for example for want of memory.
    pub fn rows(&self, reads: &[Read], done: impl FnMut(usize)) -> Result<Vec<Vec<f32>>, AttributionError> {
        let mut rows = vec![Vec::new(); reads.len()];
        self.each_row(
            reads,
            done,
            |read, row| (read, row.to_vec()),
            |(read, row)| {
                rows[read] = row;
                Ok(())
            },
        )?;
        Ok(rows)
    }

    /// The same, without holding more rows than go down together: `make` makes something of each as soon as it is known (with the
    /// place of its read), on any thread and in any order, which `take` is then given on the caller's.
    ///
    /// # Errors
    /// As [`PullBack::rows`], and what `take` says.
    pub fn each_row<R: Send>(
        &self,
        reads: &[Read],
        mut done: impl FnMut(usize),
        make: impl Fn(usize, &[f32]) -> R + Sync,
        mut take: impl FnMut(R) -> Result<(), AttributionError>,
    ) -> Result<(), AttributionError> {
        let groups = self.groups(reads)?;
        let order = self.replacement.sum_order();
        let on_cpu = self.replacement.model().device() == Device::Cpu;
        let cuts = self.replacement.cuts();
        let beside = if on_cpu { cuts.beside() } else { 1 };
        let mut workers = self.workers(beside.min(groups.len()).max(1), &groups)?;
        let mut take = |rows: Vec<R>| {
            let n = rows.len();
            rows.into_iter().try_for_each(&mut take)?;
            done(n);
            Ok::<_, AttributionError>(())
        };
        if let [Worker { descent, .. }] = &mut workers[..] {
            // LibTorch has all threads, and after it those who make something of the rows.
            let mut land = |descent: &mut Descent, group: &Group| {
                let (sums, width, members) = (descent.land()?, group.width, &group.members);
                let sums_of = |nth| &sums[nth * width..][..members.seen(nth, order)];
                let row = |nth| members.row(nth, order, sums_of(nth), &make);
                take((0..members.reads.len()).into_par_iter().map(row).collect())
            };
            let mut before = None;
            for group in groups {
                descent.sweep(|l| self.level(l, group.n_pos), &group)?;
                // A GPU was only asked for it: meanwhile there is time for the rows of the group before.
                let landing = if on_cpu { Some(group) } else { before.replace(group) };
                landing.map_or(Ok(()), |group| land(descent, &group))?;
            }
            before.map_or(Ok(()), |group| land(descent, &group))?;
        } else {
            let work = |worker: &mut Worker, group: Group| {
                let sums = worker.descent.sums_of(|l| Ok(Folded::Kept(&worker.levels[l])), &group)?;
                let members = &group.members;
                let row = |nth| {
                    // One after the other, which stays in the cache until something is made of it.
                    worker.row.resize(members.seen(nth, order), 0.0);
                    numbers(&sums.get(nth as i64), &mut worker.row)?;
                    Ok(members.row(nth, order, &worker.row, &make))
                };
                (0..members.reads.len()).map(row).collect()
            };
            let mut result = Ok(());
            runtime::side_by_side(&mut workers, groups, work, |rows: Result<_, AttributionError>| {
                result = rows.and_then(&mut take);
                if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            result?;
        }
        self.spare.replace(workers);
        Ok(())
    }

    /// So many workers with room for the largest of these groups: those of the call before, if they have it.
    fn workers(&self, n: usize, groups: &[Group]) -> Result<Vec<Worker>, AttributionError> {
        let levels = || self.levels.iter().flatten().map(Level::shallow_clone).collect();
        let mut workers = self.spare.take();
        workers.truncate(n);
        workers.retain(|worker| worker.descent.holds(groups));
        while workers.len() < n {
            let descent = || self.descent(groups);
            let descent = if n > 1 { runtime::on_one_thread(descent) } else { descent() }?;
            workers.push(Worker { descent, levels: levels(), row: Vec::new() });
        }
        Ok(workers)
    }

    /// The same rows as one tensor `[n_reads, n_sources]` in the type of the computation, zero where a row sees nothing.
    ///
    /// # Errors
    /// As [`PullBack::rows`].
    pub fn dense_rows(&self, reads: &[Read]) -> Result<Tensor, AttributionError> {
        let (model, order) = (self.replacement.model(), self.replacement.sum_order());
        let size = [reads.len() as i64, order.n_sources() as i64];
        let all = Tensor::f_zeros(size, (model.wide_kind(), model.device()))?;
        let groups = self.groups(reads)?;
        let descent = self.descent(&groups)?;
        for group in &groups {
            let block = descent.sums_of(|l| self.level(l, group.n_pos), group)?;
            let top = group.members.layers.iter().copied().max().unwrap_or(0);
            let places = order.visible_from(top).flatten().map(|place| place as i64);
            let places = Tensor::from_slice(&places.collect::<Vec<_>>()).to_device(block.device());
            let block = block.f_index_select(1, &places)?;
            for (nth, (&read, &layer)) in group.members.reads.iter().zip(&group.members.layers).enumerate() {
                // What stands behind that is of a row that sees more.
                let n = self.replacement.order().visible_from(layer) as i64;
                let mut row = all.get(read as i64).narrow(0, 0, n);
                row.f_copy_(&block.get(nth as i64).narrow(0, 0, n))?;
            }
        }
        Ok(all)
    }

    /// Which rows go down together: rows of like position ([`cut`]); and the groups with most to do first, so that none is waited for
    /// long at the end. How rows are cut changes no result.
    fn groups(&self, reads: &[Read]) -> Result<Vec<Group>, AttributionError> {
        if reads.is_empty() {
            return Ok(Vec::new());
        }
        let reach = |read| {
            let (layers, pos) = self.place(read);
            Reach { n_pos: pos + 1, layers }
        };
        let mut order: Vec<(Reach, usize)> = reads.iter().map(reach).zip(0..).collect();
        order.sort_by_key(|&(reach, _)| std::cmp::Reverse(reach));
        let (reaches, order): (Vec<Reach>, Vec<usize>) = order.into_iter().unzip();
        let cuts = self.replacement.cuts();
        let most = cuts.together(reads.len());
        // To make layers anew costs more than any rows.
        let each = if cuts.keep_layers() { cost_of_group(most) } else { reads.len() };
        let cut = cut(&reaches, most, each);
        let groups = || {
            let (h, nth) = self.gradients(reads)?;
            cut.into_iter().map(|group| self.group(reads, &order[group], (&h, &nth))).collect()
        };
        let groups = || circuit_torch::guard(|| tch::no_grad(groups));
        let mut groups: Vec<Group> =
            if cuts.beside() > 1 { runtime::on_one_thread(groups) } else { groups() }?;
        groups.sort_by_key(|group| std::cmp::Reverse(group.work()));
        Ok(groups)
    }

    /// Puts rows into the order in which they join: layers from the top down, in each its features above its attention, then reads
    /// of the stream before it. `h [read, d_model]` is what reads are in the stream, and `nth` where each of them is.
    fn group(
        &self,
        reads: &[Read],
        rows: &[usize],
        (h, nth): (&Tensor, &[i64]),
    ) -> Result<Group, AttributionError> {
        let mut rows: Vec<usize> = rows.to_vec();
        rows.sort_by_key(|&i| std::cmp::Reverse((self.joins(&reads[i]), self.place(&reads[i]).1)));
        let together = || rows.chunk_by(|&a, &b| self.joins(&reads[a]) == self.joins(&reads[b]));
        let joins = together().map(|same| {
            let (layer, above_attention) = self.joins(&reads[same[0]]);
            (layer, above_attention, same.len())
        });
        let joins = joins.collect();
        let layers: Vec<usize> = rows.iter().map(|&i| self.place(&reads[i]).0).collect();
        let at: Vec<usize> = rows.iter().map(|&i| self.place(&reads[i]).1).collect();
        let n_pos = at.iter().map(|pos| pos + 1).max().unwrap_or(0);
        let among = together().flat_map(|same| 0..same.len());
        let places: Vec<i64> = among.zip(&at).map(|(row, pos)| (row * n_pos + pos) as i64).collect();
        let at: Vec<i64> = at.iter().map(|&pos| pos as i64).collect();
        let nth: Vec<i64> = rows.iter().map(|&i| nth[i]).collect();
        let [at, places, nth] = [at, places, nth].map(|list| Tensor::from_slice(&list).to_device(h.device()));
        let joining = Joining { h: h.f_index_select(0, &nth)?, at, places };
        let width = self.replacement.sum_order().width(layers.first().copied().unwrap_or(0));
        Ok(Group { members: Members { reads: rows, layers }, joining, joins, n_pos, width })
    }

    /// The layer at which a row joins, and whether above its attention.
    fn joins(&self, read: &Read) -> (usize, bool) {
        (self.place(read).0, matches!(read, Read::Feature(_)))
    }

    /// What reads are in the stream where they join, `[read, d_model]`, and for each where it is: those of one layer are read from its
    /// weights together.
    fn gradients(&self, reads: &[Read]) -> Result<(Tensor, Vec<i64>), AttributionError> {
        let mut order: Vec<usize> = (0..reads.len()).collect();
        order.sort_by_key(|&i| self.joins(&reads[i]));
        let mut parts = Vec::new();
        for same in order.chunk_by(|&a, &b| self.joins(&reads[a]) == self.joins(&reads[b])) {
            let same: Vec<&Read> = same.iter().map(|&i| &reads[i]).collect();
            parts.push(self.gradients_of(&same)?);
        }
        let mut nth = vec![0; reads.len()];
        order.into_iter().zip(0..).for_each(|(read, place)| nth[read] = place);
        Ok((Tensor::f_cat(&parts, 0)?, nth))
    }

    /// What reads of one kind and layer are in the stream where they join, `[row, d_model]`: `P(gain_f · w) / s_f` for directions, a
    /// feature's encoder row brought from the feature-input site into the stream, and reads of the stream as they are.
    fn gradients_of(&self, reads: &[&Read]) -> Result<Tensor, AttributionError> {
        let model = self.replacement.model();
        let layer = self.place(reads[0]).0;
        let at: Vec<i64> = reads.iter().map(|read| self.place(read).1 as i64).collect();
        let at = Tensor::from_slice(&at).to_device(model.device());
        if let Read::Feature(_) = reads[0] {
            let index = |read: &&Read| match read {
                Read::Feature(i) => i64::from(self.replacement.active()[i.get()].index.0),
                _ => unreachable!("reads of one kind"),
            };
            let indices: Vec<i64> = reads.iter().map(index).collect();
            let indices = Tensor::from_slice(&indices).to_device(model.device());
            let rows = self.replacement.transcoders().layers()[layer].encoder_rows(&indices);
            let mut rows = read_to_stream(self.reads_at, &model.blocks()[layer], &rows);
            return Ok(match self.reads_at {
                LayerSite::ResidMid => rows,
                _ => {
                    rows.f_div_(&self.replacement.trace().layers[layer].mlp_scale.f_index_select(0, &at)?)?
                }
            });
        }
        let vectors = reads.iter().map(|read| match read {
            Read::Direction(w) | Read::Stream(_, _, w) => {
                w.to_device(model.device()).to_kind(model.wide_kind())
            }
            Read::Feature(_) => unreachable!("reads of one kind"),
        });
        let vectors = Tensor::f_stack(&vectors.collect::<Vec<_>>(), 0)?;
        Ok(match reads[0] {
            Read::Direction(_) => {
                let scale = self.replacement.trace().final_scale.f_index_select(0, &at)?;
                model.final_norm().pull_back(&vectors, &scale)
            }
            _ => vectors,
        })
    }

    /// Room for the largest of these groups to go down in.
    fn descent(&self, groups: &[Group]) -> Result<Descent, AttributionError> {
        let RoomFor { gradients, sums } = RoomFor::these(groups);
        let model = self.replacement.model();
        // A GPU computes the next sums while the last ones are fetched.
        let at_once = if model.device() == Device::Cpu { 1 } else { 2 };
        let room = || Ok((Room::sums(model, sums)?, None));
        Ok(Descent {
            n_layers: self.n_layers,
            d_model: model.spec().d_model,
            tokens: self.replacement.trace().token_vectors.shallow_clone(),
            written_once: self.replacement.sum_order().is_of_one_layer(),
            room: Room::new(self.replacement, gradients)?,
            sums: (0..at_once).map(|_| room()).collect::<Result<_, AttributionError>>()?,
            started: 0,
            landed: 0,
        })
    }
}

/// What the largest of some groups need.
struct RoomFor {
    /// Positions of gradients, all rows taken together.
    gradients: usize,
    sums: usize,
}

impl RoomFor {
    fn these(groups: &[Group]) -> Self {
        let most = |size: fn(&Group) -> usize| groups.iter().map(size).max().unwrap_or(0);
        Self {
            gradients: most(|group| group.members.reads.len() * group.n_pos),
            sums: most(|group| group.members.reads.len() * group.width),
        }
    }
}

/// The first numbers of a tensor, as many as there is room for, as fp32.
fn numbers(from: &Tensor, to: &mut [f32]) -> Result<(), AttributionError> {
    Ok(from.narrow(0, 0, to.len() as i64).to_kind(Kind::Float).f_copy_data(to, to.len())?)
}

/// The way down through all layers, for one group after another.
struct Descent {
    n_layers: usize,
    d_model: usize,
    /// `[pos, d_model]`: what tokens write.
    tokens: Tensor,
    /// Whether each effect is the product of one layer alone, and sums need not be zero at first.
    written_once: bool,
    room: Room,
    /// Room for the sums of one group, and where they land; taken in turn.
    sums: Vec<(Tensor, Option<Landing>)>,
    /// How many groups were taken down, and how many of them have landed.
    started: usize,
    landed: usize,
}

impl Descent {
    /// Whether there is room for these groups.
    fn holds(&self, groups: &[Group]) -> bool {
        let RoomFor { gradients, sums } = RoomFor::these(groups);
        self.room.holds(gradients * self.d_model) && self.sums.iter().all(|(room, _)| room.numel() >= sums)
    }

    /// Takes one group of rows down and lets its sums land. On a GPU, one more group may be taken down before that.
    fn sweep<'l>(
        &mut self,
        level: impl Fn(usize) -> Result<Folded<'l>, AttributionError>,
        group: &Group,
    ) -> Result<(), AttributionError> {
        let sums = self.sums_of(level, group)?;
        let turn = self.started % self.sums.len();
        let (room, landing) = &mut self.sums[turn];
        let landing = match landing {
            Some(landing) => landing,
            none => none.insert(Landing::new(room.numel(), room.device())?),
        };
        landing.start(&sums)?;
        self.started += 1;
        Ok(())
    }

    /// The sums `[row, width]` of the first group that has not landed.
    fn land(&mut self) -> Result<&[f32], AttributionError> {
        let turn = self.landed % self.sums.len();
        self.landed += 1;
        Ok(self.sums[turn].1.as_mut().expect("it was taken down").finish()?)
    }

    /// Takes one group of rows down; `[row, width]` in the order of sums, up to the last place that one of them sees. It lies in
    /// the room, and is gone with a later group.
    fn sums_of<'l>(
        &self,
        level: impl Fn(usize) -> Result<Folded<'l>, AttributionError>,
        group: &Group,
    ) -> Result<Tensor, AttributionError> {
        circuit_torch::guard(|| tch::no_grad(|| self.go_down(level, group)))
    }

    fn go_down<'l>(
        &self,
        level: impl Fn(usize) -> Result<Folded<'l>, AttributionError>,
        group: &Group,
    ) -> Result<Tensor, AttributionError> {
        let room = &self.sums[self.started % self.sums.len()].0;
        // Of a row all is written that it sees, and the rest is not read; but where several layers write, effects are added.
        let mut sums = room::view(room, &[group.members.reads.len(), group.width].map(|n| n as i64));
        if !self.written_once {
            sums = sums.f_zero_()?;
        }
        let mut g = Gradients::none(&self.room, group.members.reads.len(), group.n_pos, self.d_model);
        let mut joins = group.joins.iter().peekable();
        let top = joins.peek().map_or(0, |join| join.0);
        let mut next = |layer, above_attention, g: &Gradients<'_>| {
            let n =
                joins.next_if(|join| (join.0, join.1) == (layer, above_attention)).map_or(0, |join| join.2);
            group.joining.narrow(g.n_joined, n)
        };
        let targets = next(self.n_layers, false, &g);
        g.join(&targets)?;
        for l in (0..self.n_layers.min(top + 1)).rev() {
            let level = level(l)?;
            level.contract(&g.factors()?, &sums)?;
            // Features of the layer join after that: they do not see what their own layer writes.
            let features = next(l, true, &g);
            descend(&level, &mut g, &features)?;
            let streams = next(l, false, &g);
            g.join(&streams)?;
        }
        self.contract_tokens(&g.joined(), &sums)?;
        Ok(sums)
    }

    /// `A[row, token p] = g[p] · embedding`.
    fn contract_tokens(&self, g: &Tensor, sums: &Tensor) -> Result<(), AttributionError> {
        let (n_pos, all) = (g.size()[1], self.tokens.size()[0]);
        let tokens = self.tokens.narrow(0, 0, n_pos); // [pos, d_model]
        let on_tokens = g.transpose(0, 1).f_bmm(&tokens.unsqueeze(-1))?.squeeze_dim(-1).tr(); // [row, pos]
        sums.narrow(1, 0, n_pos).f_copy_(&on_tokens)?;
        let _ = sums.narrow(1, n_pos, all - n_pos).f_zero_()?;
        Ok(())
    }
}

/// From below a layer's MLP to below its attention: rows of the layer's features join, all pass skip and attention. Those above are as
/// [`Gradients::factors`] left them.
fn descend(level: &Level, g: &mut Gradients<'_>, features: &Joining) -> Result<(), AttributionError> {
    let (above, joining) = (g.n_joined as i64, features.h.size()[0]);
    if above + joining == 0 {
        return Ok(());
    }
    let attention = &level.attention;
    let [_, n_pos, d] = sizes(&g.all);
    if above > 0 && level.pass_skip(&g.joined())? {
        let _ = g.factors()?;
    }
    let width = attention.kv_heads * attention.d_head;
    let v = g.room.v(&[above + joining, n_pos, width]);
    // Rows that join meet `A` at their own position alone.
    let z = g.with_joining(&features.h, |g_and_h| attention.z(g_and_h, g.room))?;
    if above > 0 {
        attention.mix(&z.narrow(0, 0, above * n_pos), &v.narrow(0, 0, above), g.room)?;
    }
    if joining > 0 {
        let z = z.narrow(0, above * n_pos, joining);
        attention.mix_joining(&z, &features.at, &v.narrow(0, above, joining))?;
        g.join(features)?;
    }
    let v = g.room.as_factor(v.view([(above + joining) * n_pos, width]))?;
    add_product(&g.joined().view([-1, d]), &v, &attention.value_to_stream)
}
