//! A graph of a file, and its prompt run anew: which feature is which, and numbers out of tensors. What is compared is others' business.

use crate::failure::{Code, Failure};
use circuit_graph::{FirstToken, Graph};
use circuit_index::ActiveIndex;
use circuit_model::tokenizer::{FirstToken as Choice, Tokenizer};
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

/// Refuses a choice of the first token that the graph was not made with: the graph's own tokens are run.
pub(crate) fn check_first_token(
    graph: &Graph,
    given: Option<&Choice>,
    tokenizer: &Tokenizer,
) -> Result<(), Failure> {
    let Some(choice) = given else { return Ok(()) };
    let fits = match (graph.tokens.first(), tokenizer.first_token()) {
        (Some(&first), Some(_)) => tokenizer.may_lead(first),
        (Some(&first), None) => {
            graph.model.first_token == Some(FirstToken::Nothing) || !tokenizer.is_special(first)
        }
        (None, _) => true,
    };
    if fits {
        return Ok(());
    }
    let begins = graph.token_strings.first().map_or("", String::as_str);
    let message = format!("--first-token is {choice}, but the prompt of the graph begins with {begins:?}");
    Err(Failure::usage(message).hint("leave it out: the graph's own tokens are run"))
}

/// All numbers of a tensor, row-major, from whatever device.
pub(crate) fn numbers(tensor: &Tensor) -> Result<Vec<f64>, Failure> {
    let flat = circuit_torch::guard(|| {
        let wide = tensor.to_kind(Kind::Double).to_device(tch::Device::Cpu);
        Ok::<_, circuit_torch::TorchError>(wide.contiguous().view(-1))
    })?;
    Vec::try_from(flat).map_err(|e: tch::TchError| Failure::new(Code::Device, e.to_string()))
}
