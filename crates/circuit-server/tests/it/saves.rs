//! Saves: many at a time, and a process that is killed in the middle of one.

use crate::support::{Running, graph};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn parallel_saves_lose_nothing_and_exactly_one_of_a_version_wins() {
    let server = Running::start();
    server.write("g.json", graph("g", 50).to_string());
    let mut expected = graph("g", 50);
    for round in 0..3 {
        let etag = server.get("/api/v1/graphs/g").header("etag").to_owned();
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let save = |n: usize| {
                let (server, etag) = (&server, &etag);
                scope.spawn(move || server.save("g", etag, &json!({"round": round, "n": n})).status)
            };
            let threads: Vec<_> = (0..20).map(save).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|&&status| status == 200).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
        // The old page knows no versions: all succeed, the last one stays.
        std::thread::scope(|scope| {
            for n in 0..20 {
                let server = &server;
                scope.spawn(move || {
                    let body = json!({"qParams": {"pinnedIds": [n.to_string()], "round": round}});
                    assert_eq!(server.send_json("POST", "/save_graph/g", &body).status, 200);
                });
            }
        });
        let file: Value = serde_json::from_slice(&server.read("g.json")).unwrap();
        assert_eq!(file["qParams"]["round"], round);
        expected["qParams"] = file["qParams"].clone();
        assert_eq!(file.to_string(), expected.to_string());
    }
    let parts = fs::read_dir(server.folder.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension() != Some("json".as_ref()));
    assert_eq!(parts.count(), 0);
}

#[test]
fn names_taken_at_the_same_time_go_to_one() {
    let server = Running::start();
    for round in 0..5 {
        let slug = format!("g{round}");
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let add = |n: usize| {
                let (server, slug) = (&server, &slug);
                scope.spawn(move || server.send_json("POST", "/api/v1/graphs", &graph(slug, n)).status)
            };
            let threads: Vec<_> = (0..8).map(add).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|&&status| status == 201).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|&&status| status == 409).count(), 7, "{statuses:?}");
    }
    let list: Value = serde_json::from_slice(&server.read("graph-metadata.json")).unwrap();
    assert_eq!(list["graphs"].as_array().unwrap().len(), 5);
}

/// Large enough that a save takes a while.
const FEATURES: usize = 1500;

const CHILD: &str = "CIRCUIT_SERVER_TEST_SAVES_IN";

/// The other half of the next test: saves again and again until it is killed.
#[test]
fn child_that_saves() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let server = Running::with(|config| config.graphs = folder.into());
    for n in 1.. {
        let pins: Vec<String> = (0..n % 50).map(|pin| format!("0_{pin}_0")).collect();
        let answer = server.save("g", "*", &json!({"n": n, "pins": pins}));
        assert_eq!(answer.status, 200);
    }
}

/// Numbers that are the same in every run.
fn seeded(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// The `n` of the saved view; fails if the file is not the whole of one save.
#[track_caller]
fn check_whole(path: &Path, expected: &mut Value) -> u64 {
    let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let n = file["qParams"]["n"].as_u64().unwrap();
    let pins = file["qParams"]["pins"].as_array().unwrap();
    assert_eq!(pins.len() as u64, n % 50);
    expected["qParams"] = file["qParams"].clone();
    assert!(file == *expected);
    n
}

#[test]
fn a_killed_save_leaves_the_old_file_or_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g.json");
    let mut expected = graph("g", FEATURES);
    expected["qParams"] = json!({"n": 0, "pins": []});
    fs::write(&path, expected.to_string()).unwrap();
    let mut state = 17;
    let mut saves = 0;
    for _ in 0..50 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "saves::child_that_saves", "--test-threads", "1"])
            .env(CHILD, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Once it saves, kill it at some point of some save.
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        while fs::metadata(&path).unwrap().modified().unwrap() == before {
            assert!(child.try_wait().unwrap().is_none(), "it ends without saving");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(seeded(&mut state) % 30_000));
        child.kill().unwrap();
        child.wait().unwrap();
        saves += u64::from(check_whole(&path, &mut expected) > 0);
    }
    assert_eq!(saves, 50);
    // What was left half-written is no graph, and does not stop the next server.
    let server = Running::with(|config| config.graphs = folder.path().to_path_buf());
    let list = server.get("/api/v1/graphs").json();
    assert_eq!(list["graphs"].as_array().unwrap().len(), 1);
    assert_eq!(server.save("g", "*", &json!({})).status, 200);
}
