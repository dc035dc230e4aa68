//! `/api/v1/graphs`: the list, files, views, uploads, names, scores; and the page beside them.

use crate::support::{JSON, Running, graph};
use serde_json::{Value, json};
use std::fs;
use std::io::Read;

fn slugs(server: &Running) -> Vec<String> {
    let list = server.get("/api/v1/graphs").json();
    list["graphs"].as_array().unwrap().iter().map(|g| g["slug"].as_str().unwrap().to_owned()).collect()
}

/// What the list on disk says.
fn listed(server: &Running) -> Vec<String> {
    let list: Value = serde_json::from_slice(&server.read("graph-metadata.json")).unwrap();
    list["graphs"].as_array().unwrap().iter().map(|g| g["slug"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_list_is_what_the_folder_holds_in_the_order_of_the_list_file() {
    let server = Running::start();
    assert_eq!(server.get("/api/v1/graphs").json(), json!({"graphs": []}));
    for slug in ["b", "a", "c", "d"] {
        server.write(&format!("{slug}.json"), graph(slug, 1).to_string());
    }
    // Not graphs, not names, and no list yet: by name.
    server.write("notes.json", "{\"metadata\": {}}");
    server.write("half.json", &graph("half", 1).to_string()[..200]);
    server.write(".hidden.json", graph("hidden", 1).to_string());
    server.write("a b.json", graph("x", 1).to_string());
    fs::create_dir(server.path("folder.json")).unwrap();
    assert_eq!(slugs(&server), ["a", "b", "c", "d"]);
    // A list that knows some, and one that is gone.
    let entry = |slug: &str| json!({"slug": slug, "scan": "old"});
    let list = json!({"graphs": [entry("c"), entry("gone"), entry("a"), 7], "more": 1});
    server.write("graph-metadata.json", list.to_string());
    assert_eq!(slugs(&server), ["c", "a", "b", "d"]);
    // A damaged list is no reason to show nothing.
    server.write("graph-metadata.json", "{");
    assert_eq!(slugs(&server), ["a", "b", "c", "d"]);

    let first = server.get("/api/v1/graphs").json()["graphs"][0].clone();
    let size = server.read("a.json").len();
    assert_eq!(
        first,
        json!({"slug": "a", "scan": "acme/toy", "prompt": "a", "prompt_tokens": ["a"], "node_threshold": 0.8,
            "schema_version": 1, "title_prefix": "T", "size_bytes": size})
    );
}

#[test]
fn new_changed_and_removed_files_are_seen_without_a_restart() {
    let server = Running::start();
    server.write("one.json", graph("one", 1).to_string());
    assert_eq!(slugs(&server), ["one"]);
    let old = server.get("/api/v1/graphs/one").header("etag").to_owned();
    server.write("two.json", graph("two", 1).to_string());
    assert_eq!(slugs(&server), ["one", "two"]);
    // Changed within one tick of the clock, to the same size.
    for digit in 2..9 {
        let text =
            graph("one", 1).to_string().replace("\"prompt\":\"a\"", &format!("\"prompt\":\"{digit}\""));
        server.write("one.json", &text);
        let answer = server.ask("GET", "/api/v1/graphs/one", &[("If-None-Match", &old)], b"");
        assert_eq!((answer.status, answer.body), (200, text.into_bytes()));
        assert_eq!(server.get("/api/v1/graphs").json()["graphs"][0]["prompt"], digit.to_string());
    }
    fs::remove_file(server.path("one.json")).unwrap();
    assert_eq!(slugs(&server), ["two"]);
    server.get("/api/v1/graphs/one").refused(404, "not_found");
}

#[test]
fn a_graph_comes_as_it_lies_there() {
    let server = Running::start();
    // Python writes NaN; handing bytes on needs no opinion about that.
    let text = graph("g", 200).to_string().replacen("0.5", "NaN", 1);
    server.write("g.json", &text);
    let plain = server.get("/api/v1/graphs/g");
    assert_eq!((plain.status, &plain.body[..]), (200, text.as_bytes()));
    let etag = plain.header("etag");
    assert!(etag.starts_with('"') && etag.len() > 30);
    assert_eq!(
        (plain.header("content-type"), plain.header("cache-control")),
        ("application/json", "no-cache")
    );
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), ("", "accept-encoding"));
    assert!(plain.header("content-security-policy").starts_with("default-src 'self';"));
    assert_eq!(plain.header("x-content-type-options"), "nosniff");

    for _ in 0..2 {
        let gzip = server.ask("GET", "/api/v1/graphs/g", &[("Accept-Encoding", "gzip")], b"");
        assert_eq!((gzip.header("content-encoding"), gzip.header("etag")), ("gzip", etag));
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&*gzip.body).read_to_string(&mut unpacked).unwrap();
        assert!(unpacked == text && gzip.body.len() < text.len() / 4);
        let br = server.ask("GET", "/api/v1/graphs/g", &[("Accept-Encoding", "br")], b"");
        assert_eq!(br.header("content-encoding"), "br");
        let mut unpacked = String::new();
        brotli::Decompressor::new(&*br.body, 4096).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
    }
    for refusal in ["identity", "gzip;q=0", "deflate"] {
        let answer = server.ask("GET", "/api/v1/graphs/g", &[("Accept-Encoding", refusal)], b"");
        assert_eq!((answer.header("content-encoding"), answer.body.len()), ("", text.len()));
    }
    for known in [etag, "*", &format!("\"x\", W/{etag}")] {
        let answer = server.ask("GET", "/api/v1/graphs/g", &[("If-None-Match", known)], b"");
        assert_eq!((answer.status, answer.header("etag"), answer.body.len()), (304, etag, 0));
    }
    let head = server.ask("HEAD", "/api/v1/graphs/g", &[], b"");
    assert_eq!(
        (head.status, head.header("content-length"), head.body.len()),
        (200, &*text.len().to_string(), 0)
    );
}

