//! The graph itself: rows of direct effects and what each node is. No algorithm lives here.

use crate::influence;
use circuit_index::{ActiveIndex, FeatureId, NodeLayout, TokenId};

/// Direct effects as a dense row-major matrix: one row per node that reads (selected features, then targets), one column
/// per node that writes (selected features, errors layer-major, tokens). Rows of errors and tokens would be zero, so
/// they are not kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    n_columns: usize,
    values: Vec<f32>,
}

impl Rows {
    /// Rows from their values, row after row.
    ///
    /// # Errors
    /// If the number of values is no multiple of `n_columns`.
    pub fn new(n_columns: usize, values: Vec<f32>) -> Result<Self, GraphError> {
        if n_columns == 0 || !values.len().is_multiple_of(n_columns) {
            return Err(GraphError::RowLength { values: values.len(), n_columns });
        }
        Ok(Self { n_columns, values })
    }

    /// Number of rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.values.len() / self.n_columns
    }

    /// Number of columns (sources).
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// One row.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.n_columns..(row + 1) * self.n_columns]
    }

    /// All rows in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &[f32]> + ExactSizeIterator {
        self.values.chunks_exact(self.n_columns)
    }

    /// All values, row after row.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }
}

/// Something whose value the graph explains: an output token, or any labelled direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The token's text, or the direction's name.
    pub label: String,
    /// The token; for a direction a number past the vocabulary ("virtual" id).
    pub token_id: TokenId,
    /// The token's probability, or the direction's weight (>= 0).
    pub weight: f32,
}

/// The facts about the model that graph files carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// The model's name, as the transcoder set or its folder gives it.
    pub name: String,
    /// Hugging Face architecture, for example `LlamaForCausalLM`.
    pub architecture: String,
    /// Number of layers.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key-value heads.
    pub n_key_value_heads: usize,
    /// Width of the MLP.
    pub d_mlp: usize,
    /// Size of the model's vocabulary (of its unembedding).
    pub d_vocab: usize,
    /// Size of the tokenizer's vocabulary without added tokens. (Numbers of virtual targets start at `d_vocab`.)
    pub tokenizer_vocab: usize,
    /// Type of the weights, in PyTorch's words: `float32`, `bfloat16`, `float16`, `float64`.
    pub dtype: String,
    /// Which transcoder set: names the place of its feature pages.
    pub scan: String,
    /// What is put in front of prompts that do not begin with a special token; `None` if the file does not say.
    pub first_token: Option<FirstToken>,
}

/// What a tokenizer puts in front of prompts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstToken {
    /// Nothing.
    Nothing,
    /// A token.
    Token {
        /// Its id.
        id: TokenId,
        /// How it is written.
        text: String,
    },
}

/// An attribution graph: who affects whom, by how much, on one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The prompt as text, the token in front included.
    pub prompt: String,
    /// The tokens, the one in front included.
    pub tokens: Vec<TokenId>,
    /// Each token decoded by itself.
    pub token_strings: Vec<String>,
    /// All features active on the prompt, ascending.
    pub active: Vec<FeatureId>,
    /// The activation of each of them.
    pub activations: Vec<f32>,
    /// The features in the graph, ascending places in `active`.
    pub selected: Vec<ActiveIndex>,
    /// What is explained, most probable first.
    pub targets: Vec<Target>,
    /// Direct effects between the nodes, ordered by [`Graph::layout`].
    pub rows: Rows,
    /// The model.
    pub model: ModelInfo,
}

impl Graph {
    /// The order of the nodes.
    #[must_use]
    pub fn layout(&self) -> NodeLayout {
        NodeLayout {
            n_features: self.selected.len(),
            n_layers: self.model.n_layers,
            n_pos: self.tokens.len(),
            n_targets: self.targets.len(),
        }
    }

    /// The selected features in node order.
    pub fn selected_features(&self) -> impl ExactSizeIterator<Item = FeatureId> + '_ {
        self.selected.iter().map(|&i| self.active[i.get()])
    }

    /// Checks that all parts fit each other: lengths, ascending features within the model and prompt, finite values,
    /// and no effect on a feature from its own layer or one above (so that there are no cycles). Readers of files call
    /// it before they hand a graph out, so that nothing behind it need check again.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn validate(&self) -> Result<(), GraphError> {
        let layout = self.layout();
        let fail = |what: &'static str, detail: String| Err(GraphError::Inconsistent { what, detail });
        if self.tokens.is_empty() || self.token_strings.len() != self.tokens.len() {
            return fail(
                "tokens",
                format!("{} ids, {} strings", self.tokens.len(), self.token_strings.len()),
            );
        }
        if self.activations.len() != self.active.len() {
            let (a, b) = (self.activations.len(), self.active.len());
            return fail("activation_values", format!("{a} values for {b} active features"));
        }
        if !self.active.is_sorted_by(|a, b| a < b) {
            return fail("active_features", "not strictly ascending by layer, position, index".into());
        }
        let outside = |f: &&FeatureId| f.layer.get() >= layout.n_layers || f.pos.get() >= layout.n_pos;
        if let Some(f) = self.active.iter().find(outside) {
            let place = format!("layer {}, position {}, index {}", f.layer, f.pos, f.index);
            return fail("active_features", format!("{place} is outside the model or the prompt"));
        }
        if !self.selected.is_sorted_by(|a, b| a < b)
            || self.selected.last().is_some_and(|last| last.get() >= self.active.len())
        {
            return fail("selected_features", "not ascending places in active_features".into());
        }
        if self.rows.n_rows() != layout.n_rows() || self.rows.n_columns() != layout.n_sources() {
            let found = (self.rows.n_rows(), self.rows.n_columns());
            let expected = (layout.n_rows(), layout.n_sources());
            return fail("rows", format!("shape {found:?}, expected {expected:?}"));
        }
        if self.targets.is_empty() {
            return fail("targets", "none".into());
        }
        if let Some(t) = self.targets.iter().find(|t| !(t.weight.is_finite() && t.weight >= 0.0)) {
            return fail("targets", format!("weight {} of `{}`", t.weight, t.label));
        }
        if let Some(at) = self.rows.as_slice().iter().position(|v| !v.is_finite()) {
            let (row, column) = (at / self.rows.n_columns(), at % self.rows.n_columns());
            return fail("rows", format!("entry ({row}, {column}) is not finite"));
        }
        let levels = influence::levels(&layout, self.selected_features());
        if let Some((row, column)) = influence::hidden_entry(&self.rows, &layout, &levels) {
            let reader = self.active[self.selected[row].get()];
            return fail(
                "rows",
                format!("entry ({row}, {column}): {reader} sees what is not written below it"),
            );
        }
        if !self.activations.iter().all(|a| a.is_finite()) {
            return fail("activation_values", "not all finite".into());
        }
        Ok(())
    }
}

/// What can be wrong with a graph.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Rows of unequal length.
    #[error("{values} values do not make rows of {n_columns} columns")]
    RowLength {
        /// How many values there are.
        values: usize,
        /// How long a row should be.
        n_columns: usize,
    },
    /// Parts that do not fit each other.
    #[error("inconsistent graph: {what}: {detail}")]
    Inconsistent {
        /// The part.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// Effects that lead back to where they began.
    #[error("inconsistent graph: links: they go in a circle")]
    Cycle,
    /// A threshold outside 0..=1.
    #[error("{name} is {value}, expected a share between 0 and 1")]
    Threshold {
        /// Which threshold.
        name: &'static str,
        /// What it was.
        value: f64,
    },
}
