//! A server that speaks the hub's protocol on this machine, with everything that can go wrong on the way.
//!
//! Repositories are lists of files. Large ones (those of weights) are redirected to `localhost`, which is another host than the
//! endpoint `127.0.0.1`, as the hub does. Each fault happens once for a request whose path contains its text.

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// A status, with headers, in place of the answer.
    Status(u16, Vec<(&'static str, String)>),
    /// The first byte is another.
    Wrong,
    /// A byte too many.
    Long,
    /// All of the file, whatever range was asked for.
    NoRange,
    /// The answer comes only after so long.
    #[allow(dead_code, reason = "one of the two packages that use this file has no need of it")]
    Late(Duration),
    /// The answer comes only when something is sent here.
    #[allow(dead_code, reason = "one of the two packages that use this file has no need of it")]
    Held(Arc<Mutex<Receiver<()>>>),
}

#[derive(Default)]
struct State {
    /// Files by repository, then name.
    repos: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Further entries of a repository's list.
    listed: Vec<(String, Value)>,
    faults: Vec<(String, Fault)>,
    /// Requests: method-less path, range, whether a token came.
    log: Vec<Request>,
    /// Bytes sent of large files.
    sent: u64,
    /// Repositories whose files need this token.
    gated: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) range: Option<String>,
    pub(crate) token: Option<String>,
}

/// A running hub; it ends with the test's process.
#[derive(Clone)]
pub(crate) struct TestHub {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
}