#[test]
fn a_view_is_saved_against_its_version_and_nothing_else_changes() {
    let server = Running::start();
    let before = format!("{:#}", graph("g", 2));
    server.write("g.json", &before);
    let etag = server.get("/api/v1/graphs/g").header("etag").to_owned();
    let view = json!({"pinnedIds": ["0_0_0"], "positions": {"0_0_0": [1, 2.5]}, "unknown": {"b": 1, "a": 2}});
    let saved = server.save("g", &etag, &view);
    assert_eq!(saved.status, 200, "{saved:?}");
    let new = saved.json()["etag"].as_str().unwrap().to_owned();
    assert_eq!(saved.header("etag"), new);
    assert_ne!(new, etag);
    assert_eq!(server.get("/api/v1/graphs/g").header("etag"), new);
    // Byte for byte the same around the view, and keys in the order in which they were sent.
    let after = String::from_utf8(server.read("g.json")).unwrap();
    let rest = |text: &str| {
        let (head, tail) = text.split_once("\"qParams\": ").unwrap();
        (head.to_owned(), tail.split_once("\"nodes\": ").unwrap().1.to_owned())
    };
    assert_eq!(rest(&after), rest(&before));
    let after: Value = serde_json::from_str(&after).unwrap();
    assert_eq!(after["qParams"].to_string(), view.to_string());

    let stale = server.save("g", &etag, &json!({}));
    stale.refused(409, "conflict");
    assert_eq!(stale.json()["error"]["etag"], new);
    assert_eq!(server.save("g", new.trim_matches('"'), &json!({})).status, 200);
    let latest = server.get("/api/v1/graphs/g").header("etag").to_owned();
    assert_eq!(server.save("g", &latest, &json!({})).header("etag"), latest);

    let path = "/api/v1/graphs/g/view";
    server.send_json("PUT", path, &json!({})).refused(428, "precondition_required");
    server.ask("PUT", path, &[("If-Match", "*")], b"{}").refused(415, "unsupported_media_type");
    server
        .ask("PUT", path, &[("If-Match", "*"), ("Content-Type", "text/plain")], b"{}")
        .refused(415, "unsupported_media_type");
    server.ask("PUT", path, &[("If-Match", "*"), JSON], b"{").refused(400, "bad_json");
    server.ask("PUT", path, &[("If-Match", "*"), JSON], b"").refused(400, "bad_json");
    server.ask("PUT", path, &[("If-Match", "*"), JSON], b"[]").refused(422, "invalid");
    server.save("none", "*", &json!({})).refused(404, "not_found");
    assert_eq!(server.get("/api/v1/graphs/g").header("etag"), latest);
}

