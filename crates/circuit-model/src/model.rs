//! A model: its description, its weights, and the tokens it reads.
//!
//! Opening checks everything once (names, shapes, leftovers); after that the forward pass (`forward.rs`) trusts it. Weights
//! stay where the file map is, unless their type or device must change.

use crate::ModelError;
use crate::checkpoint::Checkpoint;
use crate::description::ModelConfig;
use crate::mlp::{Expert, ExpertProjection, Mlp, MlpWeights};
use crate::names::{BlockPart, Linear, NormPlace, Part, WeightSizes, WeightSource};
use crate::norm::{Norm, Projection};
use crate::spec::{LayerSpec, ModelSpec, NormSpec};
use crate::weight_files;
use circuit_index::{Layer, Notice, TokenId};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tch::{Device, Kind, Tensor};

/// A language model with its weights.
#[allow(non_snake_case, reason = "the field's names")]
#[derive(Debug)]
pub struct Model {
    spec: ModelSpec,
    /// Tells this model from all others, those of equal description too.
    pub(crate) identity: Arc<()>,
    kind: Kind,
    device: Device,
    notices: Vec<Notice>,
    /// `[d_vocab, d_model]`.
    pub(crate) W_E: Tensor,
    /// `[n_ctx, d_model]`.
    pub(crate) W_pos: Option<Tensor>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) final_norm: Norm,
    /// `[d_vocab, d_model]`.
    pub(crate) W_U: Tensor,
    /// Whether a pass took the pages of mapped weights already.
    pub(crate) taken: AtomicBool,
}

/// A block's weights.
#[derive(Debug)]
pub struct Block {
    /// Its description.
    pub spec: LayerSpec,
    /// The norm before attention.
    pub attn_norm: Norm,
    /// Attention.
    pub attn: Attention,
    /// The norm after attention.
    pub attn_post_norm: Option<Norm>,
    /// The norm before the MLP.
    pub mlp_norm: Norm,
    /// The MLP.
    pub mlp: Mlp,
    /// The norm after the MLP.
    pub mlp_post_norm: Option<Norm>,
}

impl Block {
    /// The matrices that every pass reads: all but those of experts.
    pub(crate) fn always_read(&self) -> impl Iterator<Item = &Tensor> {
        let Attention { q, k, v, out, .. } = &self.attn;
        [q, k, v, out].into_iter().chain(self.mlp.always_read()).map(|projection| &projection.weight)
    }
}

/// Weights of attention.
#[derive(Debug)]
pub struct Attention {
    /// To queries, `[n_heads * d_head, d_model]`.
    pub q: Projection,
    /// To keys, `[n_kv_heads * d_head, d_model]`.
    pub k: Projection,
    /// To values, `[n_kv_heads * d_head, d_model]`.
    pub v: Projection,
    /// Out, `[d_model, n_heads * d_head]`.
    pub out: Projection,
    /// Norms over heads of queries and keys.
    pub qk_norm: Option<[Norm; 2]>,
    /// Scores of the heads' sinks, `[n_heads]`, where there are sinks.
    pub sinks: Option<Tensor>,
}

impl Model {
    /// Opens a checkpoint folder as the Hugging Face hub lays it out: `config.json` and safetensors, whole or in shards.
    ///
    /// # Errors
    /// If the config is not understood in full, or a tensor is missing, unused, or has another shape or type than described.
    /// All of this is judged by the headers, before a weight is read; [`Model::check`] judges alike.
    pub fn open(folder: &Path, kind: Kind, device: Device) -> Result<Self, ModelError> {
        let (spec, mut checkpoint) = Checkpoint::of(folder)?;
        let mut notices = checkpoint.take_notices();
        notices.extend(checkpoint.ignored_unembedding(&spec));
        Ok(Self { notices, ..Self::new(spec, &mut checkpoint, kind, device)? })
    }

    /// Judges a checkpoint folder as [`Model::open`] does, by its config and the headers of its files alone. Returns the notices
    /// that the opened model would have, except for those about values of weights.
    ///
    /// # Errors
    /// As [`Model::open`], but for weights that cannot be brought to the wanted type or device.
    pub fn check(folder: &Path) -> Result<Vec<Notice>, ModelError> {
        Ok(Checkpoint::of(folder)?.1.take_notices())
    }

    /// The description in a folder's `config.json`, without touching weights. [`ModelConfig::read`] also gives what was noticed
    /// about the file.
    ///
    /// # Errors
    /// As [`ModelConfig::read`].
    pub fn describe(folder: &Path) -> Result<ModelSpec, ModelError> {
        Ok(ModelConfig::read(folder)?.into_spec())
    }

