//! The trained set in its published layout: `config.yaml` and safetensors, scales folded in.
//!
//! Per layer `layer_N.safetensors`; cross-layer `W_enc_N.safetensors` and `W_dec_N.safetensors`. Every file is written whole or
//! not at all, `config.yaml` last: a folder with a config is a whole set.

use crate::{ActivationChoice, TrainError, Trainer};
use circuit_transcoder::MappedFile;
use std::io::Write;
use std::path::Path;
use tch::{Kind, Tensor};

/// The type in which matrices are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredKind {
    /// 32 bits.
    Float32,
    /// 16 bits, the range of float32.
    Bfloat16,
}

impl StoredKind {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Float32 => Kind::Float,
            Self::Bfloat16 => Kind::BFloat16,
        }
    }
}

impl Trainer<'_> {
    /// Writes the set as it is now. `model_name` and `scan` go into its config.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_set(
        &self,
        folder: &Path,
        model_name: &str,
        scan: &str,
        kind: StoredKind,
    ) -> Result<(), TrainError> {
        for (l, params) in self.params.iter().enumerate() {
            let scale = |t: &Tensor, by: f64| t.detach().to_kind(Kind::Double) * by;
            let (input, output) = (self.scales[l].input, self.scales[l].output);
            let outputs = 0..params.W_dec.size()[1] as usize;
            let W_dec: Vec<_> = outputs
                .map(|j| scale(&params.W_dec.select(1, j as i64), self.scales[l + j].output))
                .collect();
            let W_enc = scale(&params.W_enc, 1.0 / input);
            let b_enc = scale(&params.b_enc, 1.0);
            let b_dec = scale(&params.b_dec, output);
            let W_skip = params.W_skip.as_ref().map(|t| scale(t, output / input));
            let threshold = params.log_threshold.as_ref().map(|t| scale(&t.detach().exp(), 1.0));
            let of = |name: &str, t: Tensor| (name.to_owned(), t);
            match self.settings.cross_layer {
                false => {
                    let mut tensors = vec![
                        of("W_enc", W_enc),
                        of("W_dec", W_dec.into_iter().next().expect("a feature writes at its own layer")),
                        of("b_enc", b_enc),
                        of("b_dec", b_dec),
                    ];
                    tensors.extend(W_skip.map(|t| of("W_skip", t)));
                    tensors.extend(threshold.map(|t| of("activation_function.threshold", t)));
                    write_file(folder, format!("layer_{l}.safetensors"), tensors, kind)?;
                }
                true => {
                    let mut tensors = vec![
                        of(&format!("W_enc_{l}"), W_enc),
                        of(&format!("b_enc_{l}"), b_enc),
                        of(&format!("b_dec_{l}"), b_dec),
                    ];
                    // Cross-layer files hold `x W_skip`, not `x W_skip^T`.
                    tensors.extend(W_skip.map(|t| of(&format!("W_skip_{l}"), t.tr())));
                    tensors.extend(threshold.map(|t| of(&format!("threshold_{l}"), t)));
                    write_file(folder, format!("W_enc_{l}.safetensors"), tensors, kind)?;
                    let tensors = vec![of(&format!("W_dec_{l}"), Tensor::stack(&W_dec, 1))];
                    write_file(folder, format!("W_dec_{l}.safetensors"), tensors, kind)?;
                }
            }
        }
        let model_kind = if self.settings.cross_layer { "cross_layer_transcoder" } else { "transcoder_set" };
        let mut config = format!(
            "model_name: {}\nmodel_kind: {model_kind}\nfeature_input_hook: {}\nfeature_output_hook: {}\nscan: {}\n",
            quoted(model_name),
            self.sites.reads,
            self.sites.writes,
            quoted(scan)
        );
        if let ActivationChoice::TopK { k } = self.settings.activation {
            config += &format!("activation: topk\nk: {k}\n");
        }
        let path = folder.join("config.yaml");
        circuit_format::write_atomically(&path, |out| out.write_all(config.as_bytes()))?;
        Ok(())
    }
}

/// A text as YAML, which reads JSON's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writes one file of the set; vectors stay in fp32.
fn write_file(
    folder: &Path,
    name: String,
    tensors: Vec<(String, Tensor)>,
    kind: StoredKind,
) -> Result<(), TrainError> {
    let path = folder.join(&name);
    let tensors = tensors.into_iter().map(|(name, t)| (name, t.to_kind(Kind::Float).into()));
    let file = MappedFile::new(name, tensors.collect());
    Ok(circuit_format::write_atomically(&path, |out| file.write(Some(kind.kind()), out))?)
}
