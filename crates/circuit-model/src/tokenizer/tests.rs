//! Tokenizers of a few words, made here: which token stands in front, what is refused, and what is noticed. Compiled for
//! tests alone (`#[cfg(test)]` in `mod.rs`).

use super::*;
use serde_json::json;
use std::fmt;

/// Four words and `<unk>`; `<s>` (id 0) and `</s>` only in the vocabulary, `<added>` beside it.
fn vocabulary() -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 7, "content": "<added>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}],
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab":
            {"<s>": 0, "</s>": 1, "<unk>": 2, "one": 3, "two": 4, "three": 5, "four": 6}}
    })
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    (!value.is_null()).then(|| serde_json::to_vec(value).unwrap())
}

fn open_with(vocabulary: &Value, config: &Value, map: &Value) -> Result<Tokenizer, TokenizerError> {
    let vocabulary = serde_json::to_vec(vocabulary).unwrap();
    let files = Files { vocabulary, config: bytes(config), special_map: bytes(map), ..Files::default() };
    Tokenizer::from_files(Path::new("model"), &files)
}

/// A tokenizer of the vocabulary above, with a `config.json` beside it.
fn open_beside(model: &Value, config: &Value) -> Tokenizer {
    let vocabulary = serde_json::to_vec(&vocabulary()).unwrap();
    let files = Files { vocabulary, config: bytes(config), model: bytes(model), ..Files::default() };
    Tokenizer::from_files(Path::new("model"), &files).unwrap()
}

fn tokens(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode_prompt(text).unwrap().tokens.into_iter().map(|t| t.0).collect()
}

fn said(notices: &[Notice]) -> Vec<String> {
    notices.iter().map(ToString::to_string).collect()
}

fn front(config: Value, map: Value) -> u32 {
    open_with(&vocabulary(), &config, &map).unwrap().encode_prompt("one").unwrap().tokens[0].0
}

