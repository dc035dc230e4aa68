//! Chats: templates against what transformers make of them, the files they stand in, and what is refused; `--chat` of the command.
//!
//! How `fixtures/chat/cases.json` was made: `fixtures/make_chat.py`.

use crate::cli::{run, text};
use circuit_index::TokenId;
use circuit_model::chat::{ChatError, ChatOptions, Turns};
use circuit_model::tokenizer::Tokenizer;
use circuit_tests::{demo, fixture, json};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// A folder with a fixture's tokenizer, and the given files beside it.
fn folder(model: &str, files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        fs::copy(fixture(model).join("model").join(name), dir.path().join(name)).unwrap();
    }
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn template(name: &str) -> Vec<u8> {
    fs::read(fixture("chat").join(format!("{name}.jinja"))).unwrap()
}

/// `tokenizer_config.json` with a template.
fn config(dir: &Path, template: &Value) {
    let path = dir.join("tokenizer_config.json");
    let mut config: Map<String, Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config.insert("chat_template".into(), template.clone());
    fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
}

fn render(dir: &Path, turns: &Turns, options: &ChatOptions) -> Result<String, ChatError> {
    Tokenizer::open(dir).unwrap().chat_template()?.render(turns, options)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, ChatError>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn templates_say_what_transformers_say() {
    for case in json("chat", "cases.json")["cases"].as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let dir = folder(case["model"].as_str().unwrap(), &[("chat_template.jinja", &template(name))]);
        let turns = Turns::of_prompt(&case["messages"].to_string()).unwrap();
        let names = case["options"].as_object().unwrap().clone();
        let options = ChatOptions { names, today: None };
        let found = render(dir.path(), &turns, &options);
        if let Some(why) = case["refused"].as_str() {
            refused(found, &["chat_template.jinja", "refuses", why]);
            continue;
        }
        let found = found.unwrap();
        assert_eq!(found, case["text"].as_str().unwrap(), "{name}");
        // No second special token in front of a template's own.
        let tokenizer = Tokenizer::open(dir.path()).unwrap();
        let tokens = tokenizer.encode_prompt(&found).unwrap().tokens;
        let wanted = case["tokens"].as_array().unwrap().iter().map(|id| TokenId(id.as_u64().unwrap() as u32));
        let wanted: Vec<_> = wanted.collect();
        match tokenizer.is_special(wanted[0]) {
            true => assert_eq!(tokens, wanted, "{name}"),
            false => assert_eq!(tokens[1..], wanted, "{name}: one is put in front, as of every prompt"),
        }
    }
}

#[test]
fn a_template_stands_in_one_of_several_places() {
    let hello = Turns::user("hello");
    let say = |what: &str| format!("{what} {{{{ messages[0].content }}}}");
    let dir = folder("llama-plt-relu", &[]);
    let rendered = || render(dir.path(), &hello, &ChatOptions::default());
    refused(rendered(), &["no chat template", "chat_template.jinja", "tokenizer_config.json"]);
    fs::write(dir.path().join("chat_template.json"), json!({"chat_template": say("old")}).to_string())
        .unwrap();
    assert_eq!(rendered().unwrap(), "old hello");
    config(dir.path(), &say("config").into());
    assert_eq!(rendered().unwrap(), "config hello");
    let several = json!([{"name": "rag", "template": "{{ x("}, {"name": "default", "template": say("one")}]);
    config(dir.path(), &several);
    assert_eq!(rendered().unwrap(), "one hello");
    fs::write(dir.path().join("chat_template.jinja"), say("file")).unwrap();
    assert_eq!(rendered().unwrap(), "file hello");

    fs::write(dir.path().join("chat_template.jinja"), b"\xff").unwrap();
    refused(rendered(), &["chat_template.jinja", "utf-8"]);
    fs::remove_file(dir.path().join("chat_template.jinja")).unwrap();
    for (wrong, parts) in [
        (
            json!([{"name": "rag", "template": ""}, {"name": "tool_use", "template": ""}]),
            ["default", "rag, tool_use"],
        ),
        (json!([{"name": "default"}]), ["`chat_template`", "`name` and `template`"]),
        (json!(3), ["`chat_template`", "neither a text nor a list"]),
    ] {
        config(dir.path(), &wrong);
        refused(rendered(), &parts);
    }
}

