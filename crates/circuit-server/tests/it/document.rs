//! The OpenAPI document and the server say the same: every route and every answer is in it, and answers have its forms.

use crate::features::write_set;
use crate::support::{Answer, JSON, Running, features, graph};
use circuit_server::{RecordSource, RemoteFeatures};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Checks answers against the document, and notes which of its answers came up.
struct Checker {
    document: Value,
    seen: BTreeSet<String>,
}

impl Checker {
    #[track_caller]
    fn check(&mut self, method: &str, template: &str, answer: &Answer) {
        let status = answer.status.to_string();
        let name = format!("{method} {template} {status}");
        let operation = &self.document["paths"][template][method.to_lowercase()];
        let response = &operation["responses"][&status];
        assert!(response.is_object(), "{name} is not in the document");
        match response["content"].as_object() {
            None => assert!(answer.body.is_empty(), "{name} should have no body"),
            Some(content) => {
                let (kind, form) = content.iter().next().unwrap();
                assert_eq!(answer.header("content-type"), kind, "{name}");
                // References lead to the components, which have to be in the same document.
                let mut schema = form["schema"].clone();
                schema["components"] = self.document["components"].clone();
                let validator = jsonschema::validator_for(&schema).unwrap();
                let body = answer.json();
                let errors: Vec<_> = validator.iter_errors(&body).map(|e| e.to_string()).collect();
                assert!(errors.is_empty(), "{name}: {errors:?}\n{body}");
            }
        }
        for header in response["headers"].as_object().into_iter().flatten() {
            assert!(!answer.header(header.0).is_empty(), "{name} lacks {}", header.0);
        }
        self.seen.insert(name);
    }
}

/// Feature records that are elsewhere and cannot be had.
#[derive(Debug)]
struct Broken;

impl RecordSource for Broken {
    fn read(&self, _: &str, _: Option<Range<u64>>) -> io::Result<Option<Vec<u8>>> {
        Err(io::Error::other("the line is cut"))
    }
}

