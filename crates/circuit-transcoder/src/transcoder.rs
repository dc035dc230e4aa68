//! One layer's transcoder: `acts = activation(x W_enc^T + b_enc)`; each active feature writes `act · W_dec[f, j]` at the layer
//! j above its own; and what is written at one layer adds up to `reconstruction = Σ writes + b_dec + x W_skip^T`.
//!
//! Per-layer sets are the case in which a feature has one decoder row, cross-layer sets (Ameisen et al., 2025) that in which
//! it has one for each layer from its own up. Nothing else tells the two apart.

use crate::TranscoderError;
use circuit_torch::{Conveyor, Stored, TorchError};
use tch::{Kind, Tensor};

/// How much is held at once when prompts are encoded and decoder rows are read, in numbers. Cuts change no result, but for the
/// last bits of a product: the library may sum up in another order where a product has another shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// Pre-activations: so many positions are encoded together.
    pub pre_activations: usize,
    /// Weights: an encoder is gone through, and decoder rows are taken, in pieces of this size.
    pub weights: usize,
}

impl Default for Cuts {
    /// Sixteen and thirty-two million: products of a size at which larger ones are no faster.
    fn default() -> Self {
        Self { pre_activations: 1 << 24, weights: 1 << 25 }
    }
}

/// How pre-activations become activations.
#[derive(Debug)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x` where `x > threshold`, else 0 (Rajamanoharan et al., 2024).
    JumpRelu {
        /// `[n_features]`.
        threshold: Tensor,
    },
    /// The k largest pre-activations of a position, whatever their sign; 0 elsewhere.
    TopK {
        /// How many are kept.
        k: usize,
    },
    /// `max(x, 0)` of the k largest pre-activations of a position, plus the shift where that is above 0; 0 elsewhere.
    ReluTopK {
        /// How many are kept at most.
        k: usize,
        /// `[n_features]`, fp32 or f64.
        shift: Option<Tensor>,
    },
    /// `max(x, 0)` of those whose products with `norms` are the k largest of all layers at a position; 0 elsewhere. A layer alone
    /// tells which of its own may be among them; [`TranscoderSet::choose`](crate::TranscoderSet::choose) decides.
    JointTopK {
        /// How many are kept at most, of all layers together.
        k: usize,
        /// `[n_features]`: how much a feature's activation weighs.
        norms: Tensor,
    },
}

/// The transcoder of one layer.
#[derive(Debug)]
pub struct Transcoder {
    /// `[n_features, d_model]`, as stored.
    pub W_enc: Stored,
    /// `[n_features, n_outputs, d_model]`, as stored: row j is written j layers above this one.
    pub W_dec: Stored,
    /// `[n_features]`, fp32 or f64.
    pub b_enc: Tensor,
    /// `[d_model]`, fp32 or f64: written at this layer, once, whatever features write there.
    pub b_dec: Tensor,
    /// `[d_model, d_model]`, fp32 or f64: a linear path past the features of this layer, `x W_skip^T`.
    pub W_skip: Option<Tensor>,
    /// The activation function.
    pub activation: Activation,
}

/// The active features of one layer, by position, then index.
#[derive(Debug)]
pub struct ActiveFeatures {
    /// `[n_active]`, whole numbers, ascending.
    pub positions: Tensor,
    /// `[n_active]`, whole numbers, ascending within a position.
    pub indices: Tensor,
    /// `[n_active]`, fp32 or f64; never 0.
    pub values: Tensor,
}

impl ActiveFeatures {
    /// The same, for another thread; their numbers are shared.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        let [positions, indices, values] =
            [&self.positions, &self.indices, &self.values].map(Tensor::shallow_clone);
        Self { positions, indices, values }
    }
}

impl Activation {
    fn shallow_clone(&self) -> Self {
        match self {
            Self::Relu => Self::Relu,
            Self::JumpRelu { threshold } => Self::JumpRelu { threshold: threshold.shallow_clone() },
            &Self::TopK { k } => Self::TopK { k },
            Self::ReluTopK { k, shift } => {
                Self::ReluTopK { k: *k, shift: shift.as_ref().map(Tensor::shallow_clone) }
            }
            Self::JointTopK { k, norms } => Self::JointTopK { k: *k, norms: norms.shallow_clone() },
        }
    }
}