fn message<T: fmt::Debug>(result: Result<T, TokenizerError>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn the_front_token_is_bos_else_eos_else_pad_else_another() {
    let all = json!({"pad_token": "four", "bos_token": "<s>", "eos_token": "</s>"});
    assert_eq!(front(all, Value::Null), 0, "id 0 counts");
    assert_eq!(front(json!({"bos_token": null, "eos_token": "</s>", "pad_token": "four"}), Value::Null), 1);
    assert_eq!(front(json!({"pad_token": "four", "unk_token": "<unk>"}), Value::Null), 6);
    assert_eq!(front(json!({"mask_token": "four", "unk_token": {"content": "<unk>"}}), Value::Null), 2);
    assert_eq!(front(json!({"additional_special_tokens": [{"content": "two"}, "four"]}), Value::Null), 4);
    assert_eq!(front(json!({"extra_special_tokens": {"image_token": "two"}}), Value::Null), 4);
    assert_eq!(front(json!({"model_specific_special_tokens": ["two"], "bos_token": ""}), Value::Null), 4);
    assert_eq!(front(Value::Null, json!({"eos_token": "</s>"})), 1, "the second file alone");
    assert_eq!(front(json!({"eos_token": "</s>"}), json!({"bos_token": "<s>"})), 0, "role before file");
    let (config, map) = (json!({"bos_token": "</s>"}), json!({"bos_token": "<s>"}));
    assert_eq!(front(config.clone(), map.clone()), 0, "as in transformers, the second file overrules");
    assert_eq!(front(config, json!({"bos_token": null, "eos_token": "four"})), 6, "also with null");
    let newer = json!({"bos_token": "</s>", "added_tokens_decoder": {}});
    assert_eq!(front(newer, map), 1, "unless the first file holds the added tokens");
}

#[test]
fn a_special_token_that_is_there_stays_alone() {
    let config = json!({"bos_token": "<s>", "additional_special_tokens": ["</s>"]});
    let tokenizer = open_with(&vocabulary(), &config, &Value::Null).unwrap();
    let ids =
        |text| tokenizer.encode_prompt(text).unwrap().tokens.into_iter().map(|t| t.0).collect::<Vec<_>>();
    assert_eq!(ids("one"), [0, 3]);
    assert_eq!(ids("<s>one"), [0, 3], "found whole although only the vocabulary lists it");
    assert_eq!(ids("</s> one"), [1, 3]);
    assert_eq!(ids("<added> one"), [0, 7, 3], "`special: true` alone does not count");
    let prompt = tokenizer.prompt_from_ids(&[TokenId(3), TokenId(99)]).unwrap();
    assert_eq!(prompt.tokens, [0, 3, 99].map(TokenId));
    assert_eq!((&*prompt.text, &*prompt.token_strings.concat()), ("<s> one", "<s>one"), "99 has no text");
    assert_eq!(tokenizer.vocab_size(), 7);
}

#[test]
fn a_text_needs_tokens_and_a_special_token() {
    let bare = open_with(&vocabulary(), &Value::Null, &Value::Null).unwrap();
    message(bare.encode_prompt("one"), &["special token", "tokenizer_config.json", "model"]);
    // Ids say exactly what the prompt is.
    let prompt = bare.prompt_from_ids(&[TokenId(3), TokenId(4)]).unwrap();
    assert_eq!(prompt.tokens, [TokenId(3), TokenId(4)]);
    let notices = said(&prompt.notices);
    assert!(
        notices[0].starts_with("warning: no special token") && notices[0].contains("\"one\""),
        "{notices:?}"
    );
    for text in ["", "  \n"] {
        assert!(matches!(bare.encode_prompt(text), Err(TokenizerError::EmptyPrompt)));
    }
    assert!(matches!(bare.prompt_from_ids(&[]), Err(TokenizerError::EmptyPrompt)));
}

#[test]
fn a_target_is_exactly_one_known_token() {
    let tokenizer = open_with(&vocabulary(), &json!({"unk_token": "<unk>"}), &Value::Null).unwrap();
    assert_eq!(tokenizer.single_token("two").unwrap(), TokenId(4));
    assert_eq!(tokenizer.single_token(" <unk>").unwrap(), TokenId(2));
    message(tokenizer.single_token("two three"), &["not one token but 2", "\"two\" (4)", "\"three\" (5)"]);
    message(tokenizer.single_token(""), &["not one token but 0"]);
    message(tokenizer.single_token("five"), &["five", "not in the vocabulary", "<unk>"]);
}

#[test]
fn files_about_batches_do_not_cut_prompts() {
    let mut vocabulary = vocabulary();
    vocabulary["truncation"] =
        json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    vocabulary["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 1, "pad_type_id": 0, "pad_token": "</s>"});
    let tokenizer = open_with(&vocabulary, &json!({"bos_token": "<s>"}), &Value::Null).unwrap();
    assert_eq!(tokenizer.encode_prompt("one two three four").unwrap().tokens.len(), 5);
}

#[test]
fn damaged_vocabularies_are_refused() {
    let open = |bytes: &[u8]| {
        Tokenizer::from_files(Path::new("model"), &Files { vocabulary: bytes.into(), ..Files::default() })
    };
    let good = serde_json::to_vec(&vocabulary()).unwrap();
    assert!(open(&good).is_ok());
    for cut in (0..good.len()).step_by(7) {
        message(open(&good[..cut]), &["model/tokenizer.json", "damaged"]);
    }
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    for text in ["[]", "{}", "null", "1e999", "\u{feff}{}", "{\"version\": 1}", &nested(100_000)] {
        message(open(text.as_bytes()), &["model/tokenizer.json"]);
    }
    message(open(b"\xff\xfe{}"), &["model/tokenizer.json"]);

    let changed = |change: &dyn Fn(&mut Value)| {
        let mut vocabulary = vocabulary();
        change(&mut vocabulary);
        open(&serde_json::to_vec(&vocabulary).unwrap())
    };
    message(changed(&|v| v["added_tokens"][0]["id"] = json!(70)), &["<added>", "70", "7"]);
    message(changed(&|v| v["added_tokens"][0]["id"] = json!(-1)), &["damaged"]);
    message(changed(&|v| v["model"]["vocab"]["one"] = json!(u64::MAX)), &["damaged"]);
    message(changed(&|v| v["model"]["type"] = json!("Oracle")), &["damaged"]);
    message(changed(&|v| v["pre_tokenizer"]["type"] = json!("Oracle")), &["damaged"]);
    let deep = (0..30).fold(
        json!({"type": "WhitespaceSplit"}),
        |inner, _| json!({"type": "Sequence", "pretokenizers": [inner]}),
    );
    assert!(changed(&|v| v["pre_tokenizer"] = deep.clone()).is_ok());
}

#[test]
fn a_panic_of_the_library_is_an_error() {
    // Its regular expressions panic where they give up.
    let mut vocabulary = vocabulary();
    vocabulary["pre_tokenizer"] =
        json!({"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": false});
    let tokenizer = open_with(&vocabulary, &json!({"bos_token": "<s>"}), &Value::Null).unwrap();
    message(tokenizer.encode_prompt(&"x".repeat(60)), &["model", "cannot encode", "gave up", "limit"]);
    assert!(tokenizer.encode_prompt("one").is_ok(), "and the tokenizer still works");
}

#[test]
fn names_that_no_prompt_needs_are_left_out_with_a_warning() {
    let vocabulary = vocabulary();
    let open = |config| open_with(&vocabulary, &config, &Value::Null).unwrap();
    for (config, parts) in [
        (json!({"bos_token": 3}), ["`bos_token`", "a number"]),
        (json!({"bos_token": {"text": "<s>"}}), ["`bos_token`", "an object"]),
        (json!({"additional_special_tokens": ["<s>", 3]}), ["`additional_special_tokens[1]`", "a number"]),
        (json!({"extra_special_tokens": "two"}), ["`extra_special_tokens`", "list"]),
        (json!({"added_tokens_decoder": []}), ["`added_tokens_decoder`", "object"]),
        (json!({"added_tokens_decoder": {"x": "<x>"}}), ["`added_tokens_decoder`", "\"x\""]),
        (json!({"added_tokens_decoder": {"8": 8}}), ["`added_tokens_decoder`", "id 8"]),
    ] {
        let notices = said(open(config.clone()).notices());
        assert_eq!(notices.len(), 1, "{config}: {notices:?}");
        assert!(notices[0].starts_with("warning: tokenizer_config.json: "), "{notices:?}");
        assert!(parts.iter().all(|part| notices[0].contains(part)), "{notices:?}");
    }
    message(open_with(&vocabulary, &json!([]), &Value::Null), &["model/tokenizer_config.json", "damaged"]);
    message(open_with(&vocabulary, &Value::Null, &json!(3)), &["model/special_tokens_map.json", "damaged"]);
    let newer = json!({"added_tokens_decoder": {}, "eos_token": "</s>"});
    assert!(open_with(&vocabulary, &newer, &json!(3)).is_ok(), "a file that transformers does not read");
}

#[test]
fn a_token_that_is_named_and_absent_is_a_warning() {
    let config = json!({"pad_token": "[PAD]", "bos_token": "<gone>", "eos_token": "</s>"});
    let tokenizer = open_with(&vocabulary(), &config, &Value::Null).unwrap();
    let notices = said(tokenizer.notices());
    assert_eq!(notices.len(), 2, "{notices:?}");
    // New ids come in transformers' order: bos before pad.
    assert!(
        notices.iter().any(|n| n.contains("`bos_token` names \"<gone>\"") && n.contains("id 8")),
        "{notices:?}"
    );
    assert!(
        notices.iter().any(|n| n.contains("`pad_token` names \"[PAD]\"") && n.contains("id 9")),
        "{notices:?}"
    );
    assert_eq!(tokens(&tokenizer, "one"), [1, 3], "the model has not seen <gone>");
    assert_eq!(tokens(&tokenizer, "one [PAD]"), [1, 3, 9]);
    assert_eq!(tokens(&tokenizer, "[PAD] one"), [9, 3], "special all the same");
}

#[test]
fn the_class_and_the_model_name_tokens_where_no_file_does() {
    let of = |model: Value, config: Value| {
        let tokenizer = open_beside(&model, &config);
        assert_eq!(tokenizer.notices(), []);
        tokenizer.first_token().map(|id| id.0)
    };
    // By class: bos `<s>`, eos `</s>`.
    let class = "LlamaTokenizerFast".to_owned();
    assert_eq!(of(Value::Null, json!({"tokenizer_class": class})), Some(0));
    assert_eq!(
        of(Value::Null, json!({"tokenizer_class": class, "bos_token": null})),
        Some(1),
        "null says none"
    );
    assert_eq!(of(json!({"tokenizer_class": class}), json!({})), Some(0), "the model's file names it too");
    assert_eq!(of(json!({"model_type": "llama"}), json!({"model_max_length": 9})), Some(0));
    assert_eq!(
        of(json!({"model_type": "llama"}), json!({"tokenizer_class": "Other"})),
        None,
        "a class without tokens"
    );
    // By the ids of config.json, and only then.
    let ids = json!({"eos_token_id": [1, 2], "pad_token_id": 4});
    assert_eq!(of(ids.clone(), json!({})), Some(1));
    assert_eq!(of(json!({"text_config": {"bos_token_id": 0}}), json!({})), Some(0));
    assert_eq!(of(ids.clone(), json!({"unk_token": "<unk>"})), Some(2));
    assert_eq!(of(json!({"bos_token_id": 99}), json!({})), None, "an id that the tokenizer does not have");
    let tokenizer = open_beside(&ids, &json!({}));
    assert_eq!(tokens(&tokenizer, "</s> one"), [1, 3], "found whole, and not doubled");
}

#[test]
fn a_map_that_transformers_does_not_read_counts_where_nothing_else_does() {
    let config = json!({"added_tokens_decoder": {}});
    let tokenizer = open_with(&vocabulary(), &config, &json!({"bos_token": "<s>"})).unwrap();
    assert_eq!(tokens(&tokenizer, "one"), [0, 3]);
}

#[test]
fn added_tokens_have_the_flags_and_ids_of_transformers() {
    let config = json!({"eos_token": "</s>", "added_tokens_decoder": {
        "8": {"content": "<new>", "lstrip": true, "rstrip": true, "special": true},
        "7": {"content": "<added>", "lstrip": true, "normalized": false, "special": true},
        "12": {"content": "<late>", "special": false}}});
    let tokenizer = open_with(&vocabulary(), &config, &Value::Null).unwrap();
    assert_eq!(tokens(&tokenizer, "one <new> two"), [1, 3, 8, 4]);
    assert_eq!(tokens(&tokenizer, "one<late>two"), [1, 3, 9, 4], "the next free id");
    let notices = said(tokenizer.notices());
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(["<late>", "id 12", "gets 9"].iter().all(|part| notices[0].contains(part)), "{notices:?}");
}

#[test]
fn older_folders_have_a_file_of_added_tokens() {
    let files = |added: Value| Files {
        vocabulary: serde_json::to_vec(&vocabulary()).unwrap(),
        config: bytes(&json!({"eos_token": "<x>"})),
        added: bytes(&added),
        ..Files::default()
    };
    let tokenizer =
        Tokenizer::from_files(Path::new("model"), &files(json!({"<x>": 8, "<y>": 9, "<z>": 7}))).unwrap();
    assert_eq!(tokenizer.notices(), []);
    assert_eq!(tokens(&tokenizer, "one <y>"), [8, 3, 9], "a token that a file gives an id is known");
    message(
        Tokenizer::from_files(Path::new("model"), &files(json!([]))),
        &["added_tokens.json", "JSON object"],
    );
}

#[test]
fn special_tokens_are_split_where_the_folder_says_so() {
    let config = json!({"bos_token": "<s>", "split_special_tokens": true});
    let tokenizer = open_with(&vocabulary(), &config, &Value::Null).unwrap();
    assert_eq!(tokens(&tokenizer, "one <added>"), [0, 3, 2], "`<added>` is text, which has no other token");
    assert!(said(tokenizer.notices())[0].contains("`split_special_tokens`"));
}

/// The letters of "a b" as a byte-level vocabulary.
fn byte_level(pre_tokenizer: Value) -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": {"<|endoftext|>": 0, "a": 1, "b": 2, "\u{120}": 3, "\u{120}a": 4}, "merges": ["\u{120} a"]}
    })
}

