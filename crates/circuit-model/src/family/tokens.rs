//! Data: the special tokens that each tokenizer class of Hugging Face's transformers has without being told.
//!
//! Older folders name no tokens, or some, and count on the class. Checked against the signatures in transformers 4.57.3 and
//! 5.24.0. Where they differ, the older one counts, which never has more: 5 gives `GemmaTokenizer` a `mask_token` and others
//! a `pad_token`. Not here: which source of tokens has precedence (`tokenizer/special.rs`).

/// A tokenizer class, and the special tokens that it has unless a file says otherwise.
#[derive(Debug)]
pub(crate) struct TokenizerClass {
    /// Its name in `tokenizer_class`, without `Fast` at the end.
    name: &'static str,
    /// Key and token.
    pub(crate) tokens: &'static [(&'static str, &'static str)],
    /// What `add_prefix_space` does in this class.
    pub(crate) prefix_space: PrefixSpace,
}

/// What the key `add_prefix_space` of `tokenizer_config.json` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrefixSpace {
    /// It sets the value of a byte-level pre-tokenizer; false where the key is absent.
    False,
    /// The tokenizer is built again from its vocabulary where the key is there.
    Rebuilt,
}

const END_OF_TEXT: &str = "<|endoftext|>";
const SENTENCEPIECE: &[(&str, &str)] = &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")];
const BYTE_LEVEL: &[(&str, &str)] =
    &[("bos_token", END_OF_TEXT), ("eos_token", END_OF_TEXT), ("unk_token", END_OF_TEXT)];

const CLASSES: &[TokenizerClass] = &[
    TokenizerClass { name: "LlamaTokenizer", tokens: SENTENCEPIECE, prefix_space: PrefixSpace::Rebuilt },
    TokenizerClass { name: "CodeLlamaTokenizer", tokens: SENTENCEPIECE, prefix_space: PrefixSpace::Rebuilt },
    TokenizerClass {
        name: "GemmaTokenizer",
        tokens: &[
            ("bos_token", "<bos>"),
            ("eos_token", "<eos>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
        ],
        prefix_space: PrefixSpace::False,
    },
    TokenizerClass {
        name: "Qwen2Tokenizer",
        tokens: &[("eos_token", END_OF_TEXT), ("unk_token", END_OF_TEXT), ("pad_token", END_OF_TEXT)],
        prefix_space: PrefixSpace::False,
    },
    TokenizerClass { name: "GPT2Tokenizer", tokens: BYTE_LEVEL, prefix_space: PrefixSpace::False },
    TokenizerClass { name: "GPTNeoXTokenizer", tokens: BYTE_LEVEL, prefix_space: PrefixSpace::False },
    TokenizerClass { name: "CodeGenTokenizer", tokens: BYTE_LEVEL, prefix_space: PrefixSpace::False },
    TokenizerClass {
        name: "CohereTokenizer",
        tokens: &[
            ("bos_token", "<BOS_TOKEN>"),
            ("eos_token", "<|END_OF_TURN_TOKEN|>"),
            ("unk_token", "<UNK>"),
        ],
        prefix_space: PrefixSpace::False,
    },
];

/// The class that transformers takes for a `model_type` where no file names one. Those of GPT-OSS have no tokens of their own.
const BY_MODEL_TYPE: &[(&str, &str)] = &[
    ("llama", "LlamaTokenizer"),
    ("mistral", "LlamaTokenizer"),
    ("qwen2", "Qwen2Tokenizer"),
    ("qwen3", "Qwen2Tokenizer"),
    ("gemma", "GemmaTokenizer"),
    ("gemma2", "GemmaTokenizer"),
    ("gemma3", "GemmaTokenizer"),
    ("gemma3_text", "GemmaTokenizer"),
    ("gpt2", "GPT2Tokenizer"),
];

/// The class of a tokenizer, by the name that a file gives it, else by the `model_type` of the model. `None` for a class
/// that knows no tokens by itself.
pub(crate) fn tokenizer_class(
    named: Option<&str>,
    model_type: Option<&str>,
) -> Option<&'static TokenizerClass> {
    let by_type =
        || BY_MODEL_TYPE.iter().find(|(known, _)| Some(*known) == model_type).map(|(_, class)| *class);
    let name = named.map(|name| name.trim_end_matches("Fast")).or_else(by_type)?;
    CLASSES.iter().find(|class| class.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_found_by_its_name_else_by_the_model() {
        let name = |named, model_type| tokenizer_class(named, model_type).map(|class| class.name);
        assert_eq!(name(Some("GPT2TokenizerFast"), Some("llama")), Some("GPT2Tokenizer"));
        assert_eq!(name(Some("PreTrainedTokenizerFast"), Some("llama")), None, "a class without tokens");
        assert_eq!(name(None, Some("qwen3")), Some("Qwen2Tokenizer"));
        assert_eq!(name(None, Some("gpt_oss")), None);
        assert_eq!(name(None, None), None);
        for (_, class) in BY_MODEL_TYPE {
            assert!(tokenizer_class(Some(class), None).is_some(), "{class}");
        }
    }
}
