//! A server on a free port with a folder of its own, and a client that can say anything.

use circuit_server::{FeatureFolder, Frontend, Limits, Server, ServerConfig};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Far longer than anything takes on the busiest machine: a test that is about a limit shortens that limit alone.
const LONG: Duration = Duration::from_secs(600);

pub(crate) fn limits() -> Limits {
    Limits {
        upload_bytes: 1 << 20,
        body_bytes: 1 << 16,
        header_time: LONG,
        body_pause: LONG,
        body_time: LONG,
        write_pause: LONG,
        stop_time: LONG,
        connections: 512,
        packed_bytes: 1 << 20,
    }
}

/// A running server; ends when it is dropped, its folder with it.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start() -> Self {
        Self::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = ServerConfig {
            host: "127.0.0.1".into(),
            port: 0,
            graphs: folder.path().to_path_buf(),
            features: Vec::new(),
            remote_features: Vec::new(),
            frontend: Frontend::Embedded,
            allowed_hosts: Vec::new(),
            limits: limits(),
        };
        change(&mut config);
        let (address_out, address_in) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::bind(config).await.unwrap();
                address_out.send(server.address()).unwrap();
                server.run(async { drop(stopped.await) }).await;
            });
        });
        let address = address_in.recv().unwrap();
        Self { address, folder, stop: Some(stop), thread: Some(thread) }
    }

    /// Asks the server to stop and waits until it has.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub(crate) fn send_json(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask(method, path, &[JSON], body.to_string().as_bytes())
    }

    /// Saves a view the way the page does.
    pub(crate) fn save(&self, slug: &str, etag: &str, view: &Value) -> Answer {
        let path = format!("/api/v1/graphs/{slug}/view");
        self.ask("PUT", &path, &[JSON, ("If-Match", etag)], view.to_string().as_bytes())
    }

    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        let own = [("Host", self.address.to_string()), ("Content-Length", body.len().to_string())];
        let given = |name: &str| headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        for (name, value) in own.iter().filter(|(name, _)| !given(name)) {
            head += &format!("{name}: {value}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        self.raw(&[head.as_bytes(), b"\r\n", body].concat())
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG / 2)).unwrap();
        stream
    }

    pub(crate) fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // A server that has seen enough may answer and close before all is sent.
        let _ = stream.write_all(request);
        Answer::read(stream)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An answer, read until the server closes the connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, body) = match end {
            Some(end) => (&bytes[..end], bytes[end + 4..].to_vec()),
            None => (&bytes[..], Vec::new()),
        };
        let head = String::from_utf8_lossy(head).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head, body }
    }

    /// A header, "" if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(other, _)| other.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}\n{}", self.head, String::from_utf8_lossy(&self.body)))
    }

    /// The code of an error.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        let json = self.json();
        assert!(json["error"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{json}");
        json["error"]["code"].as_str().unwrap().to_owned()
    }

    /// Asserts status and code of an error.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.head);
    }
}

/// A valid graph of this name; with more than one feature it gets as large as wished.
pub(crate) fn graph(slug: &str, n_features: usize) -> Value {
    let node = |id: &str, layer: &str, kind: &str, prob: f64| {
        json!({"node_id": id, "feature": 1, "layer": layer, "ctx_idx": 0, "feature_type": kind, "token_prob": prob,
            "is_target_logit": false, "run_idx": 0, "reverse_ctx_idx": 0, "jsNodeId": id, "clerp": "", "influence": 0.5,
            "activation": null, "extra": {"kept": true}})
    };
    let link = |source: &str, target: &str, weight: f64| json!({"source": source, "target": target, "weight": weight});
    let mut nodes =
        vec![node("E_9_0", "E", "embedding", 0.0), node("0_-1_0", "0", "mlp reconstruction error", 0.0)];
    let mut links = vec![link("0_-1_0", "2_7_0", 1.0)];
    for n in 0..n_features {
        let id = format!("0_{n}_0");
        nodes.push(node(&id, "0", "cross layer transcoder", 0.0));
        links.push(link("E_9_0", &id, 2.0));
        links.push(link(&id, "2_7_0", 3.0));
    }
    nodes.push(node("2_7_0", "2", "logit", 0.5));
    json!({
        "metadata": {"slug": slug, "scan": "acme/toy", "transcoder_list": [], "prompt_tokens": ["a"], "prompt": "a",
            "node_threshold": 0.8, "schema_version": 1, "title_prefix": "T", "info": {"unknown": 1}},
        "qParams": {"pinnedIds": [], "linkType": "both"},
        "nodes": nodes, "links": links, "unknown": [1, 2, 3]
    })
}

/// A folder of feature records in a folder.
pub(crate) fn features(path: &Path) -> FeatureFolder {
    FeatureFolder { scan: None, path: path.to_path_buf() }
}
