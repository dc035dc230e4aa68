//! `serve` and `attribute --server` as a user meets them. What the server answers is tested in its own crate.

use crate::cli::binary;
use circuit_tests::{demo, fixture};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running command, ended when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(binary());
        Self(command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The first line of standard output that is an address, and what stood before it.
    fn address(&mut self) -> (String, String) {
        let mut before = String::new();
        for line in BufReader::new(self.0.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if line.starts_with("http://") {
                return (line, before);
            }
            before += &line;
            before.push('\n');
        }
        let mut stderr = String::new();
        let _ = self.0.stderr.take().unwrap().read_to_string(&mut stderr);
        panic!("no address: {stderr}");
    }

    /// Ends it with a signal; its exit code, and what it logged.
    fn signal(mut self, name: &str) -> (Option<i32>, String) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
        let mut stderr = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.0.wait().unwrap().code(), stderr)
    }
}

/// The body of a GET of an address that a command printed, with another path.
fn get(address: &str, path: &str) -> String {
    let host = address.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn a_folder_is_served_until_a_signal_comes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("llama-plt-relu").join("graph.json"), folder.path().join("llama.json")).unwrap();
    let path = folder.path().to_str().unwrap();
    for (name, flag, signal) in [
        ("serve", "--graph-file-dir", "TERM"),
        ("start-server", "--graph_file_dir", "INT"),
        ("start_server", "--graph_file_dir", "TERM"),
    ] {
        let mut server = Running::start(&[name, flag, path, "--port", "0"]);
        let (address, before) = server.address();
        assert!(address.starts_with("http://127.0.0.1:") && address.ends_with('/') && before.is_empty());
        assert!(get(&address, "/api/v1/graphs").contains("\"slug\":\"llama\""));
        assert!(get(&address, "/").contains("<html"));
        let (code, log) = server.signal(signal);
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopping") && !log.contains("GET"), "{log}");
    }
    let mut server = Running::start(&["serve", "--graph-file-dir", path, "--port", "0", "--verbose"]);
    let (address, _) = server.address();
    get(&address, "/api/v1/health");
    assert!(server.signal("TERM").1.contains("GET /api/v1/health 200"));
}

#[test]
fn what_cannot_be_served_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let missing = folder.path().join("missing");
    let missing = missing.to_str().unwrap();
    let attribute = [
        "attribute",
        "-m",
        "none",
        "-t",
        "none",
        "-p",
        "x",
        "--server",
        "--slug",
        "s",
        "--graph-file-dir",
        path,
    ];
    for (args, code, says) in [
        (
            vec!["serve", "--graph-file-dir", path, "--port", &port],
            1,
            format!("port {port} of 127.0.0.1 is taken"),
        ),
        (vec!["serve", "--graph-file-dir", missing], 3, format!("{missing}: no such folder of graphs")),
        (
            vec!["serve", "--graph-file-dir", path, "--port", "0", "--features-dir", missing],
            3,
            format!("{missing}: a folder of feature"),
        ),
        (
            vec!["serve", "--graph-file-dir", path, "--port", "0", "--frontend-dir", path],
            3,
            "index.html".into(),
        ),
        (
            vec!["serve", "--graph-file-dir", path, "--port", "0", "--host", "203.0.113.1"],
            2,
            "cannot listen on 203.0.113.1".into(),
        ),
        ([&attribute[..], &["--port", &port]].concat(), 1, "is taken".into()),
        ([&attribute[..], &["--port", "0", "--features-dir", missing]].concat(), 3, missing.into()),
        (attribute[..8].to_vec(), 2, "--server needs a graph to show".into()),
    ] {
        let output = Command::new(binary()).args(&args).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(
            stderr.lines().any(|line| line.starts_with("error: ") && line.contains(&says)),
            "{args:?}: {stderr}"
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_traced_graph_is_served_and_linked() {
    let folder = tempfile::tempdir().unwrap();
    let graphs = folder.path().join("graphs");
    let graphs: &Path = &graphs;
    let (model, set) = (demo().join("model"), demo().join("transcoders"));
    let mut server = Running::start(&[
        "attribute",
        "-m",
        model.to_str().unwrap(),
        "-t",
        set.to_str().unwrap(),
        "-p",
        "fact : the capital of Texas is",
        "--max-feature-nodes",
        "50",
        "--slug",
        "texas",
        "--graph-file-dir",
        graphs.to_str().unwrap(),
        "--server",
        "--port",
        "0",
        "--features_dir",
        set.to_str().unwrap(),
    ]);
    let (address, before) = server.address();
    assert!(address.ends_with("/?slug=texas") && before.contains("texas.json"), "{before}");
    assert_eq!(
        get(&address, "/graph_data/texas.json"),
        std::fs::read_to_string(graphs.join("texas.json")).unwrap()
    );
    assert_eq!(server.signal("INT").0, Some(0));
}
