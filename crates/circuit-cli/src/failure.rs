//! Failures as the user meets them: one line, sometimes a hint, and an exit code.

use circuit_attribution::AttributionError;
use circuit_format::FormatError;
use circuit_graph::GraphError;
use circuit_intervention::InterventionError;
use circuit_model::text::TextError;
use circuit_model::tokenizer::TokenizerError;
use circuit_model::{ModelError, SpecError};
use circuit_replacement::ReplacementError;
use circuit_torch::TorchError;
use circuit_torch::runtime::RuntimeError;
use circuit_train::TrainError;
use circuit_transcoder::{TranscoderError, TranscoderSet};

/// Exit codes; `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Anything that has no code of its own.
    Other = 1,
    /// Impossible arguments.
    Usage = 2,
    /// A model, transcoder set or graph that cannot be read or understood.
    Input = 3,
    /// A prompt or targets that do not fit the model.
    Prompt = 4,
    /// An output that cannot be written.
    Output = 5,
    /// The device, or LibTorch.
    Device = 6,
}

/// What went wrong.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A file of a graph that cannot be read.
    pub(crate) fn reading(error: FormatError) -> Self {
        Self::new(Code::Input, error.to_string())
    }

    /// A file that cannot be written.
    pub(crate) fn writing(error: FormatError) -> Self {
        let failure = Self::new(Code::Output, error.to_string());
        match error {
            FormatError::TooLarge { .. } => failure.hint("write .safetensors, or raise --pt-limit"),
            FormatError::Slug { .. } => Self { code: Code::Usage, ..failure },
            _ => failure,
        }
    }

    /// A tokenizer that cannot be opened, or a choice that does not fit it.
    pub(crate) fn tokenizer(error: TokenizerError) -> Self {
        match error {
            TokenizerError::UnknownFirstToken { .. } => Self::new(Code::Prompt, error.to_string())
                .hint("--first-token takes the text of a token, an id, or `none`"),
            TokenizerError::Setting { .. } => Self::new(Code::Input, error.to_string())
                .hint("take the key out of tokenizer_config.json if tokenizer.json is right"),
            _ => Self::new(Code::Input, error.to_string()),
        }
    }

    /// A text that the tokenizer cannot turn into what was asked for.
    pub(crate) fn text(error: TokenizerError) -> Self {
        let failure = Self::new(Code::Prompt, error.to_string());
        match error {
            TokenizerError::NoSpecialToken { .. } => {
                failure.hint("--first-token chooses one: the text of a token, an id, or `none`")
            }
            _ => failure,
        }
    }
}

fn torch_code(error: &TorchError) -> Code {
    match error {
        TorchError::Libtorch(_) => Code::Device,
        _ => Code::Input,
    }
}

impl From<TorchError> for Failure {
    fn from(error: TorchError) -> Self {
        Self::new(torch_code(&error), error.to_string())
    }
}

impl From<TextError> for Failure {
    fn from(error: TextError) -> Self {
        let failure = Self::new(Code::Prompt, error.to_string());
        match error.remedy() {
            Some(remedy) => failure.hint(remedy),
            None => failure,
        }
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self::new(Code::Device, error.to_string()).hint("`circuit-tracer doctor` shows what there is")
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let code = match &error {
            ModelError::EmptyPrompt | ModelError::PromptTooLong { .. } | ModelError::NoSuchToken { .. } => {
                Code::Prompt
            }
            ModelError::Torch(torch) => torch_code(torch),
            _ => Code::Input,
        };
        let failure = Self::new(code, error.to_string());
        match error {
            ModelError::Torch(TorchError::Shape { .. } | TorchError::MissingTensor { .. })
            | ModelError::UnusedTensor { .. } => {
                failure.hint("config.json and the checkpoint describe different models")
            }
            ModelError::NoUnembedding { .. } => failure.hint(
                "if the model uses its embedding as the unembedding too, write \"tie_word_embeddings\": true; otherwise the \
                 checkpoint is incomplete",
            ),
            ModelError::Spec(SpecError::UnknownKeys { .. }) => {
                failure.hint("without --strict-config these keys are ignored, with a warning")
            }
            ModelError::NoModel { ref path, .. } if TranscoderSet::is_in(path) => {
                failure.hint("that folder holds a transcoder set: give it with -t, and its model with -m")
            }
            ModelError::Spec(SpecError::Missing { ref path, .. })
                if path.parent().is_some_and(TranscoderSet::is_in) =>
            {
                failure.hint("that folder holds a transcoder set: give it with -t, and its model with -m")
            }
            ref error => match error.advice() {
                Some(advice) => failure.hint(advice),
                None => failure,
            },
        }
    }
}

