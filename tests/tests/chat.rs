//! Chats: templates against what transformers make of them, the files they stand in, and what is refused; `--chat` of the command.
//!
//! How `fixtures/chat/cases.json` was made: `fixtures/make_chat.py`; `templates.json`: `fixtures/make_templates.py`.

use crate::cli::{run, text};
use circuit_index::TokenId;
use circuit_model::chat::{ChatDate, ChatError, ChatOptions, ChatValue, LastTurn, Turns};
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

/// JSON as values for a template.
fn names(object: &Value) -> Vec<(String, ChatValue)> {
    let entries = object.as_object().unwrap().iter();
    entries.map(|(name, value)| (name.clone(), value.to_string().parse().unwrap())).collect()
}

#[test]
fn templates_say_what_transformers_say() {
    for case in json("chat", "cases.json")["cases"].as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let dir = folder(case["model"].as_str().unwrap(), &[("chat_template.jinja", &template(name))]);
        let turns = Turns::of_prompt(&case["messages"].to_string()).unwrap();
        let options = ChatOptions { names: names(&case["options"]), ..ChatOptions::default() };
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

/// Renders templates that are no folder's own.
fn each<'a>(templates: impl Iterator<Item = (&'a str, Turns, ChatOptions)>) -> Vec<Result<String, String>> {
    let dir = folder("llama-plt-relu", &[]);
    let path = dir.path().join("chat_template.jinja");
    let render = |(template, turns, options): (&str, Turns, ChatOptions)| {
        fs::write(&path, template).unwrap();
        let tokenizer = Tokenizer::open(dir.path()).unwrap();
        tokenizer.chat_template().unwrap().render(&turns, &options).map_err(|e| e.to_string())
    };
    templates.map(render).collect()
}