#[test]
fn a_space_is_put_in_front_where_the_folder_says_so() {
    let part = |space: bool| json!({"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": true});
    let class = "GPT2Tokenizer".to_owned();
    let of = |space, config: Value| {
        let tokenizer = open_with(&byte_level(part(space)), &config, &Value::Null).unwrap();
        (tokens(&tokenizer, "<|endoftext|>a"), said(tokenizer.notices()).len())
    };
    let config = |space: Value| json!({"tokenizer_class": class, "add_prefix_space": space});
    assert_eq!(of(false, config(json!(true))), (vec![0, 4], 1));
    assert_eq!(of(true, config(json!(false))), (vec![0, 1], 1));
    assert_eq!(of(true, config(Value::Null)), (vec![0, 1], 1), "false is the default of the class");
    assert_eq!(of(false, config(json!(false))), (vec![0, 1], 0));
    let plain = json!({"bos_token": "<|endoftext|>", "tokenizer_class": "PreTrainedTokenizerFast"});
    assert_eq!(of(true, plain), (vec![0, 4], 0), "a class without data keeps what tokenizer.json has");

    // In a sequence of pre-tokenizers, transformers 4 and 5 differ: a notice says so.
    let sequence = json!({"type": "Sequence", "pretokenizers": [part(false)]});
    let config = json!({"bos_token": "<|endoftext|>", "add_prefix_space": true});
    let tokenizer = open_with(&byte_level(sequence), &config, &Value::Null).unwrap();
    assert_eq!(tokens(&tokenizer, "a"), [0, 1]);
    assert!(said(tokenizer.notices())[0].starts_with("warning: "));
}

