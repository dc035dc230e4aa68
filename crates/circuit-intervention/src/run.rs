//! Running prompts with edits, many side by side.

use crate::InterventionError;
use crate::edit::{Change, Edit, Planned, plan};
use crate::pass::{EditedPass, Held};
use circuit_index::{Layer, Site, TokenId};
use circuit_model::{Hooks, Model, TokenBatch};
use circuit_transcoder::{ActiveFeatures, Transcoder, TranscoderSet};
use std::collections::BTreeMap;
use std::ops::Range;
use tch::Tensor;

/// A prompt and what is done on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The tokens, the one in front included.
    pub tokens: Vec<TokenId>,
    /// The edits, none for the undisturbed run.
    pub edits: Vec<Edit>,
}

/// What is held at its undisturbed value while edits act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// Nothing: a change goes through everything.
    Nothing,
    /// Attention patterns; MLPs, transcoders and norms respond.
    Attention,
    /// Attention patterns, and the outputs of these layers' transcoders; edits count from the undisturbed activation and write in
    /// these layers alone. If they are all layers, norm denominators are held too, and effects are those of the graph.
    Layers(Range<usize>),
}

/// A model with transcoders whose features can be edited.
#[derive(Clone, Copy, Debug)]
pub struct Interventions<'a> {
    model: &'a Model,
    set: &'a TranscoderSet,
    ignored: usize,
}

/// What came out for one request.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// `[pos, d_vocab]`, wide, after any soft cap.
    pub logits: Tensor,
    /// The places in `edits` of those that wrote nothing or not all they write, since they lie outside the held layers.
    pub outside: Vec<usize>,
    /// The places in `edits` of those that changed nothing, since their feature is silent (its activation is 0) wherever they
    /// acted, and stays so. Positions without features count as silent.
    pub unchanged: Vec<usize>,
    set: &'a TranscoderSet,
    ignored: usize,
    /// What each layer's encoders read, `[pos, d_model]`, wide.
    inputs: Vec<Tensor>,
}

impl Outcome<'_> {
    /// Number of layers.
    #[must_use]
    pub fn n_layers(&self) -> usize {
        self.inputs.len()
    }

    /// Activations of a layer in the disturbed run, `[pos, n_features]`, before or after the activation function; 0 at ignored
    /// positions. They are what the encoders find: a value that an edit set is not put in.
    ///
    /// # Errors
    /// If there is no such layer, or LibTorch fails, for example for want of memory.
    pub fn activations(
        &self,
        layer: Layer,
        apply_activation_function: bool,
    ) -> Result<Tensor, InterventionError> {
        let transcoder = self.layer(layer)?;
        circuit_torch::guard(|| {
            let pre = transcoder.pre_activations(&self.inputs[layer.get()]);
            let found = if apply_activation_function { transcoder.activate(&pre) } else { pre };
            let ignored = self.ignored.min(found.size()[0] as usize) as i64;
            let _ = found.narrow(0, 0, ignored).zero_();
            Ok(found)
        })
    }

    /// The same as the list of active features.
    ///
    /// # Errors
    /// If there is no such layer, an activation is not finite, or LibTorch fails.
    pub fn active(&self, layer: Layer) -> Result<ActiveFeatures, InterventionError> {
        let transcoder = self.layer(layer)?;
        Ok(transcoder.encode(&self.inputs[layer.get()], self.ignored, layer.get())?)
    }
}

impl Outcome<'_> {
    fn layer(&self, layer: Layer) -> Result<&Transcoder, InterventionError> {
        let n_layers = self.set.layers().len();
        self.set.layers().get(layer.get()).ok_or(InterventionError::NoSuchLayer { layer, n_layers })
    }
}

impl<'a> Interventions<'a> {
    /// A model and its transcoders; the first `ignored` positions have no features.
    ///
    /// # Errors
    /// If the two have different numbers of layers, or features are chosen over all layers together.
    pub fn new(model: &'a Model, set: &'a TranscoderSet, ignored: usize) -> Result<Self, InterventionError> {
        let (found, expected) = (set.layers().len(), model.spec().n_layers());
        if found != expected {
            return Err(InterventionError::Layers { found, expected });
        }
        if set.is_joint() {
            return Err(InterventionError::Joint);
        }
        Ok(Self { model, set, ignored })
    }

