//! Clients that are slow, idle, or many; and the end of the server.

use crate::support::{Answer, Running, graph};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long until the server closes this connection.
fn closed_after(mut stream: &TcpStream, start: Instant) -> Duration {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    start.elapsed()
}

#[test]
fn idle_connections_and_slow_senders_are_closed() {
    let short = Duration::from_millis(400);
    let server = Running::with(|config| {
        config.limits.header_time = short;
        config.limits.body_pause = short;
        config.limits.body_time = short * 3;
    });
    server.write("g.json", graph("g", 1).to_string());
    let start = Instant::now();
    let silent = server.connect();
    let mut halfway = server.connect();
    halfway.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    let mut kept = server.connect();
    write!(kept, "GET /api/v1/health HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).unwrap();
    for stream in [&silent, &halfway, &kept] {
        let time = closed_after(stream, start);
        assert!(time < Duration::from_secs(10), "{time:?}");
    }
    let head = format!(
        "POST /save_graph/g HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
        server.address
    );
    let mut body = server.connect();
    body.write_all(head.as_bytes()).unwrap();
    body.write_all(b"{").unwrap();
    Answer::read(body).refused(408, "timeout");
    // Never a long pause, but for ever.
    let mut drops = server.connect();
    drops.write_all(head.as_bytes()).unwrap();
    let mut sender = drops.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) && sender.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    Answer::read(drops).refused(408, "timeout");
    thread.join().unwrap();
    // A client that goes away in the middle of a body changes nothing.
    let mut gone = server.connect();
    gone.write_all(head.as_bytes()).unwrap();
    drop(gone);
    assert_eq!(server.read("g.json"), graph("g", 1).to_string().as_bytes());
}

#[test]
fn a_client_that_does_not_read_is_closed_and_delays_nobody() {
    let server = Running::with(|config| config.limits.write_pause = Duration::from_millis(500));
    let text = format!("{:#}", graph("g", 20_000));
    server.write("g.json", &text);
    let lazy: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = server.connect();
            write!(
                stream,
                "GET /data/g.json HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                server.address
            )
            .unwrap();
            stream
        })
        .collect();
    let start = Instant::now();
    assert_eq!(server.get("/data/g.json").body.len(), text.len());
    assert!(start.elapsed() < Duration::from_secs(5));
    // Long after the pause, what comes is what was on its way, not all.
    std::thread::sleep(Duration::from_millis(1500));
    for mut stream in lazy {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        assert!(bytes.len() < text.len(), "{}", bytes.len());
    }
}

#[test]
fn more_connections_than_allowed_wait_for_their_turn() {
    let server = Running::with(|config| {
        config.limits.connections = 4;
        config.limits.header_time = Duration::from_millis(600);
    });
    let start = Instant::now();
    let idle: Vec<_> = (0..4).map(|_| server.connect()).collect();
    assert_eq!(server.get("/api/v1/health").status, 200);
    assert!(start.elapsed() > Duration::from_millis(550), "nobody had to wait");
    drop(idle);
}

#[test]
fn the_end_waits_for_answers_under_way_and_for_nothing_else() {
    let mut server = Running::start();
    server.write("g.json", graph("g", 1).to_string());
    let _idle = server.connect();
    let body = json!({"qParams": {"pinnedIds": ["0_0_0"]}}).to_string();
    let head = format!(
        "POST /save_graph/g HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        server.address,
        body.len()
    );
    let mut save = server.connect();
    save.write_all(head.as_bytes()).unwrap();
    // The server is in the middle of this request when it is told to stop.
    std::thread::sleep(Duration::from_secs(1));
    let address = server.address;
    let path = server.path("g.json");
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        save.write_all(body.as_bytes()).unwrap();
        Answer::read(save)
    });
    let start = Instant::now();
    server.stop();
    assert!(start.elapsed() < Duration::from_secs(10), "an idle connection held the server up");
    assert_eq!(thread.join().unwrap().status, 200);
    assert!(std::fs::read_to_string(path).unwrap().contains("0_0_0\"]"));
    assert!(TcpStream::connect(address).is_err());
}