#[test]
fn a_tokenizer_that_transformers_builds_again_is_refused_where_it_would_differ() {
    let class = "LlamaTokenizer".to_owned();
    let of = |scheme: &str, space: bool| {
        let mut file = byte_level(
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false}),
        );
        file["model"]["vocab"]["<s>"] = json!(5);
        open_with(&file, &json!({"tokenizer_class": class, "add_prefix_space": space}), &Value::Null)
    };
    assert!(of("first", true).is_ok() && of("never", false).is_ok());
    message(of("first", false), &["tokenizer_config.json", "`add_prefix_space` is false", "expected true"]);
    message(of("never", true), &["`add_prefix_space` is true", "expected false"]);
}

#[test]
fn another_first_token_can_be_chosen() {
    let open = |choice: &str| {
        let config = json!({"bos_token": "<s>", "eos_token": "</s>"});
        open_with(&vocabulary(), &config, &Value::Null).unwrap().with_first_token(&choice.parse().unwrap())
    };
    assert_eq!(tokens(&open("</s>").unwrap(), "one"), [1, 3]);
    assert_eq!(tokens(&open("four").unwrap(), "one"), [6, 3], "any token will do");
    assert_eq!(tokens(&open("four").unwrap(), "four one"), [6, 3], "and is not doubled");
    assert_eq!(tokens(&open("1").unwrap(), "one"), [1, 3], "by its id");
    assert_eq!(tokens(&open("99").unwrap(), "one"), [99, 3], "the model may have more ids");
    assert_eq!(
        tokens(&open("</s>").unwrap(), "<s> one"),
        [0, 3],
        "a special token that is there stays alone"
    );
    let prompt = open("none").unwrap().encode_prompt("one two").unwrap();
    assert_eq!(prompt.tokens, [TokenId(3), TokenId(4)]);
    let notices = said(&prompt.notices);
    assert!(
        notices[0].starts_with("note: nothing is put in front") && notices[0].contains("\"one\""),
        "{notices:?}"
    );
    assert_eq!(open("none").unwrap().encode_prompt("<s> one").unwrap().notices, []);
    message(open("five"), &["\"five\"", "not a token", "model"]);
    message(open("one two"), &["\"one two\"", "not a token"]);
}