    /// What a checkpoint that belongs to a folder's `config.json` calls these tensors: for writing one.
    ///
    /// # Errors
    /// If the config is not understood in full, or the layout holds one of them otherwise than it is used.
    pub fn checkpoint_names(folder: &Path, parts: &[Part]) -> Result<Vec<String>, ModelError> {
        let map = weight_files::described(folder)?.map;
        let name =
            |part: &Part| map.name(*part).ok_or_else(|| ModelError::Undescribed { part: part.to_string() });
        parts.iter().map(name).collect()
    }

    /// What a folder's weights will need in a type and on a device, from the headers of its files alone.
    ///
    /// # Errors
    /// As [`Model::check`].
    pub fn sizes(folder: &Path, kind: Kind, device: Device) -> Result<WeightSizes, ModelError> {
        let (spec, checkpoint) = Checkpoint::of(folder)?;
        Ok(checkpoint.sizes(&spec, kind, device))
    }

    /// A described model with weights from anywhere.
    ///
    /// # Errors
    /// If the source fails.
    pub fn new(
        spec: ModelSpec,
        source: &mut dyn WeightSource,
        kind: Kind,
        device: Device,
    ) -> Result<Self, ModelError> {
        let mut loader = Loader { spec: &spec, source, kind, device };
        let W_E = loader.tensor(Part::Embed)?;
        let W_pos = loader.optional(Part::PosEmbed)?;
        let blocks = spec.layers.iter().enumerate();
        let blocks =
            blocks.map(|(l, layer)| loader.block(Layer::from(l), layer)).collect::<Result<_, _>>()?;
        let final_norm = loader.norm(spec.final_norm, [Part::FinalNormGain, Part::FinalNormBias])?;
        let W_U = loader.optional(Part::Unembed)?.unwrap_or_else(|| W_E.shallow_clone());
        Ok(Self {
            spec,
            identity: Arc::new(()),
            kind,
            device,
            notices: Vec::new(),
            W_E,
            W_pos,
            blocks,
            final_norm,
            W_U,
            taken: AtomicBool::new(false),
        })
    }

    /// The description.
    #[must_use]
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// What was noticed when the model was opened.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The type of the weights.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The type in which norms, softmax and the pull-back are computed: fp32, or f64 for f64 weights.
    #[must_use]
    pub fn wide_kind(&self) -> Kind {
        crate::norm::wide(self.kind)
    }

    /// Where the weights lie.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// The blocks, first to last.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The norm before the unembedding.
    #[must_use]
    pub fn final_norm(&self) -> &Norm {
        &self.final_norm
    }

    /// The unembedding, `[d_vocab, d_model]`.
    #[allow(non_snake_case, reason = "the field's name")]
    pub fn W_U(&self) -> &Tensor {
        &self.W_U
    }

    /// Names the first weight with a value that is not finite. Reads every weight, so it is for explaining a result that
    /// came out wrong, not for every start.
    #[must_use]
    pub fn find_non_finite(&self) -> Option<String> {
        let bad = |t: &Tensor| !bool::try_from(t.isfinite().all()).unwrap_or(false);
        let mut parts: Vec<(String, &Tensor)> = vec![(Part::Embed.to_string(), &self.W_E)];
        parts.extend(self.W_pos.iter().map(|t| (Part::PosEmbed.to_string(), t)));
        for (l, block) in self.blocks.iter().enumerate() {
            let projection = |name: &str, p: &Projection| {
                let at = format!("blocks.{l}.{name}");
                [bad(&p.weight), p.bias.as_ref().is_some_and(bad)].contains(&true).then_some(at)
            };
            let attn =
                [("attn.W_Q", &block.attn.q), ("attn.W_K", &block.attn.k), ("attn.W_V", &block.attn.v)];
            let attn = attn.into_iter().chain([("attn.W_O", &block.attn.out)]);
            let mlp = || block.mlp.find_non_finite().map(|name| format!("blocks.{l}.{name}"));
            let sinks =
                || block.attn.sinks.as_ref().is_some_and(bad).then(|| format!("blocks.{l}.attn.sinks"));
            if let Some(name) =
                attn.into_iter().find_map(|(n, p)| projection(n, p)).or_else(mlp).or_else(sinks)
            {
                return Some(name);
            }
            let norms = [("ln1", Some(&block.attn_norm)), ("ln1_post", block.attn_post_norm.as_ref())];
            let norms = norms
                .into_iter()
                .chain([("ln2", Some(&block.mlp_norm)), ("ln2_post", block.mlp_post_norm.as_ref())]);
            let qk = block
                .attn
                .qk_norm
                .iter()
                .flat_map(|[q, k]| [("attn.q_norm", Some(q)), ("attn.k_norm", Some(k))]);
            for (name, norm) in norms.chain(qk) {
                if norm.is_some_and(|n| bad(n.gain())) {
                    return Some(format!("blocks.{l}.{name}.w"));
                }
                if norm.and_then(Norm::bias).is_some_and(bad) {
                    return Some(format!("blocks.{l}.{name}.b"));
                }
            }
        }
        parts.push(("ln_final.w".into(), self.final_norm.gain()));
        parts.extend(self.final_norm.bias().map(|b| ("ln_final.b".into(), b)));
        parts.push((Part::Unembed.to_string(), &self.W_U));
        parts.into_iter().find(|(_, t)| bad(t)).map(|(name, _)| name)
    }
}

