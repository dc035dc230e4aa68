//! A graph of a file, and its prompt run anew: which feature is which, and numbers out of tensors. What is compared is others' business.

use crate::failure::{Code, Failure};
use circuit_graph::Graph;
use circuit_index::ActiveIndex;
use circuit_replacement::LocalReplacement;
use std::path::Path;
use tch::{Kind, Tensor};

/// For whatever the run and the graph disagree on.
pub(crate) const SAME_INPUTS: &str =
    "was the graph made with this model and set, and the same --ignored-positions?";

/// The n-th feature of the graph among those active in this run; `path` is the graph's.
pub(crate) fn active(
    path: &Path,
    graph: &Graph,
    replacement: &LocalReplacement<'_>,
    nth: usize,
) -> Result<ActiveIndex, Failure> {
    let feature = graph.active[graph.selected[nth].get()];
    replacement.active().binary_search(&feature).map(ActiveIndex::from).map_err(|_| {
        let message = format!("{}: feature {feature} is not active with this model and set", path.display());
        Failure::new(Code::Input, message).hint(SAME_INPUTS)
    })
}

/// All numbers of a tensor, row-major, from whatever device.
pub(crate) fn numbers(tensor: &Tensor) -> Result<Vec<f64>, Failure> {
    let flat = circuit_torch::guard(|| {
        let wide = tensor.to_kind(Kind::Double).to_device(tch::Device::Cpu);
        Ok::<_, circuit_torch::TorchError>(wide.contiguous().view(-1))
    })?;
    Vec::try_from(flat).map_err(|e: tch::TchError| Failure::new(Code::Device, e.to_string()))
}