#[test]
fn graphs_are_added_renamed_and_removed() {
    let server = Running::start();
    server.write("graph-metadata.json", json!({"graphs": [{"slug": "gone"}], "more": 1}).to_string());
    let text = format!(" {:#}\n", graph("new", 1));
    let added = server.ask("POST", "/api/v1/graphs", &[JSON], text.as_bytes());
    assert_eq!((added.status, added.header("location")), (201, "/api/v1/graphs/new"));
    assert_eq!(
        (&added.json()["slug"], added.json()["etag"].as_str().unwrap()),
        (&json!("new"), added.header("etag"))
    );
    assert_eq!(server.read("new.json"), text.as_bytes());
    assert_eq!(server.get("/api/v1/graphs/new").header("etag"), added.header("etag"));
    assert_eq!(listed(&server), ["new"]);
    let list: Value = serde_json::from_slice(&server.read("graph-metadata.json")).unwrap();
    assert_eq!((&list["more"], &list["graphs"][0]["info"]["unknown"]), (&json!(1), &json!(1)));

    server.send_json("POST", "/api/v1/graphs", &graph("new", 2)).refused(409, "exists");
    assert_eq!(server.read("new.json"), text.as_bytes());
    assert_eq!(server.send_json("POST", "/api/v1/graphs?overwrite=true", &graph("new", 2)).status, 201);
    assert_eq!(server.read("new.json"), graph("new", 2).to_string().as_bytes());
    server
        .send_json("POST", "/api/v1/graphs?overwrite=perhaps", &graph("new", 2))
        .refused(400, "bad_request");

    let mut wrong = graph("wrong", 1);
    wrong["nodes"][1]["layer"] = json!(null);
    wrong["links"][0].as_object_mut().unwrap().remove("weight");
    let refused = server.send_json("POST", "/api/v1/graphs", &wrong);
    refused.refused(422, "invalid");
    let problems = refused.json()["error"]["problems"].clone();
    assert_eq!(
        (&problems[0]["path"], &problems[1]["path"]),
        (&json!("/nodes/1/layer"), &json!("/links/0/weight"))
    );
    wrong = graph("../up", 1);
    server.send_json("POST", "/api/v1/graphs", &wrong).refused(422, "invalid");
    server.ask("POST", "/api/v1/graphs", &[JSON], b"{\"nodes\": [NaN]}").refused(400, "bad_json");
    server.ask("POST", "/api/v1/graphs", &[], b"{}").refused(415, "unsupported_media_type");

    server.write("other.json", graph("other", 1).to_string());
    let rename = |from: &str, to: &str| {
        server.send_json("POST", &format!("/api/v1/graphs/{from}/rename"), &json!({"slug": to}))
    };
    rename("new", "other").refused(409, "exists");
    rename("none", "x").refused(404, "not_found");
    for bad in ["", "..", "a/b", ".a", "graph-metadata", &"x".repeat(129)] {
        rename("new", bad).refused(422, "invalid");
    }
    server.send_json("POST", "/api/v1/graphs/new/rename", &json!({"name": "x"})).refused(422, "invalid");
    let renamed = rename("new", "newer");
    assert_eq!((renamed.status, &renamed.json()["slug"]), (200, &json!("newer")));
    assert!(!server.path("new.json").exists());
    let file: Value = serde_json::from_slice(&server.read("newer.json")).unwrap();
    let mut expected = graph("newer", 2);
    expected["metadata"]["slug"] = json!("newer");
    assert_eq!(file.to_string(), expected.to_string());
    assert_eq!(
        (slugs(&server), listed(&server)),
        (vec!["newer".into(), "other".into()], vec!["newer".into(), "other".into()])
    );
    assert_eq!(rename("newer", "newer").status, 200);

    let remove = |slug: &str, headers: &[(&str, &str)]| {
        server.ask("DELETE", &format!("/api/v1/graphs/{slug}"), headers, b"")
    };
    remove("newer", &[("If-Match", "\"stale\"")]).refused(409, "conflict");
    let etag = server.get("/api/v1/graphs/newer").header("etag").to_owned();
    let removed = remove("newer", &[("If-Match", &etag)]);
    assert_eq!((removed.status, removed.body.len()), (204, 0));
    remove("newer", &[]).refused(404, "not_found");
    assert_eq!(remove("other", &[]).status, 204);
    assert!(slugs(&server).is_empty() && listed(&server).is_empty());
    let left: Vec<_> = fs::read_dir(server.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_str().unwrap().contains("graph-metadata")), "{left:?}");
}