/// Tokens that a model can read, checked once: ids within its vocabulary, no longer than its context.
#[derive(Debug)]
pub struct TokenBatch {
    /// `[batch, pos]`, whole numbers.
    ids: Tensor,
}

impl TokenBatch {
    /// One prompt.
    ///
    /// # Errors
    /// If it is empty, too long, or has an id that the model does not have.
    pub fn new(tokens: &[TokenId], model: &Model) -> Result<Self, ModelError> {
        let spec = model.spec();
        if tokens.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        if tokens.len() > spec.n_ctx {
            return Err(ModelError::PromptTooLong { found: tokens.len(), limit: spec.n_ctx });
        }
        if let Some(&token) = tokens.iter().find(|t| t.get() >= spec.d_vocab) {
            return Err(ModelError::NoSuchToken { token, d_vocab: spec.d_vocab });
        }
        let ids: Vec<i64> = tokens.iter().map(|t| i64::from(t.0)).collect();
        let ids = Tensor::f_from_slice(&ids).and_then(|t| t.f_to_device(model.device()));
        Ok(Self { ids: ids.map_err(circuit_torch::TorchError::from)?.unsqueeze(0) })
    }

    /// Several prompts, one in each row; shorter ones are filled up behind their end, where nothing before sees it.
    ///
    /// # Errors
    /// As [`TokenBatch::new`], for any of them; or if there is none.
    pub fn of_prompts(prompts: &[&[TokenId]], model: &Model) -> Result<Self, ModelError> {
        let longest = prompts.iter().map(|p| p.len()).max().unwrap_or(0);
        let rows = prompts.iter().map(|prompt| {
            let _checked = Self::new(prompt, model)?;
            let filled = prompt.iter().map(|t| i64::from(t.0)).chain(std::iter::repeat(0)).take(longest);
            Ok(filled.collect::<Vec<_>>())
        });
        let rows: Vec<Vec<i64>> = rows.collect::<Result<_, ModelError>>()?;
        if rows.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        let shape = [rows.len() as i64, longest as i64];
        let ids =
            Tensor::f_from_slice(&rows.concat()).and_then(|t| t.f_view(shape)?.f_to_device(model.device()));
        Ok(Self { ids: ids.map_err(circuit_torch::TorchError::from)? })
    }

    /// The same prompt in `n` batch rows, for running several edits side by side.
    #[must_use]
    pub fn repeat(&self, n: usize) -> Self {
        Self { ids: self.ids.narrow(0, 0, 1).expand([n as i64, -1], false) }
    }

    /// `[batch, pos]`.
    pub fn ids(&self) -> &Tensor {
        &self.ids
    }

    /// Number of batch rows.
    #[must_use]
    pub fn n_batch(&self) -> usize {
        self.ids.size()[0] as usize
    }

    /// Number of positions.
    #[must_use]
    pub fn n_pos(&self) -> usize {
        self.ids.size()[1] as usize
    }
}

/// Takes parts from a source and brings them to the wanted type and device.
struct Loader<'a> {
    spec: &'a ModelSpec,
    source: &'a mut dyn WeightSource,
    kind: Kind,
    device: Device,
}