#[test]
fn small_templates_say_what_transformers_say() {
    let fixture = json("chat", "templates.json");
    // An integer with more digits than fit into 64 bits is read as Python reads it, from the text.
    let text = fs::read_to_string(circuit_tests::fixture("chat").join("templates.json")).unwrap();
    let names = text.lines().find_map(|line| line.strip_prefix("\"names\": ")).unwrap().trim_end_matches(',');
    let ChatValue::Dictionary(mut names) = names.parse().unwrap() else { panic!("no names") };
    let (_, messages) = names.remove(names.iter().position(|(name, _)| name == "messages").unwrap());
    let turns = fixture["names"]["messages"].to_string();
    assert_eq!(messages, turns.parse().unwrap(), "no turn has such an integer");
    let turns = Turns::of_prompt(&turns).unwrap();
    let options = ChatOptions { names, ..ChatOptions::default() };
    let cases = fixture["cases"].as_array().unwrap();
    let found = each(cases.iter().map(|case| (case[0].as_str().unwrap(), turns.clone(), options.clone())));
    assert!(cases.len() > 700);
    let differ = |case: &Value, found: &Result<String, String>| found.as_deref().ok() != case[1].as_str();
    let wrong: Vec<_> = cases.iter().zip(&found).filter(|(case, found)| differ(case, found)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_last_turn_goes_on_as_in_transformers() {
    let fixture = json("chat", "templates.json");
    let cases = fixture["continued"].as_array().unwrap();
    let options = ChatOptions { last_turn: LastTurn::GoesOn, ..ChatOptions::default() };
    let turns = |case: &Value| Turns::of_prompt(&case[1].to_string()).unwrap();
    let found = each(cases.iter().map(|case| (case[0].as_str().unwrap(), turns(case), options.clone())));
    assert!(cases.iter().any(|case| case[2].is_null()) && cases.iter().any(|case| case[2].is_string()));
    for (case, found) in cases.iter().zip(&found) {
        assert_eq!(found.as_deref().ok(), case[2].as_str(), "{case}: {found:?}");
    }
}

#[test]
fn a_turn_that_cannot_go_on_says_why() {
    let template = "{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}{% if add_generation_prompt %}<model>{% endif %}";
    let with = |turns: &str, names: Value| {
        let options =
            ChatOptions { last_turn: LastTurn::GoesOn, names: self::names(&names), ..ChatOptions::default() };
        each([(template, Turns::of_prompt(turns).unwrap(), options)].into_iter()).remove(0)
    };
    let user = r#"{"role": "user", "content": "a"}"#;
    let chat = |last: &str| with(&format!("[{user}, {last}]"), json!({}));
    assert_eq!(chat(r#"{"role": "assistant", "content": "b "}"#).unwrap(), "<user>a;<assistant>b ");
    assert_eq!(chat(r#"{"role": "model", "content": "b"}"#).unwrap(), "<user>a;<model>b");
    // An empty answer is the question for one.
    assert_eq!(chat(r#"{"role": "assistant", "content": ""}"#).unwrap(), "<user>a;<model>");
    let says = |found: Result<String, String>, part: &str| {
        let message = found.unwrap_err();
        assert!(message.contains(part), "{message}");
    };
    says(with(&format!("[{user}]"), json!({})), "the last turn is of `user`, expected `assistant`");
    says(chat(r#"{"role": "assistant", "content": null}"#), "no text to go on with");
    says(chat(r#"{"role": "assistant", "content": [{"type": "image"}]}"#), "no text to go on with");
    let asked = with(&format!("[{user}]"), json!({"add_generation_prompt": true}));
    says(asked, "add_generation_prompt");
    // The mark behind the last turn's text must not stay in the text.
    let twice = "{% for m in messages %}{{ m.content }}|{{ m.content }};{% endfor %}";
    let turns =
        Turns::of_prompt(&format!("[{user}, {}]", r#"{"role": "assistant", "content": "b"}"#)).unwrap();
    let options = ChatOptions { last_turn: LastTurn::GoesOn, ..ChatOptions::default() };
    says(each([(twice, turns, options)].into_iter()).remove(0), "prints it more than once");
}

#[test]
fn a_turn_that_calls_tools_may_have_null_as_its_content() {
    let turns = r#"[{"role": "user", "content": "a", "name": null},
        {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"n": 123456789012345678901234567890}}}]},
        {"role": "tool", "content": {"t": 1.0}}, {"role": "assistant", "tool_calls": []}, {"role": "assistant", "content": null, "tool_calls": null}]"#;
    let template = "{% for m in messages %}{{ m.content is defined }} {{ m.content is none }} {{ 'tool_calls' in m }} {{ m.content }};{% endfor %}{{ messages[1].tool_calls[0].function.arguments|tojson }}{{ 'name' in messages[0] }}";
    let found = each([(template, Turns::of_prompt(turns).unwrap(), ChatOptions::default())].into_iter());
    let wanted = "True False False a;True True True None;True False False {'t': 1.0};False False True ;False False False ;{\"n\": 123456789012345678901234567890}False";
    assert_eq!(found[0].as_deref().unwrap(), wanted);
}

#[test]
fn line_ends_of_a_template_file_are_one_character() {
    let turns = Turns::user("a\r\nb");
    let source =
        "{% if true %}\r\n{{ messages[0].role }}\r\nX\rY\r\n{% endif %}\r\n{{ messages[0].content }}\r\n";
    let found = each([(source, turns, ChatOptions::default())].into_iter());
    assert_eq!(found[0].as_deref().unwrap(), "user\nX\nY\na\r\nb", "what a turn says stays as it is");
}

#[test]
fn of_several_templates_one_is_chosen_by_tools_or_name() {
    let dir = folder("llama-plt-relu", &[]);
    let say = |name: &str| format!("{name}: {{{{ messages[0].content }}}}");
    let list = ["default", "tool_use", "rag"].map(|name| json!({"name": name, "template": say(name)}));
    config(dir.path(), &json!(list));
    let with = |tools: Value, template: Option<&str>| {
        let names = names(&json!({"tools": tools}));
        let options = ChatOptions { names, template: template.map(str::to_owned), ..ChatOptions::default() };
        render(dir.path(), &Turns::user("x"), &options)
    };
    assert_eq!(with(json!(null), None).unwrap(), "default: x");
    assert_eq!(with(json!([{"name": "f"}]), None).unwrap(), "tool_use: x");
    // An empty list is a list of tools, as in transformers.
    assert_eq!(with(json!([]), None).unwrap(), "tool_use: x");
    assert_eq!(with(json!([]), Some("default")).unwrap(), "default: x");
    assert_eq!(with(json!(null), Some("rag")).unwrap(), "rag: x");
    refused(with(json!(null), Some("RAG")), &["`RAG`", "default, tool_use, rag", "tokenizer_config.json"]);

    // Files of their own come before the config.
    let further = dir.path().join("additional_chat_templates");
    fs::create_dir(&further).unwrap();
    fs::write(further.join("tool_use.jinja"), say("file")).unwrap();
    fs::write(further.join("notes.txt"), "{{").unwrap();
    refused(with(json!(null), None), &["`default`", "there are: tool_use"]);
    assert_eq!(with(json!([]), None).unwrap(), "file: x");
    fs::write(dir.path().join("chat_template.jinja"), say("alone")).unwrap();
    assert_eq!(with(json!(null), None).unwrap(), "alone: x");
    assert_eq!(with(json!([]), None).unwrap(), "file: x");
    fs::write(further.join("tool_use.jinja"), "\n{{ x.y }}").unwrap();
    refused(with(json!([]), None), &["tool_use.jinja", "undefined", "line 2"]);

    // A template without a name has the name `default`.
    fs::remove_dir_all(&further).unwrap();
    assert_eq!(with(json!([]), Some("default")).unwrap(), "alone: x");
    refused(with(json!([]), Some("rag")), &["`rag`", "there are: default"]);
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
    refused(rendered(), &["chat_template.jinja", "byte 0xff in line 1 is not UTF-8"]);
    fs::remove_file(dir.path().join("chat_template.jinja")).unwrap();
    for (wrong, parts) in [
        (
            json!([{"name": "rag", "template": ""}, {"name": "tool_use", "template": ""}]),
            ["`default`", "rag, tool_use"],
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
        &["not a JSON list of turns", "column 35"],
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
    // A macro keeps the names of its surroundings, also those that are missing.
    let inside = "{% macro f() %}{{ strftime_now('%d') }}{% endmacro %}{% if strftime_now is defined %}{{ 1 + 'x' }}{% endif %}\n{{ f() }}";
    refused(with(inside), &["asks for today's date", "line 1"]);
    let default = "{{ strftime_now is not defined }} {{ (strftime_now or 'none')|upper }} {{ strftime_now|default('x') }}";
    assert_eq!(with(default).unwrap(), "True NONE x");
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
    let on = |date: Option<&str>| {
        let date = date.map(|date| date.parse().unwrap());
        render(dir.path(), &Turns::user("x"), &ChatOptions { date, ..ChatOptions::default() }).unwrap()
    };
    assert!(on(None).contains("Today: 26 Jul 2024"), "a prompt does not change overnight");
    assert!(on(Some("2026-02-03")).contains("Today: 03 Feb 2026"));
    // What Python's `strftime` makes of it.
    let codes = "%Y-%m-%d|%A %a|%B %b %h|%H:%M:%S|%I %p|%j|%y|%d %-d %e %_d|%U %W %V %G %u %w|%c|%x|%X|%D|%F|%T|%R|%r|%f|%z%Z|%%|%^a|%Q";
    fs::write(dir.path().join("chat_template.jinja"), format!("{{{{ strftime_now('{codes}') }}}}")).unwrap();
    for (date, wanted) in [
        (
            "2026-02-03",
            "2026-02-03|Tuesday Tue|February Feb Feb|00:00:00|12 AM|034|26|03 3  3  3|05 05 06 2026 2 2|Tue Feb  3 00:00:00 2026|02/03/26|00:00:00|02/03/26|2026-02-03|00:00:00|00:00|12:00:00 AM|000000||%|TUE|%Q",
        ),
        (
            "2027-01-01T23:59",
            "2027-01-01|Friday Fri|January Jan Jan|23:59:00|11 PM|001|27|01 1  1  1|00 00 53 2026 5 5|Fri Jan  1 23:59:00 2027|01/01/27|23:59:00|01/01/27|2027-01-01|23:59:00|23:59|11:59:00 PM|000000||%|FRI|%Q",
        ),
        (
            "2024-02-29T12:00:07",
            "2024-02-29|Thursday Thu|February Feb Feb|12:00:07|12 PM|060|24|29 29 29 29|08 09 09 2024 4 4|Thu Feb 29 12:00:07 2024|02/29/24|12:00:07|02/29/24|2024-02-29|12:00:07|12:00|12:00:07 PM|000000||%|THU|%Q",
        ),
    ] {
        assert_eq!(on(Some(date)), wanted, "{date}");
    }
    for wrong in [
        "2026-02-30",
        "3 Feb 2026",
        "",
        "2026-2-3",
        "2026-02-03T",
        "2026-02-03T24:00",
        "2026-02-03T9:30",
        "2026-02-03T09:30:61",
        "2026-02-03T09:30:00Z",
    ] {
        refused(wrong.parse::<ChatDate>(), &["is not a date", "YYYY-MM-DD"]);
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
    // The last turn can be left open.
    let turns = |last: &str| {
        format!(
            r#"[{{"role": "user", "content": "fact : the"}}, {{"role": "assistant", "content": "{last}"}}]"#
        )
    };
    let (chat, _) = tokens(&["--chat", "--continue", "-p", &turns("capital of Texas is")]);
    assert_eq!(chat, plain);
    refused(&["--continue", "-p", "x"], 2, &["--chat"]);
    refused(&["--chat", "--continue", "-p", "x"], 4, &["the last turn is of `user`"]);
    let asked = ["--chat", "--continue", "--chat-option", "add_generation_prompt=true", "-p", &turns("is")];
    refused(&asked, 2, &["add_generation_prompt", "hint"]);
    refused(&["--chat", "--chat-template", "rag", "-p", "x"], 2, &["`rag`", "there are: default"]);
    refused(&["--chat", "--chat-date", "today", "-p", "x"], 2, &["YYYY-MM-DD"]);
    refused(&["--chat", "--chat-option", "a", "-p", "x"], 2, &["NAME=VALUE"]);
    refused(&["--chat", "-p", "[{\"role\": 3}]"], 4, &["turn 0"]);
    fs::write(dir.path().join("chat_template.jinja"), "{{ raise_exception('never') }}").unwrap();
    refused(&["--chat", "-p", "x"], 4, &["refuses: never"]);
    fs::write(dir.path().join("chat_template.jinja"), "{{ strftime_now('%d') }}").unwrap();
    refused(&["--chat", "-p", "x"], 4, &["today's date", "--chat-date"]);
    fs::remove_file(dir.path().join("chat_template.jinja")).unwrap();
    refused(&["--chat", "-p", "x"], 3, &["no chat template", "additional_chat_templates"]);
}

/// A copy of an instruct model with its transcoders, in folders of the given names.
fn instruct(model: &str, set_of: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let source = fixture("gemma3-it-plt-jumprelu");
    for (from, to) in [("model", model), ("transcoders", "set")] {
        fs::create_dir(root.path().join(to)).unwrap();
        for file in fs::read_dir(source.join(from)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), root.path().join(to).join(file.file_name())).unwrap();
        }
    }
    fs::write(root.path().join(model).join("chat_template.jinja"), template("gemma")).unwrap();
    let config = root.path().join("set/config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("google/gemma-3-270m", set_of)).unwrap();
    root
}

const NOTE: &str = "of which 1 is ignored, since no name says that the model was tuned on chats";

#[test]
fn an_instruct_model_is_known_by_its_names() {
    let (base, it) = ("google/gemma-3-270m", "google/gemma-3-1b-it");
    let traced = |root: &Path, model: &str, more: &[&str]| {
        let (model, set) = (root.join(model), root.join("set"));
        let base = [
            "attribute",
            "-m",
            model.to_str().unwrap(),
            "-t",
            set.to_str().unwrap(),
            "--dry-run",
            "-p",
            "The cat",
        ];
        let output = run(&[&base[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    // Nothing says it: the prompt's beginning does.
    let plain = instruct("model", base);
    let told = traced(plain.path(), "model", &["--chat"]);
    assert!(told.contains(NOTE) && told.contains("--ignored-positions 4"), "{told}");
    assert!(!traced(plain.path(), "model", &[]).contains(NOTE), "this is no chat");
    assert!(!traced(plain.path(), "model", &["--chat", "--ignored-positions", "4"]).contains(NOTE));
    // Each of the names says it.
    let config = plain.path().join("model/config.json");
    let as_it_was = fs::read_to_string(&config).unwrap();
    fs::write(&config, as_it_was.replacen('{', &format!("{{\"_name_or_path\": \"{it}\","), 1)).unwrap();
    assert!(!traced(plain.path(), "model", &["--chat"]).contains(NOTE));
    let by_folder = instruct("gemma-3-1b-it", base);
    assert!(!traced(by_folder.path(), "gemma-3-1b-it", &["--chat"]).contains(NOTE));
    let by_set = instruct("model", it);
    assert!(!traced(by_set.path(), "model", &["--chat"]).contains(NOTE));
    // The folder is that of the model which the set's was tuned from.
    let other = instruct("gemma-3-1b-pt", it);
    assert!(traced(other.path(), "gemma-3-1b-pt", &["--chat"]).contains(NOTE));

    let described = |folder: std::path::PathBuf| text(&run(&["describe", folder.to_str().unwrap()]).stdout);
    let line =
        |told: String| told.lines().find(|line| line.starts_with("ignored positions")).unwrap().to_owned();
    let found = line(described(by_folder.path().join("gemma-3-1b-it")));
    assert!(found.ends_with("4, by the folder's name gemma-3-1b-it"), "{found}");
    let found = line(described(plain.path().join("model")));
    assert!(found.ends_with("4, by `_name_or_path` google/gemma-3-1b-it in config.json"), "{found}");
    assert!(line(described(other.path().join("gemma-3-1b-pt"))).ends_with(" 1"));
}

#[test]
fn every_command_ignores_the_same_positions() {
    let root = instruct("model", "google/gemma-3-270m");
    let known = instruct("model", "google/gemma-3-1b-it");
    let on = |root: &tempfile::TempDir| {
        let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
        ["-m".to_owned(), path("model"), "-t".to_owned(), path("set")]
    };
    let said = |command: &[&str], root: &tempfile::TempDir, more: &[&str]| {
        let on = on(root);
        let on: Vec<_> = on.iter().map(String::as_str).collect();
        let output = run(&[command, &on, more].concat());
        let told = text(&output.stderr);
        assert!(output.status.success(), "{command:?}: {told}");
        told
    };
    let (chat, given) = (["--chat", "-p", "The small grey cat"], ["--ignored-positions", "4"]);
    for command in
        [&["generate", "--max-new-tokens", "1"][..], &["intervene", "--set", "0_0@5=1"], &["doctor"]]
    {
        let command = [command, &chat].concat();
        let (plain, by_set) = (said(&command, &root, &[]), said(&command, &known, &[]));
        assert!(plain.contains(NOTE) && !by_set.contains(NOTE), "{command:?}: {plain}{by_set}");
        assert!(command[0] == "doctor" || !said(&command, &root, &given).contains(NOTE), "{command:?}");
    }
    // From a document the tokens behind the ignored ones are learned.
    let corpus = root.path().join("corpus.txt");
    fs::write(&corpus, "The small grey cat sat on the mat\n").unwrap();
    let corpus = corpus.to_str().unwrap();
    let pages = ["feature-pages", "--corpus", corpus];
    for command in [&pages[..], &["evaluate", "transcoders", "--corpus", corpus, "--prompts", "1"]] {
        let count = |root: &tempfile::TempDir, more: &[&str]| {
            let pages = tempfile::tempdir().unwrap();
            let output = ["-o", pages.path().to_str().unwrap()];
            let output = if command[0] == "feature-pages" { &output[..] } else { &[] };
            let told = said(command, root, &[output, more].concat());
            told.lines().find(|line| line.ends_with("tokens to learn from")).unwrap().to_owned()
        };
        let (plain, by_set) = (count(&root, &[]), count(&known, &[]));
        assert_eq!(by_set, count(&root, &given), "{command:?}");
        assert_ne!(plain, by_set, "{command:?}");
    }
}
