//! Requests that must not get what they want, and must not hurt either.

use crate::support::{JSON, Running, features, graph};
use serde_json::json;
use std::fs;

const SECRET: &str = "the secret of this machine";

/// Graphs and features in folders below one that holds a secret.
fn server() -> (tempfile::TempDir, Running) {
    let dir = tempfile::tempdir().unwrap();
    let (graphs, records) = (dir.path().join("graphs"), dir.path().join("records"));
    fs::create_dir_all(graphs.join("sub")).unwrap();
    fs::create_dir_all(&records).unwrap();
    let mut secret = graph("secret", 1);
    secret["metadata"]["prompt"] = json!(SECRET);
    for path in [
        "secret",
        "secret.json",
        "graphs/sub/deep.json",
        "graphs/.hidden.json",
        "graphs/notes.txt",
        "records/.hidden",
    ] {
        fs::write(dir.path().join(path), secret.to_string()).unwrap();
    }
    fs::write(graphs.join("g.json"), graph("g", 1).to_string()).unwrap();
    fs::write(records.join("layer_0.bin"), "records").unwrap();
    #[cfg(unix)]
    for (target, link) in [
        ("../secret.json", "graphs/link.json"),
        ("../secret.json", "records/link.json"),
        ("..", "records/up"),
        ("/", "records/root"),
    ] {
        std::os::unix::fs::symlink(target, dir.path().join(link)).unwrap();
    }
    let server = Running::with(|config| {
        config.graphs = graphs;
        config.features = vec![features(&records)];
    });
    (dir, server)
}

#[test]
fn no_path_leads_out_of_the_folders() {
    let (dir, server) = server();
    let root = dir.path().to_str().unwrap().to_owned();
    let encoded = root.replace('/', "%2F");
    let tails = [
        "../secret",
        "../secret.json",
        "..%2fsecret.json",
        "%2e%2e/secret.json",
        "%2e%2e%2fsecret.json",
        "%2e%2e%5csecret.json",
        "..%252fsecret.json",
        "..%c0%afsecret.json",
        "..%ef%bc%8fsecret.json",
        "....//secret.json",
        "..;/secret.json",
        "./../secret.json",
        "sub/../../secret.json",
        "sub/deep.json",
        "sub%2fdeep.json",
        "g.json/../../secret.json",
        "..\\secret.json",
        "link.json",
        "up/secret.json",
        "up/secret",
        ".hidden.json",
        ".hidden",
        "notes.txt",
        "secret.json%00",
        "g.json%00.json",
        "%00",
        "g.json%0d%0aX:%20y",
        "../../../../../../../../etc/hostname",
        "root/etc/hostname",
        "//etc/hostname",
        "/etc/hostname",
        "%2fetc%2fhostname",
    ];
    let absolute =
        [format!("{root}/secret.json"), format!("/{root}/secret.json"), format!("{encoded}%2Fsecret.json")];
    for tail in tails.iter().map(|tail| (*tail).to_owned()).chain(absolute) {
        for prefix in ["/data/", "/graph_data/", "/features/", "/api/v1/graphs/", "/", "/assets/"] {
            let answer = server.get(&format!("{prefix}{tail}"));
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!body.contains(SECRET) && !body.contains("root:"), "{prefix}{tail}: {body}");
            let hostname = fs::read_to_string("/etc/hostname").unwrap_or_default();
            assert!(hostname.trim().is_empty() || body.trim() != hostname.trim(), "{prefix}{tail}");
            assert!([200, 400, 404].contains(&answer.status), "{prefix}{tail}: {answer:?}");
            if prefix != "/" {
                assert_ne!(answer.status, 200, "{prefix}{tail}");
            }
        }
        for prefix in ["/save_graph/", "/api/v1/graphs/"] {
            let view = if prefix == "/save_graph/" { "" } else { "/view" };
            let method = if prefix == "/save_graph/" { "POST" } else { "PUT" };
            let answer = server.ask(
                method,
                &format!("{prefix}{tail}{view}"),
                &[JSON, ("If-Match", "*")],
                b"{\"qParams\": {}}",
            );
            assert!([400, 404, 405].contains(&answer.status), "{prefix}{tail}: {answer:?}");
        }
        let scan = tail.replace('&', "%26");
        let answer = server.get(&format!("/api/v1/features/0/0?scan={scan}"));
        assert!([400, 404].contains(&answer.status), "{scan}: {answer:?}");
    }
    let list = String::from_utf8(server.get("/api/v1/graphs").body).unwrap();
    assert!(!list.contains(SECRET), "{list}");
    // A link that leads out is in the way, and is not followed.
    let mut link = graph("link", 1);
    link["metadata"]["slug"] = json!("link");
    server.send_json("POST", "/api/v1/graphs?overwrite=true", &link).refused(409, "exists");
    server.ask("DELETE", "/api/v1/graphs/link", &[], b"").refused(404, "not_found");
    assert!(fs::read_to_string(dir.path().join("secret.json")).unwrap().contains(SECRET));
}