#[test]
fn scores_are_those_of_the_files_links() {
    let server = Running::start();
    server.write("g.json", graph("g", 2).to_string());
    let scores = |slug: &str, pinned: Value| {
        server.send_json("POST", &format!("/api/v1/graphs/{slug}/scores"), &json!({"pinned": pinned}))
    };
    // The logit (weight 1/2) reads 3 + 3 from features and 1 from the error: I(features) = 3/7, I(error) = 1/14, I(token) = 3/7.
    // Without one of the features its 3 is the error's.
    let close = |found: &Value, expected: f64| {
        assert!((found.as_f64().unwrap() - expected).abs() < 1e-12, "{found} {expected}")
    };
    for _ in 0..2 {
        let answer = scores("g", json!(["0_0_0", "2_7_0", "unknown"])).json();
        close(&answer["graph"]["replacement"], 6.0 / 7.0);
        close(&answer["graph"]["completeness"], 1.0 - 1.0 / 20.0);
        close(&answer["subgraph"]["replacement"], 3.0 / 7.0);
        close(&answer["subgraph"]["completeness"], 1.0 - 4.0 / 17.0);
    }
    assert_eq!(scores("g", json!([])).json()["subgraph"], Value::Null);
    assert_eq!(scores("g", json!(["unknown"])).json()["subgraph"], Value::Null);
    // A file that changes is scored anew.
    server.write("g.json", graph("g", 3).to_string());
    close(&scores("g", json!([])).json()["graph"]["replacement"], 9.0 / 10.0);

    let mut attention = graph("lorsa", 1);
    attention["nodes"][2]["feature_type"] = json!("lorsa");
    server.write("lorsa.json", attention.to_string());
    let none = json!({"graph": {"replacement": null, "completeness": null}, "subgraph": null});
    assert_eq!(scores("lorsa", json!(["0_0_0"])).json(), none);
    let mut circle = graph("circle", 1);
    circle["links"][0] = json!({"source": "2_7_0", "target": "0_0_0", "weight": 1});
    server.write("circle.json", circle.to_string());
    scores("circle", json!([])).refused(422, "not_scorable");
    scores("none", json!([])).refused(404, "not_found");
    scores("g", json!("0_0_0")).refused(422, "invalid");
    scores("g", json!([1])).refused(422, "invalid");
    server.ask("POST", "/api/v1/graphs/g/scores", &[JSON], b"{").refused(400, "bad_json");
}