#[test]
fn a_prompt_that_begins_twice_with_a_special_token_is_a_warning() {
    let tokenizer = open_with(&vocabulary(), &json!({"bos_token": "<s>"}), &Value::Null).unwrap();
    let notices = said(&tokenizer.encode_prompt("<s><s> one").unwrap().notices);
    assert!(notices[0].starts_with("warning: ") && notices[0].contains("twice with \"<s>\""), "{notices:?}");
    assert_eq!(said(&tokenizer.prompt_from_ids(&[TokenId(0), TokenId(0)]).unwrap().notices).len(), 1);
    assert_eq!(tokenizer.encode_prompt("one one").unwrap().notices, []);
    assert_eq!(tokenizer.leading_special(" <s>one").as_deref(), Some("<s>"));
    assert_eq!(
        tokenizer.leading_special("<added> one").as_deref(),
        Some("<added>"),
        "marked by tokenizer.json alone"
    );
    assert_eq!(tokenizer.leading_special("one<s>"), None);
}

#[test]
fn end_tokens_come_from_the_first_file_that_names_one() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, value: Value| fs::write(dir.path().join(name), value.to_string()).unwrap();
    write("tokenizer.json", vocabulary());
    let ends = || {
        let EndTokens { tokens, source } = Tokenizer::open(dir.path()).unwrap().end_tokens()?;
        Ok::<_, TokenizerError>((tokens.into_iter().map(|id| id.0).collect::<Vec<_>>(), source))
    };
    assert_eq!(ends().unwrap(), (vec![], None));
    write("tokenizer_config.json", json!({"eos_token": "</s>", "bos_token": "<s>"}));
    assert_eq!(ends().unwrap(), (vec![1], Some("the tokenizer")));
    write("config.json", json!({"text_config": {"eos_token_id": 5}}));
    assert_eq!(ends().unwrap(), (vec![5], Some("config.json")));
    write("generation_config.json", json!({"eos_token_id": null}));
    assert_eq!(ends().unwrap(), (vec![5], Some("config.json")), "null names none");
    write("generation_config.json", json!({"eos_token_id": [3, 4]}));
    assert_eq!(ends().unwrap(), (vec![3, 4], Some("generation_config.json")));
    for wrong in [json!("</s>"), json!(-1), json!([3, null]), json!(true)] {
        write("generation_config.json", json!({"eos_token_id": wrong}));
        message(ends(), &["generation_config.json", "`eos_token_id`", "expected a token id"]);
    }
}

#[test]
fn a_byte_order_mark_in_the_files_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let write =
        |name: &str, value: Value| fs::write(dir.path().join(name), format!("\u{FEFF}{value}")).unwrap();
    write("tokenizer.json", vocabulary());
    write("tokenizer_config.json", json!({"bos_token": "<s>"}));
    assert_eq!(tokens(&Tokenizer::open(dir.path()).unwrap(), "one"), [0, 3]);
}

#[test]
fn a_folder_without_a_tokenizer_says_so() {
    message(Tokenizer::open(Path::new("/no/such/model")), &["cannot read /no/such/model/tokenizer.json"]);
}
