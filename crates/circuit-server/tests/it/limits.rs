//! Clients that are slow, idle, or many; and the end of the server. Only the limit that a test is about is short: all others are so
//! long that whatever happens is that limit's doing. No test compares a time.

use crate::support::{Answer, Running, graph};
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Waits until the server closes this connection; fails if the server leaves it open.
#[track_caller]
fn closes(mut stream: &TcpStream) {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        Err(e) => panic!("the server leaves the connection open: {e}"),
    }
}

/// The head of a save that promises 1 000 bytes.
fn head_of_a_save(server: &Running, length: usize) -> String {
    format!(
        "POST /save_graph/g HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n",
        server.address
    )
}

/// Sends the head of a save and waits until the server asks for the body: then the request is under way.
fn save_under_way(server: &Running, length: usize) -> TcpStream {
    let mut stream = server.connect();
    stream.write_all(head_of_a_save(server, length).as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    assert!(answer.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&answer));
    stream
}

#[test]
fn connections_without_a_whole_head_are_closed() {
    let server = Running::with(|config| config.limits.header_time = Duration::from_millis(400));
    let silent = server.connect();
    let mut halfway = server.connect();
    halfway.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    let mut kept = server.connect();
    write!(kept, "GET /api/v1/health HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).unwrap();
    for stream in [&silent, &halfway, &kept] {
        closes(stream);
    }
}

#[test]
fn a_body_that_stops_coming_is_refused() {
    let server = Running::with(|config| config.limits.body_pause = Duration::from_millis(400));
    server.write("g.json", graph("g", 1).to_string());
    let mut body = save_under_way(&server, 1000);
    body.write_all(b"{").unwrap();
    Answer::read(body).refused(408, "timeout");
    // A client that goes away in the middle of a body changes nothing.
    drop(save_under_way(&server, 1000));
    assert_eq!(server.read("g.json"), graph("g", 1).to_string().as_bytes());
}

#[test]
fn a_body_that_never_ends_is_refused() {
    let server = Running::with(|config| config.limits.body_time = Duration::from_millis(1200));
    server.write("g.json", graph("g", 1).to_string());
    let drops = save_under_way(&server, 60_000);
    let mut sender = drops.try_clone().unwrap();
    // Never a long pause, until the server closes the connection.
    let thread = std::thread::spawn(move || {
        while sender.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    Answer::read(drops).refused(408, "timeout");
    thread.join().unwrap();
    assert_eq!(server.read("g.json"), graph("g", 1).to_string().as_bytes());
}

/// Connections that ask for the graph `g` and read nothing of it.
fn lazy_clients(server: &Running) -> Vec<TcpStream> {
    let ask = |_| {
        let mut stream = server.connect();
        write!(stream, "GET /data/g.json HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address)
            .unwrap();
        stream
    };
    (0..50).map(ask).collect()
}

#[test]
fn clients_that_do_not_read_delay_nobody() {
    // None of them is ever closed, so a server that waits for them answers nobody else.
    let server = Running::start();
    let text = format!("{:#}", graph("g", 20_000));
    server.write("g.json", &text);
    let lazy = lazy_clients(&server);
    assert_eq!(server.get("/data/g.json").body.len(), text.len());
    drop(lazy);
}

#[test]
fn a_client_that_does_not_read_is_closed() {
    let server = Running::with(|config| config.limits.write_pause = Duration::from_millis(200));
    let text = format!("{:#}", graph("g", 20_000));
    server.write("g.json", &text);
    // A busy server closes late: who still gets everything waits longer the next time.
    let cut_off = (0..8).any(|doublings| {
        let lazy = lazy_clients(&server);
        std::thread::sleep(Duration::from_millis(500) * (1 << doublings));
        lazy.into_iter().all(|mut stream| {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            bytes.len() < text.len()
        })
    });
    assert!(cut_off, "a client that reads nothing for longer than the limit still gets all of the graph");
}

#[test]
fn more_connections_than_allowed_wait_for_their_turn() {
    let server = Running::with(|config| config.limits.connections = 4);
    let mut idle: Vec<_> = (0..4).map(|_| server.connect()).collect();
    let mut fifth = server.connect();
    write!(fifth, "GET /api/v1/health HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address)
        .unwrap();
    let limit = fifth.read_timeout().unwrap();
    fifth.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(fifth.peek(&mut [0]).is_err(), "the fifth is answered while four are connected");
    fifth.set_read_timeout(limit).unwrap();
    idle.pop();
    assert_eq!(Answer::read(fifth).status, 200);
}

#[test]
fn the_end_waits_for_answers_under_way_and_for_nothing_else() {
    let mut server = Running::start();
    server.write("g.json", graph("g", 1).to_string());
    let _idle = server.connect();
    let body = json!({"qParams": {"pinnedIds": ["0_0_0"]}}).to_string();
    let mut save = save_under_way(&server, body.len());
    let address = server.address;
    let path = server.path("g.json");
    let thread = std::thread::spawn(move || {
        // The body comes only when the server takes no new connections, so that it is about to end.
        while TcpStream::connect(address).is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
        save.write_all(body.as_bytes()).unwrap();
        Answer::read(save)
    });
    // Returns although a connection is idle: the limit for answers under way is far longer than any test.
    server.stop();
    assert_eq!(thread.join().unwrap().status, 200);
    assert!(std::fs::read_to_string(path).unwrap().contains("0_0_0\"]"));
}
