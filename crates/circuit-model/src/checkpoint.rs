//! A checkpoint's files as the source of a described model's weights, and the judgement of whether they are that.
//!
//! [`Judge::judge`] is the one place that says which names, shapes and types a checkpoint must have. It is a pure function of the
//! description and the headers, so that a plan refuses what the opened model would refuse. Reading goes by the same places
//! ([`Judge::locate`]). Which files there are: `weight_files.rs`.

use crate::family::Described;
use crate::names::{BlockPart, Linear, Part, WeightMap, WeightSizes, WeightSource};
use crate::packed::{BLOCK, Matrix, Mxfp4};
use crate::spec::ModelSpec;
use crate::weight_files::{self, Folder, ModelFiles};
use crate::{ModelError, packings};
use circuit_index::{Layer, Notice};
use circuit_torch::{Access, Headers, TensorStore, TorchError, Wanted};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// The safetensors of a model folder, read through a family's names. They have been judged.
pub(crate) struct Checkpoint {
    store: TensorStore,
    judge: Judge,
    notices: Vec<Notice>,
}

impl Checkpoint {
    /// The description in a folder, and the checkpoint that belongs to it.
    pub(crate) fn of(folder: &Path) -> Result<(ModelSpec, Self), ModelError> {
        let Described { spec, map, tie, mut notices, .. } = weight_files::described(folder)?;
        let ModelFiles { weights, notices: about_files, .. } = ModelFiles::find(&Folder(folder))?;
        notices.extend(about_files);
        let weights: Vec<PathBuf> = weights.into_iter().map(PathBuf::from).collect();
        let store = TensorStore::open(folder, &weights)?;
        let said = Said { place: store.place().into(), tie };
        let headers = store.by_name();
        let judge = Judge::new(&spec, map, said, &headers);
        judge.judge(&spec, &headers)?;
        Ok((spec, Self { judge, store, notices }))
    }

    /// What was noticed, once.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// A warning if the model is tied but the checkpoint stores an unembedding with other values: transformers 5 would use it,
    /// transformers 4 and this crate do not. Compares some rows, spread over the vocabulary.
    pub(crate) fn ignored_unembedding(&self, spec: &ModelSpec) -> Option<Notice> {
        const ROWS: usize = 64;
        let name = self.judge.unembed.filter(|_| spec.unembed.tied)?;
        let shape = [spec.d_vocab as i64, spec.d_model as i64];
        let embed =
            self.store.tensor(&format!("{}{}", self.judge.prefix, self.judge.map.embed), &shape).ok()?;
        let step = (spec.d_vocab / ROWS).max(1);
        let sample: Vec<i64> = (0..shape[0]).step_by(step).collect();
        let sample = Tensor::from_slice(&sample);
        let rows = |tensor: &Tensor| tensor.f_index_select(0, &sample)?.f_to_kind(Kind::Double);
        let same = |stored: Tensor| rows(&stored)?.f_equal(&rows(&embed)?);
        if self.store.tensor(name, &shape).is_ok_and(|stored| same(stored).unwrap_or(false)) {
            return None;
        }
        Some(Notice::warning(format!(
            "{}: `{name}` differs from the embedding and is not used, since in config.json {}; transformers 5 uses it: write \
             \"tie_word_embeddings\": false to do the same",
            self.judge.said.place.display(),
            self.judge.said.tie
        )))
    }

    /// What becomes of the weights in a type and on a device.
    pub(crate) fn sizes(&self, spec: &ModelSpec, kind: Kind, device: Device) -> WeightSizes {
        let lengths = self.store.files().iter().map(|file| (file.path().to_owned(), file.len_bytes()));
        let mut sizes = WeightSizes { files: lengths.collect(), ..WeightSizes::default() };
        let embed = format!("{}{}", self.judge.prefix, self.judge.map.embed);
        for header in self.store.headers().filter(|h| !self.judge.is_left_alone(h.name, spec.unembed.tied)) {
            sizes.read += header.bytes;
            // Packed numbers stay packed.
            let packed = header.kind == Some(Kind::Uint8);
            let same = packed || header.kind == Some(kind);
            if same && header.access == Access::Mapped && device == Device::Cpu {
                sizes.mapped += header.bytes;
                if header.name == embed && !spec.unembed.tied {
                    sizes.rows_alone += header.bytes;
                }
            } else {
                let width = if packed { 1 } else { kind.elt_size_in_bytes() as u64 };
                sizes.allocated += header.numbers * width;
                sizes.largest = sizes.largest.max(header.bytes);
            }
        }
        sizes
    }
}

/// Which rows of a stacked tensor belong to a projection: all, or every second one from this.
type Half = Option<i64>;

/// A tensor of a file, and which of it a part of the model is.
struct Located {
    name: String,
    /// The shape of the whole tensor in the file.
    shape: Vec<i64>,
    cut: Cut,
}

