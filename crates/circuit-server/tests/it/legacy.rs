//! The habits of Python's page and notebooks.

use crate::support::{JSON, Running, graph};
use serde_json::{Value, json};
use std::io::Read;

#[test]
fn graphs_and_their_list_under_both_names() {
    let server = Running::start();
    let text = format!("{:#}", graph("g", 100));
    server.write("g.json", &text);
    for folder in ["data", "graph_data"] {
        // The old page adds a query against caches.
        for path in [format!("/{folder}/g.json"), format!("/{folder}/g.json?_=17")] {
            let answer = server.get(&path);
            assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
            assert_eq!((&answer.body[..], answer.header("content-encoding")), (text.as_bytes(), ""));
            let known = server.ask("GET", &path, &[("If-None-Match", answer.header("etag"))], b"");
            assert_eq!(known.status, 304);
            assert_eq!(server.ask("HEAD", &path, &[], b"").status, 200);
        }
        let gzip =
            server.ask("GET", &format!("/{folder}/g.json"), &[("Accept-Encoding", "gzip, deflate")], b"");
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&*gzip.body).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
        let list = server.get(&format!("/{folder}/graph-metadata.json")).json();
        // Whole metadata, keys that we do not know included.
        assert_eq!(list["graphs"], json!([graph("g", 1)["metadata"]]));
        server.get(&format!("/{folder}/none.json")).refused(404, "not_found");
        server.get(&format!("/{folder}/g")).refused(404, "not_found");
    }
    server.write("h.json", graph("another", 1).to_string());
    // The file's name is what the page asks for.
    let list = server.get("/data/graph-metadata.json").json();
    assert_eq!(list["graphs"][1]["slug"], "h");
    // HTTP/1.0, as Python's own clients of old spoke.
    let old = server.raw(format!("GET /data/g.json HTTP/1.0\r\nHost: {}\r\n\r\n", server.address).as_bytes());
    assert_eq!((old.status, old.body.len()), (200, text.len()));
}

#[test]
fn a_save_replaces_the_view_and_is_typed() {
    let server = Running::start();
    server.write("g.json", graph("g", 1).to_string());
    let body = json!({"timestamp": "2026-01-01T00:00:00", "qParams": {
        "pinnedIds": "E_9_0,0_0_0", "supernodes": "[[\"sky\",\"0_0_0\"]]", "linkType": null, "clickedId": "0_0_0", "sg_pos": null,
        "pruningThreshold": "0.63", "clerps": "[[\"43\",\"x\"]]", "gridsnap": "y"}});
    let saved = server.send_json("POST", "/save_graph/g", &body);
    assert_eq!((saved.status, saved.body.len()), (200, 0));
    let file: Value = serde_json::from_slice(&server.read("g.json")).unwrap();
    let mut expected = graph("g", 1);
    expected["qParams"] = json!({"pinnedIds": ["E_9_0", "0_0_0"], "supernodes": [["sky", "0_0_0"]], "linkType": "both",
        "clickedId": "0_0_0", "sg_pos": "", "pruningThreshold": 0.63, "clerps": [["43", "x"]], "gridsnap": "y"});
    assert_eq!(file.to_string(), expected.to_string());

    server.send_json("POST", "/save_graph/none", &body).refused(404, "not_found");
    server.send_json("POST", "/save_graph/graph-metadata", &body).refused(404, "not_found");
    server.send_json("POST", "/save_graph/g", &json!({"q": 1})).refused(400, "bad_request");
    server.send_json("POST", "/save_graph/g", &json!({"qParams": "x"})).refused(400, "bad_request");
    server.ask("POST", "/save_graph/g", &[JSON], b"nonsense").refused(400, "bad_json");
    server
        .ask("POST", "/save_graph/g", &[("Content-Type", "text/plain")], b"{}")
        .refused(415, "unsupported_media_type");
    server.ask("GET", "/save_graph/g", &[], b"").refused(405, "method_not_allowed");
    server.ask("POST", "/save_everything", &[JSON], b"{}").refused(405, "method_not_allowed");
}
