//! Tokens: every recorded prompt of the golden cases and the trained model's, against what Python makes of them.

use circuit_index::TokenId;
use circuit_model::tokenizer::{Prompt, Tokenizer};
use circuit_tests::{CASES, Expected, TRAINED, fixture, json};
use serde_json::{Value, from_value};

fn open(case: &str) -> Tokenizer {
    Tokenizer::open(&fixture(case).join("model")).unwrap()
}

/// A recorded prompt: text, or a list of ids.
fn prompt(tokenizer: &Tokenizer, recorded: &Value) -> Prompt {
    match recorded.as_str() {
        Some(text) => tokenizer.encode_prompt(text),
        None => tokenizer.prompt_from_ids(&ids(recorded)),
    }
    .unwrap()
}

fn ids(recorded: &Value) -> Vec<TokenId> {
    from_value::<Vec<u32>>(recorded.clone()).unwrap().into_iter().map(TokenId).collect()
}

#[test]
fn every_recorded_prompt_has_its_tokens() {
    for case in CASES {
        let tokenizer = open(case);
        let recorded = json(case, "tokenization.json");
        assert!(recorded.as_array().unwrap().len() > 8, "{case}");
        // The reference refuses some prompts of an instruction-tuned model for not being a chat.
        for entry in recorded.as_array().unwrap().iter().filter(|entry| entry["refused"].is_null()) {
            let found = prompt(&tokenizer, &entry["prompt"]);
            assert_eq!(found.tokens, ids(&entry["input_ids"]), "{case}: {}", entry["prompt"]);
            assert_eq!(found.text, entry["decoded"], "{case}: {}", entry["prompt"]);
            assert_eq!(
                Value::from(found.token_strings),
                entry["token_strings"],
                "{case}: {}",
                entry["prompt"]
            );
        }
    }
}

#[test]
fn prompts_and_targets_of_the_cases() {
    for case in CASES {
        let (tokenizer, expected) = (open(case), Expected::of(case));
        let found = prompt(&tokenizer, expected.at("/prompt"));
        assert_eq!(found.tokens, ids(expected.at("/input_ids")), "{case}");
        assert_eq!(found.text, expected.text("/input_string"), "{case}");
        assert_eq!(found.token_strings, expected.texts("/token_strings"), "{case}");
        assert_eq!(tokenizer.vocab_size(), expected.count("/graph_vocab_size"), "{case}");
        for target in expected.at("/logit_targets").as_array().unwrap() {
            let id = ids(&Value::Array(vec![target["vocab_idx"].clone()]))[0];
            assert_eq!(tokenizer.decode_token(id).unwrap(), target["token"], "{case}: {id}");
        }
        if expected.has("targets.strings.logit_token_ids") {
            for (text, id) in expected
                .texts("/custom_targets/strings/given")
                .into_iter()
                .zip(expected.indices("targets.strings.logit_token_ids"))
            {
                assert_eq!(tokenizer.single_token(text).unwrap(), TokenId::from(id), "{case}: {text:?}");
            }
        }
    }
}

#[test]
fn the_trained_model_s_prompt_has_one_token_a_word() {
    let (tokenizer, expected) =
        (Tokenizer::open(&fixture(TRAINED).join("model")).unwrap(), Expected::of(TRAINED));
    let found = tokenizer.encode_prompt(expected.text("/prompt")).unwrap();
    let recorded: Vec<_> = expected.indices("input_ids").into_iter().map(TokenId::from).collect();
    assert_eq!(found.tokens, recorded);
    assert_eq!(found.text, format!("<bos> {}", expected.text("/prompt")));
    assert_eq!(found.token_strings.join(" "), found.text);
    let target = TokenId::from(expected.indices("logit_token_ids")[0]);
    assert_eq!(tokenizer.single_token("Austin").unwrap(), target);
    assert!(tokenizer.single_token("Narnia").is_err(), "unknown words must not become a target");
}