#[test]
fn every_answer_is_in_the_document_and_has_its_form() {
    let records = tempfile::tempdir().unwrap();
    write_set(records.path());
    let server = Running::with(|config| {
        config.features = vec![features(records.path())];
        config.remote_features = vec![RemoteFeatures { scans: vec!["far".into()], source: Arc::new(Broken) }];
    });
    let impatient = Running::with(|config| config.limits.body_pause = std::time::Duration::from_millis(200));
    server.write("g.json", graph("g", 3).to_string());
    impatient.write("g.json", graph("g", 3).to_string());
    server.write("h.json", graph("h", 3).to_string());
    let document = server.get("/api/v1/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut checker = Checker { document, seen: BTreeSet::new() };

    let (host, evil) = (("Host", "evil.example"), ("Origin", "http://evil.example"));
    let any = ("If-Match", "*");
    let (wrong, large) = (b"{", vec![b' '; (1 << 16) + 1]);
    let huge = vec![b' '; (1 << 20) + 1];
    let scan = records.path().to_str().unwrap();
    let (zero, two) =
        (format!("/api/v1/features/0/1?scan={scan}"), format!("/api/v1/features/0/2?scan={scan}"));
    let new = graph("new", 1).to_string();
    let other = json!({"x": 1}).to_string();
    let mut circle = graph("circle", 1);
    circle["links"][0] = json!({"source": "2_7_0", "target": "0_0_0", "weight": 1});
    server.write("circle.json", circle.to_string());
    let slow = [JSON, any, ("Content-Length", "10")];

    type Case<'a> = (&'a str, &'a str, &'a str, Vec<(&'a str, &'a str)>, &'a [u8], u16);
    let (list, one) = ("/api/v1/graphs", "/api/v1/graphs/{slug}");
    let (view, name) = ("/api/v1/graphs/{slug}/view", "/api/v1/graphs/{slug}/rename");
    let (scores, record) = ("/api/v1/graphs/{slug}/scores", "/api/v1/features/{layer}/{index}");
    let cases: Vec<Case<'_>> = vec![
        ("GET", "/api/v1/health", "/api/v1/health", vec![], b"", 200),
        ("GET", "/api/v1/health", "/api/v1/health", vec![host], b"", 403),
        ("GET", "/api/v1/health", "/api/v1/health", vec![("Host", "")], b"", 400),
        ("GET", "/api/v1/openapi.json", "/api/v1/openapi.json", vec![], b"", 200),
        ("GET", "/api/v1/openapi.json", "/api/v1/openapi.json", vec![("If-None-Match", "*")], b"", 304),
        ("GET", "/api/v1/openapi.json", "/api/v1/openapi.json", vec![host], b"", 403),
        ("GET", "/api/v1/openapi.json", "/api/v1/openapi.json", vec![("Host", "")], b"", 400),
        ("GET", list, list, vec![], b"", 200),
        ("GET", list, list, vec![("If-None-Match", "*")], b"", 304),
        ("GET", list, list, vec![host], b"", 403),
        ("GET", list, list, vec![("Host", "")], b"", 400),
        ("GET", one, "/api/v1/graphs/g", vec![], b"", 200),
        ("GET", one, "/api/v1/graphs/g", vec![("If-None-Match", "*")], b"", 304),
        ("GET", one, "/api/v1/graphs/none", vec![], b"", 404),
        ("GET", one, "/api/v1/graphs/g", vec![host], b"", 403),
        ("GET", one, "/api/v1/graphs/g", vec![("Host", "")], b"", 400),
        ("GET", record, &zero, vec![], b"", 200),
        ("GET", record, &zero, vec![("If-None-Match", "*")], b"", 304),
        ("GET", record, &two, vec![], b"", 404),
        ("GET", record, "/api/v1/features/0/0?scan=none", vec![], b"", 404),
        ("GET", record, "/api/v1/features/0/0", vec![], b"", 400),
        ("GET", record, "/api/v1/features/0/0?scan=far", vec![], b"", 502),
        ("GET", record, &zero, vec![host], b"", 403),
        ("PUT", view, "/api/v1/graphs/g/view", vec![JSON, any], b"{\"pinnedIds\": []}", 200),
        ("PUT", view, "/api/v1/graphs/g/view", vec![JSON, any], wrong, 400),
        ("PUT", view, "/api/v1/graphs/g/view", vec![JSON, any, evil], b"{}", 403),
        ("PUT", view, "/api/v1/graphs/none/view", vec![JSON, any], b"{}", 404),
        ("PUT", view, "/api/v1/graphs/g/view", slow.to_vec(), b"{", 408),
        ("PUT", view, "/api/v1/graphs/g/view", vec![JSON, ("If-Match", "\"old\"")], b"{}", 409),
        ("PUT", view, "/api/v1/graphs/g/view", vec![JSON, any], &large, 413),
        ("PUT", view, "/api/v1/graphs/g/view", vec![any], b"{}", 415),
        ("PUT", view, "/api/v1/graphs/g/view", vec![JSON, any], b"[]", 422),
        ("PUT", view, "/api/v1/graphs/g/view", vec![JSON], b"{}", 428),
        ("POST", scores, "/api/v1/graphs/g/scores", vec![JSON], b"{\"pinned\": [\"0_0_0\"]}", 200),
        ("POST", scores, "/api/v1/graphs/g/scores", vec![JSON], b"{\"pinned\": []}", 200),
        ("POST", scores, "/api/v1/graphs/g/scores", vec![JSON], wrong, 400),
        ("POST", scores, "/api/v1/graphs/g/scores", vec![JSON, evil], b"{\"pinned\": []}", 403),
        ("POST", scores, "/api/v1/graphs/none/scores", vec![JSON], b"{\"pinned\": []}", 404),
        ("POST", scores, "/api/v1/graphs/g/scores", slow.to_vec(), b"{", 408),
        ("POST", scores, "/api/v1/graphs/circle/scores", vec![JSON], b"{\"pinned\": []}", 409),
        ("POST", scores, "/api/v1/graphs/g/scores", vec![JSON], &large, 413),
        ("POST", scores, "/api/v1/graphs/g/scores", vec![], b"{}", 415),
        ("POST", scores, "/api/v1/graphs/g/scores", vec![JSON], other.as_bytes(), 422),
        ("POST", name, "/api/v1/graphs/g/rename", vec![JSON], b"{\"slug\": \"g\"}", 200),
        ("POST", name, "/api/v1/graphs/g/rename", vec![JSON], wrong, 400),
        ("POST", name, "/api/v1/graphs/g/rename", vec![JSON, evil], b"{}", 403),
        ("POST", name, "/api/v1/graphs/none/rename", vec![JSON], b"{\"slug\": \"x\"}", 404),
        ("POST", name, "/api/v1/graphs/g/rename", slow.to_vec(), b"{", 408),
        ("POST", name, "/api/v1/graphs/g/rename", vec![JSON], b"{\"slug\": \"h\"}", 409),
        ("POST", name, "/api/v1/graphs/g/rename", vec![JSON], &large, 413),
        ("POST", name, "/api/v1/graphs/g/rename", vec![], b"{}", 415),
        ("POST", name, "/api/v1/graphs/g/rename", vec![JSON], b"{\"slug\": \"../x\"}", 422),
        ("POST", list, list, vec![JSON], new.as_bytes(), 201),
        ("POST", list, list, vec![JSON], new.as_bytes(), 409),
        ("POST", list, "/api/v1/graphs?overwrite=true", vec![JSON], new.as_bytes(), 201),
        ("POST", list, list, vec![JSON], wrong, 400),
        ("POST", list, list, vec![JSON, evil], b"{}", 403),
        ("POST", list, list, slow.to_vec(), b"{", 408),
        ("POST", list, list, vec![JSON], &huge, 413),
        ("POST", list, list, vec![], b"{}", 415),
        ("POST", list, list, vec![JSON], b"{}", 422),
        ("DELETE", one, "/api/v1/graphs/new", vec![("If-Match", "\"old\"")], b"", 409),
        ("DELETE", one, "/api/v1/graphs/new", vec![evil], b"", 403),
        ("DELETE", one, "/api/v1/graphs/new", vec![("Host", "")], b"", 400),
        ("DELETE", one, "/api/v1/graphs/new", vec![], b"", 204),
        ("DELETE", one, "/api/v1/graphs/new", vec![], b"", 404),
    ];
    for (method, template, path, headers, body, status) in cases {
        // A body that never ends is refused by a server that waits less long: the other must not give up on a busy machine.
        let asked = if headers == slow { &impatient } else { &server };
        let answer = asked.ask(method, path, &headers, body);
        assert_eq!(answer.status, status, "{method} {path} {headers:?}: {answer:?}");
        checker.check(method, template, &answer);
    }

    // Nothing is described that does not exist. A fault of the server itself cannot be asked for.
    let mut described = BTreeSet::new();
    for (template, item) in checker.document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for status in operation["responses"].as_object().unwrap().keys().filter(|status| *status != "500")
            {
                described.insert(format!("{} {template} {status}", method.to_uppercase()));
            }
        }
    }
    assert_eq!(described, checker.seen);
}