impl Transcoder {
    /// The same, for another thread; its numbers are shared.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        Self {
            W_enc: self.W_enc.shallow_clone(),
            W_dec: self.W_dec.shallow_clone(),
            b_enc: self.b_enc.shallow_clone(),
            b_dec: self.b_dec.shallow_clone(),
            W_skip: self.W_skip.as_ref().map(Tensor::shallow_clone),
            activation: self.activation.shallow_clone(),
        }
    }

    /// Number of features.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.b_enc.size()[0] as usize
    }

    /// At how many layers a feature writes: this one and the next ones.
    #[must_use]
    pub fn n_outputs(&self) -> usize {
        self.W_dec.size()[1] as usize
    }

    /// Pre-activations `[pos, n_features]` of `x [pos, d_model]`, in the type of `x` and on its device, bias included.
    ///
    /// # Panics
    /// As tch's operators do: if LibTorch fails. `circuit_torch::guard` makes an error of it.
    pub fn pre_activations(&self, x: &Tensor) -> Tensor {
        done(Encoder::new(self, x, Cuts::default()).and_then(|encoder| encoder.pre_activations(x)))
    }

    /// Activations of pre-activations, `[pos, n_features]`.
    pub fn activate(&self, pre: &Tensor) -> Tensor {
        match &self.activation {
            Activation::Relu => pre.relu(),
            Activation::JumpRelu { threshold } => {
                pre * pre.gt_tensor(&threshold.to_kind(pre.kind())).to_kind(pre.kind())
            }
            Activation::TopK { k } => largest(pre, *k),
            Activation::ReluTopK { k, shift } => {
                let acts = largest(pre, *k).relu();
                match shift {
                    Some(shift) => &acts + acts.gt(0.0).to_kind(acts.kind()) * shift.to_kind(acts.kind()),
                    None => acts,
                }
            }
            Activation::JointTopK { k, norms } => {
                let acts = pre.relu();
                let k = (*k as i64).min(acts.size()[1]);
                let (_, indices) = (&acts * norms.to_kind(acts.kind())).topk(k, -1, true, false);
                acts.zeros_like().scatter_(-1, &indices, &acts.gather(-1, &indices, false))
            }
        }
    }

    /// The active features on `x [pos, d_model]`; none at the first `ignored` positions. `layer` is for messages.
    ///
    /// # Errors
    /// If a pre-activation is not finite, or LibTorch fails.
    pub fn encode(
        &self,
        x: &Tensor,
        ignored: usize,
        layer: usize,
    ) -> Result<ActiveFeatures, TranscoderError> {
        self.encode_in(x, ignored, layer, Cuts::default())
    }

    /// The same, cut in another way.
    ///
    /// # Errors
    /// As [`Transcoder::encode`].
    pub fn encode_in(
        &self,
        x: &Tensor,
        ignored: usize,
        layer: usize,
        cuts: Cuts,
    ) -> Result<ActiveFeatures, TranscoderError> {
        circuit_torch::guard(|| {
            let n_pos = x.size()[0];
            let encoder = Encoder::new(self, x, cuts)?;
            let step = (cuts.pre_activations as i64 / self.n_features().max(1) as i64).max(1);
            let (mut places, mut values) = (Vec::new(), Vec::new());
            let mut start = ignored as i64;
            while start < n_pos {
                let len = step.min(n_pos - start);
                let pre = encoder.pre_activations(&x.narrow(0, start, len))?;
                if !bool::try_from(pre.isfinite().all())? {
                    return Err(TranscoderError::NotFinite { layer, what: "pre-activations are" });
                }
                let acts = self.activate(&pre);
                let found = acts.nonzero(); // [n, 2], row-major order: by position, then index
                values.push(acts.take(&(found.select(1, 0) * acts.size()[1] + found.select(1, 1))));
                places.push(found + Tensor::from_slice(&[start, 0]).to_device(x.device()));
                start += len;
            }
            if places.is_empty() {
                places.push(Tensor::zeros([0, 2], (Kind::Int64, x.device())));
                values.push(Tensor::zeros([0], (x.kind(), x.device())));
            }
            let places = Tensor::cat(&places, 0);
            Ok(ActiveFeatures {
                positions: places.select(1, 0).contiguous(),
                indices: places.select(1, 1).contiguous(),
                values: Tensor::cat(&values, 0).to_kind(self.b_enc.kind()),
            })
        })
    }

    /// Encoder rows `[n, d_model]` of features, in fp32 or f64, on the device of the biases.
    ///
    /// # Panics
    /// As tch's operators do: if there is no such feature, or LibTorch fails.
    pub fn encoder_rows(&self, indices: &Tensor) -> Tensor {
        done(self.rows(&self.W_enc, indices))
    }

    /// Decoder rows `[n, n_outputs, d_model]` of features, likewise.
    ///
    /// # Panics
    /// Likewise.
    pub fn decoder_rows(&self, indices: &Tensor) -> Tensor {
        done(self.rows(&self.W_dec, indices))
    }

    /// Of decoder rows those that are written `above` layers above this one, `[n, d_model]`, likewise.
    ///
    /// # Panics
    /// Likewise.
    pub fn decoder_rows_at(&self, above: usize, indices: &Tensor) -> Tensor {
        let rows = || self.rows(&self.W_dec.narrow(1, above as i64, 1)?, indices);
        done(rows()).squeeze_dim(1)
    }

    fn rows(&self, stored: &Stored, indices: &Tensor) -> Result<Tensor, TorchError> {
        // Selected where the weights lie, so that only these rows of a mapped file are read; and not held.
        let rows = stored.select(indices)?;
        stored.release();
        Ok(rows.f_to_device(self.b_enc.device())?.f_to_kind(self.b_enc.kind())?)
    }

    /// The activation of one feature on each `x [n, d_model]`: of `features [n]`, `[n]` in fp32 or f64.
    pub fn activations_at(&self, x: &Tensor, features: &Tensor) -> Tensor {
        let pre = || {
            let own = (x * self.encoder_rows(features)).sum_dim_intlist([-1_i64].as_slice(), false, x.kind());
            own + self.b_enc.index_select(0, features)
        };
        match &self.activation {
            Activation::Relu => pre().relu(),
            Activation::JumpRelu { threshold } => {
                let pre = pre();
                let passes = pre.gt_tensor(&threshold.index_select(0, features).to_kind(pre.kind()));
                &pre * passes.to_kind(pre.kind())
            }
            // Whether a feature is among the largest depends on all of them.
            Activation::TopK { .. } | Activation::ReluTopK { .. } | Activation::JointTopK { .. } => {
                let all = self.activate(&self.pre_activations(x));
                all.gather(1, &features.unsqueeze(-1), false).squeeze_dim(-1)
            }
        }
    }

    /// The reconstruction `[pos, d_model]` at this layer from what features write here (`[n, d_model]`, each at its position of
    /// `positions [n]`, whatever layer it sits in) and this layer's input `x [pos, d_model]`, in fp32 or f64.
    pub fn reconstruct(&self, writes: &Tensor, positions: &Tensor, x: &Tensor) -> Tensor {
        let x = x.to_kind(self.b_dec.kind());
        let bias = self.b_dec.unsqueeze(0).expand_as(&x).contiguous();
        let sum = bias.index_add(0, positions, writes);
        match &self.W_skip {
            Some(W_skip) => sum + x.linear(W_skip, None::<&Tensor>),
            None => sum,
        }
    }
}

