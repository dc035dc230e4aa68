//! How long a request takes while a thousand connections idle and two hundred clients read slowly. Over the loopback only,
//! with bounded time; fails if the slowest hundredth is slower by more than 50 ms than without them.
//!
//! `cargo run --release -p circuit-server --example load`. Not a benchmark of throughput: one client asks, others are in its way.

#![allow(clippy::print_stdout, reason = "an example shows what it measured")]

use circuit_server::{Frontend, Limits, Server, ServerConfig};
use serde_json::json;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const IDLE: usize = 1000;
const SLOW: usize = 200;
const REQUESTS: usize = 1000;
const ALLOWED: Duration = Duration::from_millis(50);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // Both ends of every connection are in this process.
    rlimit::increase_nofile_limit(16_384)?;
    let folder = tempfile::tempdir()?;
    let graph = graph();
    std::fs::write(folder.path().join("large.json"), &graph)?;
    std::fs::write(folder.path().join("small.json"), small())?;
    let address = start(folder.path().to_path_buf())?;
    println!("{} bytes in the graph that is read slowly; {REQUESTS} requests of each kind", graph.len());

    let before = measure(address)?;
    let clients = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ready, loaded) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || clients.block_on(load(address, ready, stopped)));
    let read = loaded.recv_timeout(Duration::from_secs(60))?;
    println!(
        "{IDLE} connections idle, {SLOW} clients read 4 KiB every 100 ms (they have {read} bytes so far)"
    );
    let during = measure(address)?;
    drop(stop);
    let read = thread.join().map_err(|_| "the clients failed")?;
    println!("slow clients had {read} bytes of {} when it ended", SLOW * graph.len());

    let mut good = true;
    for ((kind, before), (_, during)) in before.iter().zip(&during) {
        let delay = during.p99.saturating_sub(before.p99);
        good &= delay <= ALLOWED;
        println!("{kind:30} alone {before}; loaded {during}; p99 later by {delay:.2?}");
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A graph of 2 000 nodes and 50 000 links, as large as such graphs are.
fn graph() -> String {
    let node = |n: usize| {
        json!({"node_id": format!("0_{n}_0"), "feature": n, "layer": "0", "ctx_idx": 0, "feature_type": "cross layer transcoder",
            "token_prob": 0.0, "is_target_logit": false, "run_idx": 0, "reverse_ctx_idx": 0, "jsNodeId": "", "clerp": "",
            "influence": 0.5, "activation": 1.25})
    };
    let link = |n: usize| json!({"source": format!("0_{}_0", n % 2000), "target": format!("0_{}_0", n % 1999), "weight": 0.125});
    let nodes: Vec<_> = (0..2000).map(node).collect();
    let links: Vec<_> = (0..50_000).map(link).collect();
    format!("{:#}", json!({"metadata": metadata("large"), "qParams": {}, "nodes": nodes, "links": links}))
}

fn small() -> String {
    json!({"metadata": metadata("small"), "qParams": {}, "nodes": [], "links": []}).to_string()
}

fn metadata(slug: &str) -> serde_json::Value {
    json!({"slug": slug, "scan": "none", "prompt_tokens": ["a"], "prompt": "a"})
}

fn start(graphs: std::path::PathBuf) -> Result<SocketAddr, Box<dyn Error>> {
    let config = ServerConfig {
        host: "127.0.0.1".into(),
        port: 0,
        graphs,
        features: Vec::new(),
        remote_features: Vec::new(),
        frontend: Frontend::Embedded,
        allowed_hosts: Vec::new(),
        limits: Limits {
            upload_bytes: 1 << 20,
            body_bytes: 1 << 20,
            header_time: Duration::from_secs(120),
            body_pause: Duration::from_secs(10),
            body_time: Duration::from_secs(10),
            write_pause: Duration::from_secs(60),
            stop_time: Duration::from_secs(1),
            connections: 4096,
            packed_bytes: 1 << 24,
        },
    };
    let (out, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.map_err(|e| e.to_string()).and_then(|runtime| {
            runtime.block_on(async {
                let server = Server::bind(config).await.map_err(|e| e.to_string())?;
                let _ = out.send(server.address());
                server.run(std::future::pending()).await;
                Ok(())
            })
        })
    });
    Ok(address.recv_timeout(Duration::from_secs(10))?)
}

/// Connects the clients in the way, then lets them read slowly until `stopped`; how much they have read in all.
async fn load(
    address: SocketAddr,
    ready: std::sync::mpsc::Sender<usize>,
    stopped: tokio::sync::oneshot::Receiver<()>,
) -> usize {
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.extend(tokio::net::TcpStream::connect(address).await);
    }
    let mut slow = Vec::new();
    let mut read = 0;
    let mut buffer = vec![0; 4096];
    for _ in 0..SLOW {
        if let Ok(mut stream) = tokio::net::TcpStream::connect(address).await {
            let request = format!("GET /api/v1/graphs/large HTTP/1.1\r\nHost: {address}\r\n\r\n");
            let _ = stream.write_all(request.as_bytes()).await;
            read += stream.read(&mut buffer).await.unwrap_or(0);
            slow.push(stream);
        }
    }
    assert_eq!((idle.len(), slow.len()), (IDLE, SLOW), "not all clients could connect");
    let _ = ready.send(read);
    let mut stopped = std::pin::pin!(stopped);
    loop {
        tokio::select! {
            _ = &mut stopped => return read,
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                for stream in &mut slow {
                    read += stream.read(&mut buffer).await.unwrap_or(0);
                }
            }
        }
    }
}

struct Times {
    p50: Duration,
    p99: Duration,
    most: Duration,
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.2?}, p99 {:.2?}, most {:.2?}", self.p50, self.p99, self.most)
    }
}

/// Times of requests, each over a connection of its own, from connecting to the last byte.
fn measure(address: SocketAddr) -> Result<Vec<(&'static str, Times)>, Box<dyn Error>> {
    let mut all = Vec::new();
    for path in ["/api/v1/health", "/api/v1/graphs", "/api/v1/graphs/small", "/"] {
        let mut times = Vec::new();
        for _ in 0..REQUESTS {
            let start = Instant::now();
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            if !answer.starts_with(b"HTTP/1.1 200") {
                return Err(format!("{path}: {}", String::from_utf8_lossy(&answer)).into());
            }
            times.push(start.elapsed());
        }
        times.sort();
        all.push((
            path,
            Times { p50: times[REQUESTS / 2], p99: times[REQUESTS * 99 / 100], most: times[REQUESTS - 1] },
        ));
    }
    Ok(all)
}