#[test]
fn the_reference_scores_its_own_file_alike() {
    let server = Running::start();
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    for case in ["llama-plt-relu", "gpt2-plt-relu"] {
        let file = fs::read(fixtures.join(case).join("graph.json")).unwrap();
        server.write("g.json", &file);
        let file: Value = serde_json::from_slice(&file).unwrap();
        let features: Vec<_> = file["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|node| node["feature_type"] == "cross layer transcoder")
            .map(|node| node["node_id"].clone())
            .collect();
        assert!(!features.is_empty());
        let answer = server.send_json("POST", "/api/v1/graphs/g/scores", &json!({"pinned": features})).json();
        // All features are pinned: the subgraph is the graph.
        assert_eq!(answer["graph"], answer["subgraph"]);
        let replacement = answer["graph"]["replacement"].as_f64().unwrap();
        assert!(replacement > 0.0 && replacement < 1.0);
    }
}

#[test]
fn the_page_is_at_every_address_that_is_nobody_elses() {
    let server = Running::start();
    for path in ["/", "/index.html", "/some/where?slug=x"] {
        let page = server.get(path);
        assert_eq!((page.status, page.header("cache-control")), (200, "no-cache"), "{path}");
        assert!(page.header("content-type").starts_with("text/html"));
        let known = server.ask("GET", path, &[("If-None-Match", page.header("etag"))], b"");
        assert_eq!(known.status, 304);
    }
    for path in [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/none",
        "/data",
        "/data/",
        "/graph_data/",
        "/features/",
        "/save_graph/",
        "/assets/none.js",
    ] {
        server.get(path).refused(404, "not_found");
    }
    server.ask("POST", "/", &[JSON], b"{}").refused(405, "method_not_allowed");
    assert_eq!(server.ask("OPTIONS", "/", &[], b"").header("allow"), "GET,HEAD");
    assert_eq!(server.ask("HEAD", "/", &[], b"").body, b"");

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), "<p>mine").unwrap();
    fs::write(folder.path().join("a b.js"), "js").unwrap();
    let path = folder.path().to_path_buf();
    let server = Running::with(|config| config.frontend = circuit_server::Frontend::Folder(path));
    assert_eq!(server.get("/").body, b"<p>mine");
    assert_eq!(server.get("/else").body, b"<p>mine");
    let script = server.get("/a%20b.js");
    assert_eq!(
        (&script.body[..], script.header("content-type")),
        (&b"js"[..], "text/javascript; charset=utf-8")
    );
    server.get("/assets/none.js").refused(404, "not_found");
    // While it is developed, the page changes.
    fs::write(folder.path().join("index.html"), "<p>changed").unwrap();
    assert_eq!(server.get("/").body, b"<p>changed");
}

#[test]
fn methods_that_a_route_lacks() {
    let server = Running::start();
    for (path, allow) in [
        ("/api/v1/health", "GET,HEAD"),
        ("/api/v1/graphs", "GET,HEAD,POST"),
        ("/api/v1/graphs/x", "GET,HEAD,DELETE"),
        ("/api/v1/graphs/x/view", "PUT"),
        ("/api/v1/graphs/x/rename", "POST"),
        ("/api/v1/graphs/x/scores", "POST"),
        ("/api/v1/features/0/0", "GET,HEAD"),
        ("/data/x.json", "GET,HEAD"),
        ("/features/x", "GET,HEAD"),
        ("/save_graph/x", "POST"),
    ] {
        for method in ["PATCH", "TRACE", "BREW"] {
            let answer = server.ask(method, path, &[JSON], b"{}");
            answer.refused(405, "method_not_allowed");
            assert_eq!(answer.header("allow"), allow, "{path}");
        }
        let options = server.ask("OPTIONS", path, &[("Origin", "http://evil.example")], b"");
        assert_eq!(
            (options.status, options.header("allow"), options.header("access-control-allow-origin")),
            (204, allow, "")
        );
    }
}