/// Which of a stored tensor a part of the model is.
enum Cut {
    /// All of it, as it is.
    Whole,
    /// Some rows of it, where several projections are fused; stored as `[in, out]` where `transposed`.
    Projection { transposed: bool, rows: Option<(i64, i64)> },
    /// One expert's share of a stack, all rows or every second one.
    Expert { expert: usize, transposed: bool, half: Half },
}

impl Cut {
    /// The part, as a view.
    fn of(&self, tensor: Tensor) -> Result<Tensor, TorchError> {
        let turn = |tensor: Tensor, transposed: bool| match transposed {
            true => tensor.f_transpose(0, 1),
            false => Ok(tensor),
        };
        let cut = || match *self {
            Self::Whole => Ok(tensor),
            Self::Projection { transposed, rows } => {
                let tensor = turn(tensor, transposed)?;
                match rows {
                    Some((start, len)) => tensor.f_narrow(0, start, len),
                    None => Ok(tensor),
                }
            }
            Self::Expert { expert, transposed, half } => {
                let tensor = turn(tensor.f_get(expert as i64)?, transposed)?;
                match half {
                    Some(first) => tensor.f_slice(0, first, None::<i64>, 2),
                    None => Ok(tensor),
                }
            }
        };
        Ok(cut()?)
    }
}

/// What the config says, for messages.
struct Said {
    /// The file of the weights, or their folder if there are several.
    place: PathBuf,
    /// About the tie of embedding and unembedding.
    tie: String,
}

/// Where a described model's tensors are in a checkpoint, and which tensors may be there beside them.
struct Judge {
    map: WeightMap,
    said: Said,
    prefix: &'static str,
    /// What the checkpoint calls the unembedding, if it is stored.
    unembed: Option<&'static str>,
    /// Widths of queries, keys and values per layer, to cut fused ones.
    qkv: Vec<[i64; 3]>,
    /// Experts per layer, to cut stacked ones.
    n_experts: Vec<i64>,
}

impl Judge {
    fn new(spec: &ModelSpec, map: WeightMap, said: Said, headers: &Headers<'_>) -> Self {
        let has = |prefix: &&&str| headers.contains(&format!("{prefix}{}", map.embed));
        let prefix = map.prefixes.iter().find(has).copied().unwrap_or(map.prefixes[0]);
        let widths = spec.layers.iter().map(|l| {
            let (q, kv) = (l.attn.n_heads * l.attn.d_head, l.attn.n_kv_heads * l.attn.d_head);
            [q as i64, kv as i64, kv as i64]
        });
        let n_experts = spec.layers.iter().map(|l| l.mlp.experts.map_or(0, |e| e.n_experts as i64));
        let unembed = map.unembed.iter().find(|name| headers.contains(name)).copied();
        Self { prefix, unembed, said, qkv: widths.collect(), n_experts: n_experts.collect(), map }
    }

    /// Judges a checkpoint by its headers: every tensor that the description needs must be there, in the right shape and in a
    /// type that is computed with, and every other one must be known to be no part of the model.
    fn judge(&self, spec: &ModelSpec, headers: &Headers<'_>) -> Result<(), ModelError> {
        let verdict = self.needed(spec, headers).and_then(|used| self.nothing_else(spec, headers, &used));
        // What is packed in a way that nobody here unpacks has other names and types: say that, not which was met first.
        verdict.map_err(|error| packings::recognised(headers).unwrap_or(error))
    }

    /// The names of all tensors that the description needs, each of which was checked.
    fn needed(&self, spec: &ModelSpec, headers: &Headers<'_>) -> Result<BTreeSet<String>, ModelError> {
        let mut used = BTreeSet::new();
        let mut check = |located: Located, wanted| -> Result<(), ModelError> {
            // Many experts share a tensor.
            if !used.contains(&located.name) {
                headers.get(&located.name)?.check(&located.shape, wanted)?;
                used.insert(located.name);
            }
            Ok(())
        };
        for (part, shape) in spec.parts() {
            match self.packed(part, &shape, |name| headers.contains(name)) {
                Some(packed) => packed.into_iter().try_for_each(|at| check(at, Wanted::Bytes))?,
                None => check(self.locate(part, &shape)?, Wanted::Numbers)?,
            }
        }
        Ok(used)
    }

    /// Refuses tensors that the description does not use: the model would be another one than described.
    fn nothing_else(
        &self,
        spec: &ModelSpec,
        headers: &Headers<'_>,
        used: &BTreeSet<String>,
    ) -> Result<(), ModelError> {
        let unused = |name: &str| !used.contains(name) && !self.is_left_alone(name, spec.unembed.tied);
        match headers.iter().find(|header| unused(header.name)) {
            None => Ok(()),
            Some(header) => {
                Err(ModelError::UnusedTensor { path: header.path.into(), name: header.name.into() })
            }
        }
    }