    /// Runs all requests in one pass (and one before it, where something of an undisturbed run is needed). Prompts may differ in length.
    ///
    /// # Errors
    /// If an edit, prompt or held layer is impossible, or the run fails.
    pub fn run(&self, requests: &[Request], freeze: &Freeze) -> Result<Vec<Outcome<'a>>, InterventionError> {
        if requests.is_empty() {
            return Err(InterventionError::NoRequest);
        }
        let held = self.held(freeze)?;
        let mut edits = Vec::new();
        for (row, request) in requests.iter().enumerate() {
            edits.extend(plan(row, &request.edits, request.tokens.len(), self.set)?);
        }
        let prompts: Vec<&[TokenId]> = requests.iter().map(|r| r.tokens.as_slice()).collect();
        // What stands behind a prompt is never seen by it.
        let tokens = TokenBatch::of_prompts(&prompts, self.model)?;
        let undisturbed = self.undisturbed(&tokens, &held, &edits)?;
        let wide = self.model.wide_kind();
        let mut pass = EditedPass::new(self.set, wide, &held, &undisturbed, &edits, self.ignored, 0);
        let logits = self.model.forward(&tokens, &mut pass)?;
        let outcomes = requests.iter().enumerate().map(|(row, request)| {
            let own = |t: &Tensor| {
                let own = t.f_select(0, row as i64)?.f_narrow(0, 0, request.tokens.len() as i64)?;
                own.f_to_kind(wide)
            };
            let inputs = pass.inputs.iter().map(own).collect::<Result<_, _>>()?;
            let unchanged = pass.seen.unchanged(row);
            Ok(self.outcome(own(&logits)?, inputs, &request.edits, &held, unchanged))
        });
        outcomes.collect()
    }

    pub(crate) fn model(&self) -> &'a Model {
        self.model
    }

    pub(crate) fn set(&self) -> &'a TranscoderSet {
        self.set
    }

    pub(crate) fn ignored(&self) -> usize {
        self.ignored
    }

    pub(crate) fn outcome(
        &self,
        logits: Tensor,
        inputs: Vec<Tensor>,
        edits: &[Edit],
        held: &Held,
        unchanged: Vec<usize>,
    ) -> Outcome<'a> {
        let outside = self.outside(edits, held);
        Outcome { logits, outside, unchanged, set: self.set, ignored: self.ignored, inputs }
    }

    pub(crate) fn held(&self, freeze: &Freeze) -> Result<Held, InterventionError> {
        let n_layers = self.set.layers().len();
        Ok(match freeze {
            Freeze::Nothing => Held::default(),
            Freeze::Attention => Held { patterns: true, ..Held::default() },
            Freeze::Layers(layers) => {
                if layers.is_empty() || layers.end > n_layers {
                    let (start, last) = (layers.start, layers.end.saturating_sub(1));
                    return Err(InterventionError::NoSuchLayers { start, last, n_layers });
                }
                Held { patterns: true, denominators: *layers == (0..n_layers), layers: layers.clone() }
            }
        })
    }

    /// What a run without edits computes at the sites that matter; nothing is run where none does.
    pub(crate) fn undisturbed(
        &self,
        tokens: &TokenBatch,
        held: &Held,
        edits: &[Planned],
    ) -> Result<BTreeMap<Site, Tensor>, InterventionError> {
        let scales = edits.iter().any(|edit| matches!(edit.change, Change::Scale(_)));
        if *held == Held::default() && !scales {
            return Ok(BTreeMap::new());
        }
        let info = self.set.info();
        let mut sites: Vec<_> = self.model.spec().sites().into_iter().filter(|s| held.holds(*s)).collect();
        for l in 0..self.set.layers().len() {
            sites.push(Site::Block(Layer::from(l), info.reads));
            if held.layers.contains(&l) {
                sites.push(Site::Block(Layer::from(l), info.writes));
            }
        }
        let mut hooks = Hooks::new().record(sites);
        let _logits = self.model.forward(tokens, &mut hooks)?;
        Ok(hooks.finish()?)
    }

    /// Edits whose features write outside the held layers.
    fn outside(&self, edits: &[Edit], held: &Held) -> Vec<usize> {
        let n_layers = self.set.layers().len();
        let writes_outside = |edit: &Edit| {
            let first = edit.layer.get();
            let outputs = (first..n_layers).take(self.set.layers()[first].n_outputs());
            !held.layers.is_empty() && outputs.into_iter().any(|l| !held.layers.contains(&l))
        };
        edits.iter().enumerate().filter(|(_, edit)| writes_outside(edit)).map(|(i, _)| i).collect()
    }
}