impl From<TranscoderError> for Failure {
    fn from(error: TranscoderError) -> Self {
        let code = match &error {
            TranscoderError::Torch(torch) => torch_code(torch),
            _ => Code::Input,
        };
        let failure = Self::new(code, error.to_string());
        match &error {
            TranscoderError::NoConfig { found, .. } => match found.advice() {
                Some(advice) => failure.hint(advice),
                None => failure,
            },
            TranscoderError::Layers { .. }
            | TranscoderError::Width { .. }
            | TranscoderError::Torch(TorchError::Shape { .. }) => {
                failure.hint("is this transcoder set made for this model?")
            }
            _ => failure,
        }
    }
}

impl From<ReplacementError> for Failure {
    fn from(error: ReplacementError) -> Self {
        match error {
            ReplacementError::Model(error) => error.into(),
            ReplacementError::Transcoder(error) => error.into(),
            ReplacementError::Torch(error) => error.into(),
            ReplacementError::NothingLeft { .. } => Self::new(Code::Prompt, error.to_string()),
            _ => Self::new(Code::Input, error.to_string()),
        }
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Model(error) => error.into(),
            TrainError::Transcoder(error) => error.into(),
            TrainError::Torch(error) => error.into(),
            TrainError::Text(error @ TextError::Read { .. }) => Self::new(Code::Input, error.to_string()),
            TrainError::Text(error) => error.into(),
            TrainError::Output(error) => Self::writing(error),
            TrainError::Setting { .. } => Self::usage(error.to_string()),
            TrainError::Diverged { .. } => Self::new(Code::Other, error.to_string()),
            _ => Self::new(Code::Input, error.to_string()),
        }
    }
}

impl From<AttributionError> for Failure {
    fn from(error: AttributionError) -> Self {
        match error {
            AttributionError::Replacement(error) => error.into(),
            AttributionError::Torch(error) => error.into(),
            AttributionError::NoRoom { n_features, .. } => Self::new(Code::Device, error.to_string())
                .hint(format!("fewer feature nodes: about {} fitted", n_features.saturating_sub(1))),
            AttributionError::RowFile(_) => Self::new(Code::Output, error.to_string())
                .hint("--scratch-dir names another folder; fewer feature nodes need less of a disk"),
            AttributionError::Graph(_) => Self::new(Code::Other, error.to_string()),
            AttributionError::EmptyRound | AttributionError::Probability { .. } => {
                Self::usage(error.to_string())
            }
            _ => Self::new(Code::Prompt, error.to_string()),
        }
    }
}

impl From<InterventionError> for Failure {
    fn from(error: InterventionError) -> Self {
        match error {
            InterventionError::Model(error) => error.into(),
            InterventionError::Transcoder(error) => error.into(),
            InterventionError::Replacement(error) => error.into(),
            InterventionError::Torch(error) => error.into(),
            _ => Self::usage(error.to_string()),
        }
    }
}

impl From<GraphError> for Failure {
    fn from(error: GraphError) -> Self {
        let code = if matches!(error, GraphError::Threshold { .. }) { Code::Usage } else { Code::Other };
        Self::new(code, error.to_string())
    }
}