/// The value, or a panic as that of an operator of tch, which `circuit_torch::guard` turns back into an error.
fn done(result: Result<Tensor, TorchError>) -> Tensor {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// An encoder on its way past inputs: as a whole where it is small, otherwise piece by piece. No page of its file is held
/// longer than it is used.
struct Encoder<'a> {
    transcoder: &'a Transcoder,
    b_enc: Tensor,
    /// Features of a piece.
    step: i64,
    /// All of it, where one piece is enough.
    whole: Option<Tensor>,
}

impl<'a> Encoder<'a> {
    /// The encoder in the type and on the device of `like`.
    fn new(transcoder: &'a Transcoder, like: &Tensor, cuts: Cuts) -> Result<Self, TorchError> {
        let n_features = transcoder.n_features() as i64;
        let step = (cuts.weights as i64 / transcoder.b_dec.size()[0].max(1)).max(1);
        let mut encoder =
            Self { transcoder, b_enc: transcoder.b_enc.f_to_kind(like.kind())?, step, whole: None };
        if n_features <= step {
            encoder.whole = Some(encoder.piece(0, n_features, like)?);
        }
        Ok(encoder)
    }

    /// Some features' rows, one after the other: products are rounded by how matrices lie, and a set must give the same numbers
    /// in every layout.
    fn piece(&self, first: i64, len: i64, like: &Tensor) -> Result<Tensor, TorchError> {
        let stored = self.transcoder.W_enc.narrow(0, first, len)?;
        stored.populate();
        let weights = stored.to_tensor()?;
        Ok(weights.f_to_device(like.device())?.f_to_kind(like.kind())?.f_contiguous()?)
    }

    fn pre_activations(&self, x: &Tensor) -> Result<Tensor, TorchError> {
        if let Some(W_enc) = &self.whole {
            return Ok(x.linear(W_enc, Some(&self.b_enc)));
        }
        let n_features = self.b_enc.size()[0];
        let pre = Tensor::f_empty([x.size()[0], n_features], (x.kind(), x.device()))?;
        let product = |first: i64, W_enc: &Tensor| {
            let len = W_enc.size()[0];
            let b_enc = self.b_enc.f_narrow(0, first, len)?;
            pre.f_narrow(1, first, len)?.f_copy_(&x.f_linear(W_enc, Some(&b_enc))?)
        };
        let stored = &self.transcoder.W_enc;
        let pieces = || (0..n_features).step_by(self.step as usize);
        let len = |first: i64| self.step.min(n_features - first);
        if x.device() != stored.device() {
            // While the device computes with one piece, the next is on its way.
            let numbers = (self.step * x.size()[1]) as usize;
            let mut firsts = pieces();
            return Conveyor::new(numbers, stored.kind(), x.device())?
                .carry(pieces().map(|first| stored.narrow(0, first, len(first))), |W_enc| {
                    let first = firsts.next().unwrap_or_default();
                    product(first, &W_enc.f_to_kind(x.kind())?)?;
                    Ok(())
                })
                .map(|()| pre);
        }
        for first in pieces() {
            product(first, &self.piece(first, len(first), x)?)?;
            stored.narrow(0, first, len(first))?.release();
        }
        Ok(pre)
    }
}

impl Drop for Encoder<'_> {
    fn drop(&mut self) {
        self.transcoder.W_enc.release();
    }
}

/// The k largest numbers of each row, 0 elsewhere.
fn largest(pre: &Tensor, k: usize) -> Tensor {
    let (values, indices) = pre.topk(k as i64, -1, true, false);
    pre.zeros_like().scatter(-1, &indices, &values)
}