impl TestHub {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let hub = Self { port, state: Arc::clone(&state) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                std::thread::spawn(move || serve(stream, port, &state));
            }
        });
        hub
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn file(&self, repo: &str, name: &str, bytes: impl Into<Vec<u8>>) {
        let mut state = self.state.lock().unwrap();
        state.repos.entry(repo.into()).or_default().insert(name.into(), bytes.into());
    }

    /// All files below a folder.
    #[allow(dead_code, reason = "one of the two packages that use this file has no folders")]
    pub(crate) fn folder(&self, repo: &str, prefix: &str, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            match entry.path().is_dir() {
                true => self.folder(repo, &format!("{name}/"), &entry.path()),
                false => self.file(repo, &name, std::fs::read(entry.path()).unwrap()),
            }
        }
    }

    #[allow(dead_code, reason = "as above")]
    pub(crate) fn list(&self, repo: &str, entry: Value) {
        self.state.lock().unwrap().listed.push((repo.into(), entry));
    }

    #[allow(dead_code, reason = "as above")]
    pub(crate) fn fault(&self, path: &str, fault: Fault) {
        self.state.lock().unwrap().faults.push((path.into(), fault));
    }

    pub(crate) fn gate(&self, repo: &str, token: &str) {
        self.state.lock().unwrap().gated.insert(repo.into(), token.into());
    }

    /// Bytes of large files sent since the last call.
    #[allow(dead_code, reason = "as above")]
    pub(crate) fn sent(&self) -> u64 {
        std::mem::take(&mut self.state.lock().unwrap().sent)
    }

    /// What was asked for since the last call.
    pub(crate) fn log(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

fn is_large(name: &str) -> bool {
    [".safetensors", ".npz", ".bin"].iter().any(|end| name.ends_with(end))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn git_hash(bytes: &[u8]) -> String {
    hex(&Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn serve(stream: TcpStream, port: u16, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap_or_default().replace("%20", " ");
        let mut request = Request { path: path.clone(), host: String::new(), range: None, token: None };
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "host" => request.host = value.into(),
                "range" => request.range = Some(value.into()),
                "authorization" => request.token = Some(value.trim_start_matches("Bearer ").into()),
                _ => {}
            }
        }
        let mut state = state.lock().unwrap();
        state.log.push(request.clone());
        let fault =
            state.faults.iter().position(|(text, _)| path.contains(text)).map(|at| state.faults.remove(at).1);
        let answer = match &fault {
            Some(Fault::Status(status, headers)) => Answer::status(*status, headers),
            _ => answer(&state, &request, port, fault.as_ref()),
        };
        if path.starts_with("/cdn/") {
            state.sent += answer.body.len() as u64;
        }
        drop(state);
        if let Some(Fault::Late(pause)) = &fault {
            std::thread::sleep(*pause);
        }
        if let Some(Fault::Held(gate)) = &fault {
            let _ = gate.lock().unwrap().recv();
        }
        if !answer.send(&stream, &fault) {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn status(status: u16, headers: &[(&'static str, String)]) -> Self {
        Self { status, headers: headers.to_vec(), body: Vec::new() }
    }

    fn error(status: u16, code: &str) -> Self {
        Self::status(status, &[("X-Error-Code", code.into())])
    }

    /// Whether the connection may go on.
    fn send(mut self, mut stream: &TcpStream, fault: &Option<Fault>) -> bool {
        let mut length = self.body.len();
        match fault {
            Some(Fault::Wrong) if !self.body.is_empty() => self.body[0] ^= 0xff,
            Some(Fault::Long) => {
                self.body.push(0);
                length += 1;
            }
            Some(Fault::Cut(n)) => self.body.truncate(*n),
            _ => {}
        }
        let mut head = format!("HTTP/1.1 {} X\r\nContent-Length: {length}\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let sent =
            stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(&self.body));
        sent.is_ok() && !matches!(fault, Some(Fault::Cut(_)))
    }
}

fn answer(state: &State, request: &Request, port: u16, fault: Option<&Fault>) -> Answer {
    let path = request.path.split('?').next().unwrap();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let repo_of =
        |at: usize| format!("{}/{}", parts.get(at).unwrap_or(&""), parts.get(at + 1).unwrap_or(&""));
    match parts.first() {
        Some(&"api") => {
            let repo = repo_of(2);
            let Some(files) = state.repos.get(&repo) else { return Answer::error(401, "RepoNotFound") };
            if !["main", "v1", COMMIT, "refs%2Fpr%2F1"].contains(parts.last().unwrap()) {
                return Answer::error(404, "RevisionNotFound");
            }
            let entry = |(name, bytes): (&String, &Vec<u8>)| match is_large(name) {
                true => json!({"rfilename": name, "size": bytes.len(), "blobId": git_hash(b"pointer"),
                    "lfs": {"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 130}}),
                false => json!({"rfilename": name, "size": bytes.len(), "blobId": git_hash(bytes)}),
            };
            let more = state.listed.iter().filter(|(of, _)| *of == repo).map(|(_, entry)| entry.clone());
            let siblings: Vec<Value> = files.iter().map(entry).chain(more).collect();
            let body = json!({"id": repo, "sha": COMMIT, "gated": false, "siblings": siblings}).to_string();
            Answer {
                status: 200,
                headers: vec![("Content-Type", "application/json".into())],
                body: body.into(),
            }
        }
        Some(&"cdn") => {
            let name = parts[3..].join("/");
            match state.repos.get(&repo_of(1)).and_then(|files| files.get(&name)) {
                Some(bytes) => part(bytes, request, fault),
                None => Answer::error(404, "EntryNotFound"),
            }
        }
        _ => {
            let repo = repo_of(0);
            let Some(files) = state.repos.get(&repo) else { return Answer::error(404, "RepoNotFound") };
            if let Some(needed) = state.gated.get(&repo) {
                match &request.token {
                    None => return Answer::error(401, "GatedRepo"),
                    Some(token) if token != needed => return Answer::error(403, "GatedRepo"),
                    _ => {}
                }
            }
            let name = parts[4..].join("/");
            match files.get(&name) {
                None => Answer::error(404, "EntryNotFound"),
                Some(_) if is_large(&name) => {
                    Answer::status(302, &[("Location", format!("http://localhost:{port}/cdn/{repo}/{name}"))])
                }
                Some(bytes) => part(bytes, request, fault),
            }
        }
    }
}

fn part(bytes: &[u8], request: &Request, fault: Option<&Fault>) -> Answer {
    let range = request.range.as_deref().filter(|_| !matches!(fault, Some(Fault::NoRange)));
    let Some(range) = range.and_then(|range| range.strip_prefix("bytes=")) else {
        return Answer { status: 200, headers: Vec::new(), body: bytes.to_vec() };
    };
    let (start, end) = range.split_once('-').unwrap();
    let start: usize = start.parse().unwrap();
    let end: usize = end.parse::<usize>().map_or(bytes.len(), |end| (end + 1).min(bytes.len()));
    let shown = format!("bytes {start}-{}/{}", end - 1, bytes.len());
    Answer { status: 206, headers: vec![("Content-Range", shown)], body: bytes[start..end].to_vec() }
}

/// A GET, for what is not asked by a hub.
#[allow(dead_code, reason = "as above")]
pub(crate) fn get(address: &str, path: &str) -> String {
    let host = address.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