#[test]
fn slugs_that_name_nothing() {
    let server = Running::start();
    let long = "x".repeat(129);
    for slug in [
        ".",
        "..",
        ".a",
        "a%20b",
        "a%2Fb",
        "%FF",
        "%00",
        "%C3%A9",
        "a+b",
        "a:b",
        "graph-metadata",
        "GRAPH-METADATA",
        "CON%2F",
        &long,
    ] {
        let get = server.get(&format!("/api/v1/graphs/{slug}"));
        assert!([404, 405].contains(&get.status), "{slug}: {get:?}");
        for answer in [
            server.send_json("POST", &format!("/api/v1/graphs/{slug}/rename"), &json!({"slug": "x"})),
            server.ask("DELETE", &format!("/api/v1/graphs/{slug}"), &[], b""),
            server.save(slug, "*", &json!({})),
            server.send_json("POST", &format!("/save_graph/{slug}"), &json!({"qParams": {}})),
        ] {
            assert!([400, 404, 405].contains(&answer.status), "{slug}: {answer:?}");
            answer.code();
        }
    }
}

#[test]
fn other_names_and_other_pages_are_refused() {
    let (_dir, server) = server();
    let before = fs::read(_dir.path().join("graphs/g.json")).unwrap();
    for host in [
        "evil.example",
        "localhost.evil.example",
        "evil.example:8041",
        "10.0.0.1",
        "[::2]",
        "user@evil.example",
    ] {
        for path in ["/", "/api/v1/graphs", "/api/v1/graphs/g", "/data/g.json", "/features/layer_0.bin"] {
            server.ask("GET", path, &[("Host", host)], b"").refused(403, "foreign_host");
        }
    }
    let own = format!("http://{}", server.address);
    let localhost = format!("http://localhost:{}", server.address.port());
    let save = |headers: &[(&str, &str)]| {
        server.ask(
            "PUT",
            "/api/v1/graphs/g/view",
            &[&[JSON, ("If-Match", "*")], headers].concat(),
            b"{\"x\": 1}",
        )
    };
    for origin in ["http://evil.example", "null", "", "http://127.0.0.1:1", "file://", &localhost] {
        for answer in [
            save(&[("Origin", origin)]),
            server.ask(
                "POST",
                "/api/v1/graphs",
                &[JSON, ("Origin", origin)],
                graph("new", 1).to_string().as_bytes(),
            ),
            server.ask("DELETE", "/api/v1/graphs/g", &[("Origin", origin)], b""),
            server.ask("POST", "/save_graph/g", &[JSON, ("Origin", origin)], b"{\"qParams\": {}}"),
        ] {
            answer.refused(403, "foreign_origin");
        }
    }
    save(&[("Sec-Fetch-Site", "cross-site")]).refused(403, "foreign_origin");
    assert_eq!(fs::read(_dir.path().join("graphs/g.json")).unwrap(), before);
    // What a form of another page can send without asking: no Origin from old browsers, but never JSON.
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
        "application/json, text/plain",
        "text/json",
    ] {
        server
            .ask("POST", "/save_graph/g", &[("Content-Type", kind)], b"{\"qParams\": {}}")
            .refused(415, "unsupported_media_type");
    }
    assert_eq!(save(&[("Origin", &own)]).status, 200);
    assert_eq!(
        save(&[("Origin", &localhost), ("Host", localhost.trim_start_matches("http://"))]).status,
        200
    );
    let named = Running::with(|config| config.allowed_hosts = vec!["graphs.example".into()]);
    assert_eq!(named.ask("GET", "/", &[("Host", "graphs.example")], b"").status, 200);
}