#[test]
fn prompts_are_words_or_turns() {
    assert_eq!(Turns::of_prompt("[1] is cited").unwrap(), Turns::user("[1] is cited"));
    let turns =
        r#" [ {"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": []} ]"#;
    assert!(Turns::of_prompt(turns).is_ok());
    refused(
        Turns::of_prompt(r#"[{"role": "user", "content": "a"},]"#),
        &["no JSON list of turns", "column 35"],
    );
    refused(Turns::of_prompt(r#"[{"content": "a"}]"#), &["turn 0", "`role`"]);
    refused(
        Turns::of_prompt(r#"[{"role": "user", "content": "a"}, {"role": "user"}]"#),
        &["turn 1", "`content`"],
    );
    refused(Turns::of_prompt(r#"[{"role": "user", "content": 3}]"#), &["turn 0", "`content`"]);
}

#[test]
fn a_template_that_fails_or_never_ends_says_where() {
    let with = |template: &str| {
        let dir = folder("llama-plt-relu", &[("chat_template.jinja", template.as_bytes())]);
        render(dir.path(), &Turns::user("x"), &ChatOptions::default())
    };
    refused(with("a\n{% if %}"), &["chat_template.jinja", "syntax error", "line 2"]);
    refused(with("{{ nobody.knows }}"), &["undefined", "line 1"]);
    refused(with("\n\n{{ strftime_now('%d') }}"), &["asks for today's date", "line 3"]);
    refused(with("{% include 'x' %}"), &["chat_template.jinja"]);
    refused(with("{{ raise_exception('not today') }}"), &["refuses: not today"]);
    // Work without end, text without end, and depth without end.
    let nested = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    refused(with(nested), &["does not come to an end"]);
    let doubled =
        "{% set n = namespace(x='xxxxxxxx') %}{% for a in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}";
    refused(with(doubled), &["does not come to an end"]);
    refused(with("{{ 'x' * 99999999999 }}"), &["chat_template.jinja"]);
    refused(with("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), &["recursion"]);
    refused(with(&"{% if a %}".repeat(100_000)), &["chat_template.jinja"]);
}

#[test]
fn a_day_is_given_or_the_template_s_own() {
    let dir = folder("llama-plt-relu", &[("chat_template.jinja", &template("llama"))]);
    let on = |today: Option<&str>| {
        let today = today.map(|day| day.parse().unwrap());
        render(dir.path(), &Turns::user("x"), &ChatOptions { today, ..ChatOptions::default() }).unwrap()
    };
    assert!(on(None).contains("Today: 26 Jul 2024"), "a prompt does not change overnight");
    assert!(on(Some("2026-02-03")).contains("Today: 03 Feb 2026"));
    let formats = "{{ strftime_now('%Y-%m-%d, %A %B') }} {{ strftime_now('%H:%M:%S') }}";
    fs::write(dir.path().join("chat_template.jinja"), formats).unwrap();
    assert_eq!(on(Some("2026-02-03")), "2026-02-03, Tuesday February 00:00:00");
    for wrong in ["2026-02-30", "3 Feb 2026", "", "2026-2-3"] {
        refused(wrong.parse::<circuit_model::chat::Day>(), &["no day", "YYYY-MM-DD"]);
    }
}

#[test]
fn the_marks_of_training_change_nothing() {
    let marked =
        "{%- for m in messages %}{%- generation -%} {{ m.content }} {% endgeneration %}\nx{%- endfor %}";
    let dir = folder("llama-plt-relu", &[("chat_template.jinja", marked.as_bytes())]);
    let turns =
        Turns::of_prompt(r#"[{"role": "user", "content": "a generation"}, {"role": "x", "content": "b"}]"#);
    // So transformers render it.
    assert_eq!(render(dir.path(), &turns.unwrap(), &ChatOptions::default()).unwrap(), "a generation xb x");
}

/// A copy of the demo's model, with a template of words that it knows.
fn demo_with(template: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in fs::read_dir(demo().join("model")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    fs::write(dir.path().join("chat_template.jinja"), template).unwrap();
    dir
}

#[test]
fn the_command_traces_a_chat() {
    let dir = demo_with(
        "{{ bos_token }}{% for m in messages %} {{ m.content }}{% endfor %}{% if end is defined %} {{ end }}{% endif %}",
    );
    let (model, set) = (dir.path().to_str().unwrap(), demo().join("transcoders"));
    let base = ["attribute", "-m", model, "-t", set.to_str().unwrap(), "--max-feature-nodes", "0", "--json"];
    let traced = |more: &[&str]| run(&[&base, more].concat());
    let tokens = |more: &[&str]| {
        let output = traced(more);
        let found: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
        (found["token_strings"].clone(), text(&output.stderr))
    };
    let words = "fact : the capital of Texas is";
    let (plain, _) = tokens(&["-p", words]);
    let (chat, told) = tokens(&["--chat", "-p", words]);
    assert_eq!(chat, plain, "the template's own token in front is not doubled");
    assert!(told.contains("chat: 0:\"<bos>\" 1:\"fact\"") && told.contains("7:\"is\""), "{told}");
    let turns =
        r#"[{"role": "system", "content": "fact : the capital"}, {"role": "user", "content": "of Texas"}]"#;
    let (chat, _) = tokens(&["--chat", "--chat-option", "end=is", "-p", turns]);
    assert_eq!(chat, plain);
    let file = dir.path().join("turns.json");
    fs::write(&file, turns).unwrap();
    let (chat, _) =
        tokens(&["--chat", "--chat_option", "end=\"is\"", "--prompt-file", file.to_str().unwrap()]);
    assert_eq!(chat, plain);

    let refused = |more: &[&str], code: i32, says: &[&str]| {
        let output = traced(more);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(says.iter().all(|part| stderr.contains(part)), "{stderr}");
    };
    refused(&["--chat", "--prompt-ids", "1,2"], 2, &["--chat", "--prompt-ids"]);
    refused(&["--chat-option", "a=1", "-p", "x"], 2, &["--chat"]);
    refused(&["--chat", "--chat-date", "today", "-p", "x"], 2, &["YYYY-MM-DD"]);
    refused(&["--chat", "--chat-option", "a", "-p", "x"], 2, &["NAME=VALUE"]);
    refused(&["--chat", "-p", "[{\"role\": 3}]"], 4, &["turn 0"]);
    fs::write(dir.path().join("chat_template.jinja"), "{{ raise_exception('never') }}").unwrap();
    refused(&["--chat", "-p", "x"], 4, &["refuses: never"]);
    fs::write(dir.path().join("chat_template.jinja"), "{{ strftime_now('%d') }}").unwrap();
    refused(&["--chat", "-p", "x"], 4, &["today's date", "--chat-date"]);
    fs::remove_file(dir.path().join("chat_template.jinja")).unwrap();
    refused(&["--chat", "-p", "x"], 3, &["no chat template"]);
}