impl Loader<'_> {
    /// A tensor that the described model has.
    fn tensor(&mut self, part: Part) -> Result<Tensor, ModelError> {
        self.optional(part)?.ok_or_else(|| ModelError::Undescribed { part: part.to_string() })
    }

    /// A tensor, if the described model has it.
    fn optional(&mut self, part: Part) -> Result<Option<Tensor>, ModelError> {
        let Some(shape) = self.spec.shape_of(part) else { return Ok(None) };
        let tensor = self.source.tensor(part, &shape)?;
        debug_assert_eq!(tensor.size(), shape, "{part}");
        let ready = tensor.f_to_device(self.device).and_then(|t| t.f_to_kind(self.kind));
        let ready = ready.map_err(circuit_torch::TorchError::from)?;
        if ready.device() != tensor.device() || ready.kind() != tensor.kind() {
            circuit_torch::release(&tensor); // A copy was made; the file's pages are needed no more.
        }
        Ok(Some(ready))
    }

    fn norm(&mut self, spec: NormSpec, [gain, bias]: [Part; 2]) -> Result<Norm, ModelError> {
        let (weight, bias) = (self.tensor(gain)?, self.optional(bias)?);
        Ok(Norm::new(spec, &weight, bias.as_ref()))
    }

    /// A projection, if the described model has it.
    fn projection(&mut self, layer: Layer, linear: Linear) -> Result<Option<Projection>, ModelError> {
        let part = |bias| Part::Block(layer, BlockPart::Linear(linear, bias));
        let Some(weight) = self.optional(part(false))? else { return Ok(None) };
        Ok(Some(Projection { weight, bias: self.optional(part(true))? }))
    }

    /// A projection that every model has.
    fn needed(&mut self, layer: Layer, linear: Linear) -> Result<Projection, ModelError> {
        let part = Part::Block(layer, BlockPart::Linear(linear, false));
        self.projection(layer, linear)?.ok_or_else(|| ModelError::Undescribed { part: part.to_string() })
    }

    fn block(&mut self, layer: Layer, spec: &LayerSpec) -> Result<Block, ModelError> {
        let [q, k, v, out] = [
            self.needed(layer, Linear::Q)?,
            self.needed(layer, Linear::K)?,
            self.needed(layer, Linear::V)?,
            self.needed(layer, Linear::O)?,
        ];
        let mlp = match spec.mlp.experts {
            None => Mlp::Dense(MlpWeights {
                gate: self.projection(layer, Linear::Gate)?,
                input: self.needed(layer, Linear::In)?,
                out: self.needed(layer, Linear::Out)?,
            }),
            Some(experts) => Mlp::Experts {
                router: self.needed(layer, Linear::Router)?,
                experts: (0..experts.n_experts).map(|e| self.expert(layer, e)).collect::<Result<_, _>>()?,
            },
        };
        let sinks = self.optional(Part::Block(layer, BlockPart::Sinks))?;
        let mut norm = |spec, place| {
            self.norm(spec, [false, true].map(|bias| Part::Block(layer, BlockPart::Norm(place, bias))))
        };
        let qk_norm = match spec.attn.qk_norm {
            Some(spec) => Some([norm(spec, NormPlace::Q)?, norm(spec, NormPlace::K)?]),
            None => None,
        };
        let norms = &spec.norms;
        Ok(Block {
            spec: spec.clone(),
            attn_norm: norm(norms.attn(), NormPlace::Attn)?,
            attn: Attention { q, k, v, out, qk_norm, sinks },
            attn_post_norm: norms.attn_post().map(|s| norm(s, NormPlace::AttnPost)).transpose()?,
            mlp_norm: norm(norms.mlp(), NormPlace::Mlp)?,
            mlp,
            mlp_post_norm: norms.mlp_post().map(|s| norm(s, NormPlace::MlpPost)).transpose()?,
        })
    }

    fn expert(&mut self, layer: Layer, expert: usize) -> Result<Expert, ModelError> {
        Ok(Expert {
            gate: self.expert_projection(layer, expert, Linear::Gate)?,
            input: self.needed_of_expert(layer, expert, Linear::In)?,
            out: self.needed_of_expert(layer, expert, Linear::Out)?,
        })
    }

    /// A projection of an expert, if the described model has it.
    fn expert_projection(
        &mut self,
        layer: Layer,
        expert: usize,
        linear: Linear,
    ) -> Result<Option<ExpertProjection>, ModelError> {
        let part = |bias| Part::Block(layer, BlockPart::Expert(expert, linear, bias));
        let Some(shape) = self.spec.shape_of(part(false)) else { return Ok(None) };
        let &[out, input] = shape.as_slice() else { unreachable!("the weight of a projection is [out, in]") };
        let weight = self.source.matrix(part(false), [out, input])?.to(self.kind, self.device);
        let weight = weight.map_err(circuit_torch::TorchError::from)?;
        Ok(Some(ExpertProjection { weight, bias: self.optional(part(true))? }))
    }

    /// A projection that every expert has.
    fn needed_of_expert(
        &mut self,
        layer: Layer,
        expert: usize,
        linear: Linear,
    ) -> Result<ExpertProjection, ModelError> {
        let part = Part::Block(layer, BlockPart::Expert(expert, linear, false));
        let projection = self.expert_projection(layer, expert, linear)?;
        projection.ok_or_else(|| ModelError::Undescribed { part: part.to_string() })
    }
}