#[test]
fn bodies_that_are_too_large_too_deep_or_no_bodies() {
    let server = Running::start();
    server.write("g.json", graph("g", 1).to_string());
    let limit = 1 << 16;
    let large = format!("{{\"x\": \"{}\"}}", "x".repeat(limit));
    server.save("g", "*", &serde_json::from_str(&large).unwrap()).refused(413, "too_large");
    // Announced alone is enough; nothing is waited for.
    let announced = format!("{}", 1_u64 << 50);
    for path in ["/api/v1/graphs", "/api/v1/graphs/g/scores", "/api/v1/graphs/g/rename", "/save_graph/g"] {
        server.ask("POST", path, &[JSON, ("Content-Length", &announced)], b"").refused(413, "too_large");
    }
    // Not announced at all.
    let chunk = "x".repeat(1000);
    let chunks: String = (0..100).map(|_| format!("3e8\r\n{chunk}\r\n")).collect();
    let head = format!(
        "POST /save_graph/g HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        server.address
    );
    server.raw((head + &chunks + "0\r\n\r\n").as_bytes()).refused(413, "too_large");
    let deep = "[".repeat(20_000);
    for (path, method) in
        [("/api/v1/graphs/g/view", "PUT"), ("/save_graph/g", "POST"), ("/api/v1/graphs", "POST")]
    {
        let body = format!("{{\"metadata\": {deep}");
        server.ask(method, path, &[JSON, ("If-Match", "*")], body.as_bytes()).refused(400, "bad_json");
        for body in [&b"\xff\xfe{}"[..], b"{\"a\": 1e999}", b"{\"a\": \"\\ud800\"}", b"{} {}", b"null {"] {
            let answer = server.ask(method, path, &[JSON, ("If-Match", "*")], body);
            // What is skipped over is not looked at closely; it is no graph either way.
            let (status, code) = (answer.status, answer.code());
            assert!([(400, "bad_json"), (422, "invalid")].contains(&(status, &code)), "{answer:?}");
            assert!(status == 400 || path == "/api/v1/graphs");
        }
    }
    assert_eq!(server.read("g.json"), graph("g", 1).to_string().as_bytes());
    assert_eq!(server.get("/api/v1/health").status, 200);
}

#[test]
fn what_is_no_http_ends_the_connection_and_nothing_else() {
    let server = Running::start();
    let host = server.address;
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = "x".repeat(100_000);
    for request in [
        "\r\n\r\n\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\n{many}\r\n"),
        format!("GET /{long} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: {long}\r\n\r\n"),
        format!(
            "POST /save_graph/g HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{{}}"
        ),
        format!("POST /save_graph/g HTTP/1.1\r\nHost: {host}\r\nContent-Length: -1\r\n\r\n{{}}"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nX\u{0}: y\r\n\r\n"),
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
        format!("GET http://evil.example/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    ] {
        use std::io::Write;
        let mut stream = server.connect();
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let answer = crate::support::Answer::read(stream);
        assert!(answer.status == 0 || (400..500).contains(&answer.status), "{request:.60}: {answer:?}");
    }
    assert_eq!(server.get("/api/v1/health").status, 200);
}