    /// Whether a tensor is known to be none of the model's.
    fn is_left_alone(&self, name: &str, tied: bool) -> bool {
        self.map.ignored.iter().any(|end| name.ends_with(end))
            || self.map.beside.iter().any(|start| name.starts_with(start))
            || (tied && self.map.unembed.iter().any(|end| name.ends_with(end)))
    }

    /// Where a part of this shape is, but for packed matrices of experts.
    fn locate(&self, part: Part, shape: &[i64]) -> Result<Located, ModelError> {
        let absent = || ModelError::Undescribed { part: part.to_string() };
        if let Part::Block(layer, BlockPart::Expert(expert, linear, bias)) = part {
            let (stacked, half) = self.stacked(layer, linear).ok_or_else(absent)?;
            let (n_experts, rows) = (self.n_experts[layer.get()], rows_of(shape[0], half));
            let (name, shape) = match bias {
                true => (format!("{stacked}_bias"), vec![n_experts, rows]),
                false => (stacked, vec![n_experts, shape[1], rows]),
            };
            return Ok(Located { name, shape, cut: Cut::Expert { expert, transposed: !bias, half } });
        }
        if part == Part::Unembed {
            let name = self.unembed.ok_or_else(|| self.no_unembedding())?.to_owned();
            return Ok(Located { name, shape: shape.to_vec(), cut: Cut::Whole });
        }
        let (name, third) = self.map.stored(self.prefix, part).ok_or_else(absent)?;
        let mut shape = shape.to_vec();
        let Part::Block(layer, BlockPart::Linear(..)) = part else {
            return Ok(Located { name, shape, cut: Cut::Whole });
        };
        let rows = third.map(|third| {
            let widths = self.qkv[layer.get()];
            shape[0] = widths.iter().sum();
            (widths[..third].iter().sum(), widths[third])
        });
        let transposed = self.map.transposed && shape.len() == 2;
        if transposed {
            shape.swap(0, 1);
        }
        Ok(Located { name, shape, cut: Cut::Projection { transposed, rows } })
    }

    fn no_unembedding(&self) -> ModelError {
        let Said { place, tie } = &self.said;
        ModelError::NoUnembedding {
            path: place.clone(),
            names: self.map.unembed.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or "),
            tie: tie.clone(),
        }
    }

    /// Where the blocks and scales of a packed matrix of an expert are, `None` if the part is stored otherwise.
    fn packed(&self, part: Part, shape: &[i64], has: impl Fn(&str) -> bool) -> Option<[Located; 2]> {
        let Part::Block(layer, BlockPart::Expert(expert, linear, false)) = part else { return None };
        let &[out, input] = shape else { return None };
        let (stacked, half) = self.stacked(layer, linear)?;
        let [blocks, scales] = ["blocks", "scales"].map(|end| format!("{stacked}_{end}"));
        if input % BLOCK != 0 || !has(&blocks) {
            return None;
        }
        let (n_experts, rows, n_blocks) = (self.n_experts[layer.get()], rows_of(out, half), input / BLOCK);
        let cut = || Cut::Expert { expert, transposed: false, half };
        Some([
            Located { name: blocks, shape: vec![n_experts, rows, n_blocks, BLOCK / 2], cut: cut() },
            Located { name: scales, shape: vec![n_experts, rows, n_blocks], cut: cut() },
        ])
    }

    /// The stacked tensor that holds an expert's projection, and which of its rows do.
    fn stacked(&self, layer: Layer, linear: Linear) -> Option<(String, Half)> {
        let experts = self.map.experts.as_ref()?;
        let (name, half) = match linear {
            Linear::Gate => (experts.gate_and_in, Some(0)),
            Linear::In => (experts.gate_and_in, Some(1)),
            Linear::Out => (experts.out, None),
            _ => return None,
        };
        Some((format!("{}{}{name}", self.prefix, self.map.block.replace("{}", &layer.to_string())), half))
    }
}

fn rows_of(out: i64, half: Half) -> i64 {
    if half.is_some() { 2 * out } else { out }
}

impl WeightSource for Checkpoint {
    fn tensor(&mut self, part: Part, shape: &[i64]) -> Result<Tensor, ModelError> {
        let Located { name, shape, cut } = self.judge.locate(part, shape)?;
        Ok(cut.of(self.store.tensor(&name, &shape)?)?)
    }

    fn matrix(&mut self, part: Part, shape: [i64; 2]) -> Result<Matrix, ModelError> {
        let Some([blocks, scales]) = self.judge.packed(part, &shape, |name| self.store.contains(name)) else {
            return Ok(Matrix::Plain(self.tensor(part, &shape)?));
        };
        let bytes = |at: Located| at.cut.of(self.store.bytes(&at.name, &at.shape)?);
        Ok(Matrix::Mxfp4(Mxfp4 { blocks: bytes(blocks)?, scales: bytes(scales)? }))
    }
}
