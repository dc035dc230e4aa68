//! Checkpoints: all of a run's state in one safetensors file, written whole or not at all.
//!
//! The numbers that are no tensors lie in it as bytes (`state.rs`).

use crate::params::Params;
use crate::state::RunState;
use crate::{TrainError, Trainer};
use circuit_torch::TensorFile;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::Path;
use tch::{Device, Kind, Tensor};

const STATE: &str = "state";

impl Trainer<'_> {
    /// Writes the state of the run.
    ///
    /// # Errors
    /// If the file cannot be written; one that was there stays.
    pub fn save_checkpoint(&self, path: &Path) -> Result<(), TrainError> {
        let unwritable = |reason| TrainError::Checkpoint { path: path.into(), reason };
        let state = RunState::new(self.settings.clone(), self.run, self.step).write().map_err(unwritable)?;
        let mut tensors = vec![(STATE.to_owned(), Tensor::from_slice(&state))];
        for (l, params) in self.params.iter().enumerate() {
            for ((name, weight), [mean, square]) in params.named().into_iter().zip(&self.moments[l]) {
                tensors.push((format!("{l}.{name}"), weight.detach()));
                tensors.push((format!("{l}.{name}.mean"), mean.shallow_clone()));
                tensors.push((format!("{l}.{name}.square"), square.shallow_clone()));
            }
            // Our files of tensors hold no whole numbers; these are exact as f64.
            tensors.push((format!("{l}.fired"), self.fired[l].to_kind(Kind::Double)));
            let scales = Tensor::from_slice(&[self.scales[l].input, self.scales[l].output]);
            tensors.push((format!("{l}.scales"), scales));
        }
        write_tensors(path, tensors, &[])
    }

    /// Goes on where a checkpoint of the same run ended.
    ///
    /// # Errors
    /// If it cannot be read, or belongs to another run: other settings, model or corpus.
    pub fn resume(&mut self, path: &Path) -> Result<(), TrainError> {
        let bad = |reason: String| TrainError::Checkpoint { path: path.into(), reason };
        let file = TensorFile::open(path)?;
        let size = file.shape(STATE).ok_or_else(|| bad("it holds no state".into()))?.to_vec();
        let bytes = Vec::<u8>::try_from(file.bytes(STATE, &size)?)?;
        let state = RunState::read(&bytes).map_err(bad)?;
        if state != RunState::new(self.settings.clone(), self.run, state.step as usize) {
            return Err(TrainError::OtherRun { path: path.into() });
        }
        let device = self.params[0].W_enc.device();
        let read = |name: String, like: &[i64], kind| -> Result<Tensor, TrainError> {
            let stored = file.tensor(&name, like)?;
            if stored.kind() != kind {
                return Err(bad(format!("tensor `{name}` has another type")));
            }
            Ok(stored.copy().to_device(device))
        };
        for l in 0..self.params.len() {
            let mut weights = Vec::new();
            let mut moments = Vec::new();
            for (name, weight) in self.params[l].named() {
                let shape = weight.size();
                weights.push(read(format!("{l}.{name}"), &shape, Kind::Float)?);
                moments.push([
                    read(format!("{l}.{name}.mean"), &shape, Kind::Float)?,
                    read(format!("{l}.{name}.square"), &shape, Kind::Float)?,
                ]);
            }
            let old = &self.params[l];
            let mut weights = weights.into_iter();
            let mut next = || weights.next().expect("one for each name");
            self.params[l] = Params {
                W_enc: next(),
                b_enc: next(),
                W_dec: next(),
                b_dec: next(),
                W_skip: old.W_skip.as_ref().map(|_| next()),
                log_threshold: old.log_threshold.as_ref().map(|_| next()),
            }
            .learning();
            self.moments[l] = moments;
            self.fired[l] =
                read(format!("{l}.fired"), &self.fired[l].size(), Kind::Double)?.to_kind(Kind::Int64);
            let scales = file.tensor(&format!("{l}.scales"), &[2])?;
            self.scales[l].input = scales.double_value(&[0]);
            self.scales[l].output = scales.double_value(&[1]);
        }
        self.step = state.step as usize;
        Ok(())
    }
}

/// Writes tensors as they are into one file. Unlike those of a set, they may be bytes and may hold any number.
pub(crate) fn write_tensors(
    path: &Path,
    tensors: Vec<(String, Tensor)>,
    about: &[(&str, &str)],
) -> Result<(), TrainError> {
    let mut held = BTreeMap::new();
    for (name, tensor) in tensors {
        let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
        let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
        let (dtype, width) = match tensor.kind() {
            Kind::Float => (Dtype::F32, 4),
            Kind::Double => (Dtype::F64, 8),
            Kind::BFloat16 => (Dtype::BF16, 2),
            _ => (Dtype::U8, 1),
        };
        let mut bytes = vec![0; tensor.numel() * width];
        tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
        held.insert(name, (dtype, shape, bytes));
    }
    let views = held.iter().map(|(name, (dtype, shape, bytes))| {
        Ok((name, TensorView::new(*dtype, shape.clone(), bytes).map_err(io::Error::other)?))
    });
    let about: HashMap<_, _> =
        about.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    circuit_format::write_atomically(path, |out| {
        let about = (!about.is_empty()).then_some(about);
        let views = views.collect::<io::Result<Vec<_>>>()?;
        out.write_all(&safetensors::serialize(views, about).map_err(io::Error::other)?)
    })?;
    Ok(())
}