#[test]
fn graph_files_that_the_server_takes_are_those_of_the_document() {
    let server = Running::start();
    let document = server.get("/api/v1/openapi.json").json();
    let schema = json!({"$ref": "#/components/schemas/GraphFile", "components": document["components"]});
    let validator = jsonschema::validator_for(&schema).unwrap();
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    for case in ["llama-plt-relu", "qwen3-plt-relu", "gemma2-plt-jumprelu", "gpt2-plt-relu"] {
        let file: Value =
            serde_json::from_slice(&std::fs::read(fixtures.join(case).join("graph.json")).unwrap()).unwrap();
        assert!(validator.is_valid(&file), "{case}");
        assert_eq!(server.send_json("POST", "/api/v1/graphs", &file).status, 201, "{case}");
    }
    // One change at a time, of every key there is: both refuse, or both accept.
    let whole = graph("g", 1);
    let values =
        [json!(null), json!(-1), json!(1.5), json!("x"), json!("../x"), json!([]), json!({}), json!(true)];
    let mut n_refused = 0;
    for pointer in ["", "/metadata", "/nodes/0", "/links/0"] {
        let keys: Vec<String> =
            whole.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect();
        for key in keys {
            let changed = values.iter().map(Some).chain([None]).map(|value| {
                let mut file = whole.clone();
                let map = file.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
                match value {
                    Some(value) => drop(map.insert(key.clone(), value.clone())),
                    None => drop(map.remove(&key)),
                }
                file
            });
            for file in changed {
                let answer = server.send_json("POST", "/api/v1/graphs?overwrite=true", &file);
                let described = validator.is_valid(&file);
                assert_eq!(
                    answer.status,
                    if described { 201 } else { 422 },
                    "{pointer}/{key}: {file}\n{answer:?}"
                );
                n_refused += usize::from(!described);
            }
        }
    }
    assert!(n_refused > 100, "{n_refused}");
}
