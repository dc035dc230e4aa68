//! The hub's client against a server that speaks its protocol: what arrives, what is asked, what is refused.

mod server;

use circuit_hub::{Hub, HubConfig, HubError, Progress, RepoId, Revision, Snapshot};
use serde_json::json;
use server::{COMMIT, Fault, TestHub, git_hash, sha256};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const REPO: &str = "acme/toy";

fn config(endpoint: &str, cache: &Path) -> HubConfig {
    HubConfig {
        endpoint: endpoint.into(),
        cache: cache.join("hub"),
        token: None,
        offline: false,
        proxy: None,
        user_agent: "test".into(),
        retries: 3,
        pause: Duration::from_millis(5),
        longest_pause: Duration::from_secs(2),
        timeout: Duration::from_secs(300),
        parallel: 4,
    }
}

fn weights() -> Vec<u8> {
    (0..300_000u32).map(|i| (i * 7 % 251) as u8).collect()
}

/// A hub with one repository: a small file, a large one, one in a folder.
fn toy() -> (TestHub, tempfile::TempDir) {
    let hub = TestHub::start();
    hub.file(REPO, "config.json", "{}");
    hub.file(REPO, "model.safetensors", weights());
    hub.file(REPO, "sub/dir/layer 0.npz", b"npz".to_vec());
    (hub, tempfile::tempdir().unwrap())
}

fn repo() -> RepoId {
    REPO.parse().unwrap()
}

fn main_of(hub: &Hub) -> Result<Snapshot, HubError> {
    hub.snapshot(&repo(), &Revision::default())
}

fn fetch(hub: &Hub, files: &[&str]) -> Result<Vec<std::path::PathBuf>, HubError> {
    let snapshot = main_of(hub)?;
    hub.fetch(&files.iter().map(|file| (&snapshot, *file)).collect::<Vec<_>>(), &|_| ())
}

#[test]
fn files_lie_in_the_cache_as_python_keeps_them() {
    let (server, dir) = toy();
    let hub = Hub::new(HubConfig { token: Some("secret".into()), ..config(&server.endpoint(), dir.path()) })
        .unwrap();
    let files = ["config.json", "model.safetensors", "sub/dir/layer 0.npz"];
    let paths = fetch(&hub, &files).unwrap();
    let root = dir.path().join("hub/models--acme--toy");
    assert_eq!(paths[1], root.join("snapshots").join(COMMIT).join("model.safetensors"));
    assert_eq!(fs::read(&paths[1]).unwrap(), weights());
    assert_eq!(fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    // Small files by git's hash, large ones by SHA-256, links relative.
    let link = |file: &str| fs::read_link(root.join("snapshots").join(COMMIT).join(file)).unwrap();
    assert_eq!(link("config.json"), Path::new("../../blobs").join(git_hash(b"{}")));
    assert_eq!(link("model.safetensors"), Path::new("../../blobs").join(sha256(&weights())));
    assert_eq!(link("sub/dir/layer 0.npz"), Path::new("../../../../blobs").join(sha256(b"npz")));
    assert!(
        dir.path().join("hub/.locks/models--acme--toy").join(format!("{}.lock", sha256(b"npz"))).is_file()
    );
    assert_eq!(fs::read_dir(root.join("blobs")).unwrap().count(), 3);

    // The token goes to the endpoint and to no other host.
    let log = server.log();
    let (own, other): (Vec<_>, Vec<_>) = log.iter().partition(|r| r.host.starts_with("127.0.0.1"));
    assert!(own.iter().all(|r| r.token.as_deref() == Some("secret")), "{log:?}");
    assert!(
        other.len() == 2 && other.iter().all(|r| r.token.is_none() && r.path.starts_with("/cdn/")),
        "{log:?}"
    );

    // The second time only the list is asked for; offline nothing is.
    fetch(&hub, &files).unwrap();
    assert_eq!(server.log().len(), 1);
    let offline = Hub::new(HubConfig { offline: true, ..config(&server.endpoint(), dir.path()) }).unwrap();
    assert_eq!(fetch(&offline, &files).unwrap(), paths);
    let by_commit = offline.snapshot(&repo(), &COMMIT.parse().unwrap()).unwrap();
    assert_eq!(by_commit.files.len(), 3);
    assert!(server.log().is_empty());
    for (asked, says) in
        [("v1", "acme/toy@v1 is not in the cache"), ("main", "tokenizer.json of acme/toy@main is not")]
    {
        let found = offline
            .snapshot(&repo(), &asked.parse().unwrap())
            .and_then(|s| offline.look(&s, "tokenizer.json"));
        let error = found.unwrap_err();
        assert!(error.to_string().starts_with(says), "{error}");
        assert!(error.advice().unwrap().contains("circuit-tracer download"));
    }
}

/// Redirects of one request: the address that each step names.
fn redirect(server: &TestHub, path: &str, status: u16, location: &str) {
    server.fault(path, Fault::Status(status, vec![("Location", location.into())]));
}

#[test]
fn the_token_goes_to_the_origin_of_the_endpoint_alone() {
    let (server, dir) = toy();
    let other = TestHub::start();
    other.file(REPO, "model.safetensors", weights());
    let (here, there) = (server.port, other.port);
    let mirror = format!("/cdn/{REPO}/model.safetensors");
    // Each case: where the first answer leads, and where a second one leads from there, if there is a second.
    for (nth, (first, second, arrives_with_token)) in [
        (format!("http://127.0.0.1:{there}{mirror}"), None, false),
        (format!("http://localhost:{here}{mirror}"), None, false),
        (format!("//127.0.0.1:{there}{mirror}"), None, false),
        (format!("http://127.0.0.1:{here}@127.0.0.1:{there}{mirror}"), None, false),
        (format!("http://me:word@127.0.0.1:{there}{mirror}"), None, false),
        (mirror.clone(), None, true),
        (format!("HTTP://127.0.0.1:{here}{mirror}?etag=%22a%22"), None, true),
        // Away and back, and away and on within the other origin.
        (format!("http://127.0.0.1:{there}/away"), Some(format!("http://127.0.0.1:{here}{mirror}")), true),
        (format!("http://127.0.0.1:{there}/away"), Some(mirror.clone()), false),
    ]
    .into_iter()
    .enumerate()
    {
        redirect(&server, "/resolve/", [301, 302, 307, 308][nth % 4], &first);
        if let Some(second) = &second {
            redirect(&other, "/away", 307, second);
        }
        let cache = dir.path().join(nth.to_string());
        let hub = Hub::new(HubConfig { token: Some("secret".into()), ..config(&server.endpoint(), &cache) })
            .unwrap();
        let paths = fetch(&hub, &["model.safetensors"]).unwrap();
        assert_eq!(fs::read(&paths[0]).unwrap(), weights(), "{first}");
        assert!(other.log().iter().all(|request| request.token.is_none()), "{first}");
        let log = server.log();
        let at_the_hub = |request: &&server::Request| request.host == format!("127.0.0.1:{here}");
        assert!(
            log.iter().filter(at_the_hub).all(|r| r.token.as_deref() == Some("secret")),
            "{first}: {log:?}"
        );
        assert!(log.iter().filter(|r| !at_the_hub(r)).all(|r| r.token.is_none()), "{first}: {log:?}");
        let arrived = log.iter().any(|request| request.path.starts_with("/cdn/") && request.token.is_some());
        assert_eq!(arrived, arrives_with_token, "{first}: {log:?}");
    }
}

#[test]
fn a_range_is_asked_for_after_every_redirect() {
    let (server, dir) = toy();
    let hub = Hub::new(config(&server.endpoint(), dir.path())).unwrap();
    let snapshot = main_of(&hub).unwrap();
    redirect(&server, "/resolve/", 307, &format!("http://localhost:{}/again", server.port));
    redirect(&server, "/again", 307, &format!("/cdn/{REPO}/model.safetensors"));
    server.log();
    assert_eq!(hub.read(&snapshot, "model.safetensors", 5..9).unwrap(), weights()[5..9]);
    assert_eq!(server.log().iter().filter(|r| r.range.as_deref() == Some("bytes=5-8")).count(), 3);
}

#[test]
fn what_cannot_be_followed_is_said_without_secrets() {
    let (server, dir) = toy();
    let endpoint = format!("http://me:password@127.0.0.1:{}", server.port);
    let hub = Hub::new(HubConfig { retries: 0, ..config(&endpoint, dir.path()) }).unwrap();
    let error = |location: &str| {
        redirect(&server, "/resolve/", 302, location);
        let error = fetch(&hub, &["model.safetensors"]).unwrap_err();
        let shown = format!("{error} {} {error:?}", error.advice().unwrap_or_default());
        assert!(!shown.contains("password") && !shown.contains("signature"), "{shown}");
        error.to_string()
    };
    assert!(error("ftp://cdn.example/x?signature=1").contains("ftp"));
    assert!(error("http://127.0.0.1:1/x?signature=1").starts_with("http://127.0.0.1:1 cannot be reached"));
    assert!(!format!("{hub:?} {:?}", hub.config()).contains("password"));
    // The user and password of the endpoint arrive there and nowhere else.
    assert!(server.log().iter().all(|r| r.token.as_deref().is_some_and(|t| t.starts_with("Basic "))));

    for _ in 0..12 {
        redirect(&server, "/resolve/", 302, &format!("/{REPO}/resolve/{COMMIT}/model.safetensors"));
    }
    assert!(fetch(&hub, &["model.safetensors"]).unwrap_err().to_string().contains("more than 10 times"));

    let token = Some("sec\u{e9}ret\n".into());
    let hub = Hub::new(HubConfig { token, ..config(&server.endpoint(), &dir.path().join("b")) }).unwrap();
    let error = main_of(&hub).unwrap_err().to_string();
    assert!(error.contains("token") && !error.contains("ret\n"), "{error}");
    let proxy = Some("nothing://me:password@127.0.0.1:1".into());
    let error = Hub::new(HubConfig { proxy, ..config(&server.endpoint(), dir.path()) }).unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1") && !error.to_string().contains("password"), "{error}");
}

#[test]
fn a_hub_that_is_gone_is_replaced_by_the_cache() {
    let (server, dir) = toy();
    let hub = Hub::new(config(&server.endpoint(), dir.path())).unwrap();
    let paths = fetch(&hub, &["config.json"]).unwrap();
    let gone = Hub::new(config("http://127.0.0.1:1", dir.path())).unwrap();
    let snapshot = main_of(&gone).unwrap();
    assert!(snapshot.unreachable.as_ref().unwrap().contains("http://127.0.0.1:1"));
    assert_eq!(gone.fetch(&[(&snapshot, "config.json")], &|_| ()).unwrap(), paths);
    let other = gone.snapshot(&"acme/other".parse().unwrap(), &Revision::default()).unwrap_err();
    assert!(matches!(other, HubError::Unreachable { .. }) && other.advice().unwrap().contains("HF_ENDPOINT"));
}

#[test]
fn a_broken_transfer_goes_on_where_it_broke() {
    let (server, dir) = toy();
    let hub = Hub::new(config(&server.endpoint(), dir.path())).unwrap();
    server.fault("/cdn/", Fault::Cut(100_000));
    server.fault("/cdn/", Fault::Cut(50_000));
    let paths = fetch(&hub, &["model.safetensors"]).unwrap();
    assert_eq!(fs::read(&paths[0]).unwrap(), weights());
    let ranges: Vec<_> =
        server.log().into_iter().filter(|r| r.path.starts_with("/cdn/")).map(|r| r.range).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-".into()), Some("bytes=150000-".into())]);
}

#[test]
fn the_next_run_goes_on_where_the_last_one_stopped() {
    let (server, dir) = toy();
    let never = Hub::new(HubConfig { retries: 0, ..config(&server.endpoint(), dir.path()) }).unwrap();
    server.fault("/cdn/", Fault::Cut(100_000));
    let error = fetch(&never, &["model.safetensors"]).unwrap_err();
    assert!(matches!(error, HubError::Broken { got: 100_000, size: 300_000, .. }), "{error}");
    let part =
        dir.path().join("hub/models--acme--toy/blobs").join(format!("{}.incomplete", sha256(&weights())));
    assert_eq!(fs::metadata(&part).unwrap().len(), 100_000);
    let snapshot = main_of(&never).unwrap();
    assert_eq!(never.look(&snapshot, "model.safetensors").unwrap().missing, 200_000);
    server.log();
    fetch(&never, &["model.safetensors"]).unwrap();
    assert_eq!(server.log().last().unwrap().range.as_deref(), Some("bytes=100000-"));
    assert!(!part.exists());

    // What was there is not always the beginning of this file; a server may not know ranges.
    for (before, fault) in
        [(vec![7; 1000], None), (weights()[..1000].to_vec(), Some(Fault::NoRange)), (vec![7; 400_000], None)]
    {
        fs::remove_file(dir.path().join("hub/models--acme--toy/blobs").join(sha256(&weights()))).unwrap();
        fs::write(&part, before).unwrap();
        if let Some(fault) = fault {
            server.fault("/cdn/", fault);
        }
        let paths = fetch(&never, &["model.safetensors"]).unwrap();
        assert_eq!(fs::read(&paths[0]).unwrap(), weights());
    }
}

#[test]
fn what_is_not_the_listed_file_is_not_kept() {
    for (fault, what) in [(Fault::Wrong, "hash"), (Fault::Long, "size")] {
        for (file, at) in [("model.safetensors", "/cdn/"), ("config.json", "/resolve/")] {
            let (server, dir) = toy();
            let hub = Hub::new(config(&server.endpoint(), dir.path())).unwrap();
            server.fault(at, fault.clone());
            let error = fetch(&hub, &[file]).unwrap_err();
            assert!(matches!(&error, HubError::Damaged { what: found, .. } if *found == what), "{error}");
            assert!(error.to_string().contains(file));
            let root = dir.path().join("hub/models--acme--toy");
            assert_eq!(fs::read_dir(root.join("blobs")).unwrap().count(), 0);
            assert!(!root.join("snapshots").exists());
            fetch(&hub, &[file]).unwrap();
        }
    }
}

#[test]
fn refusals_say_what_to_do() {
    let (server, dir) = toy();
    let with = |token: Option<&str>| {
        Hub::new(HubConfig { token: token.map(str::to_owned), ..config(&server.endpoint(), dir.path()) })
            .unwrap()
    };
    server.gate(REPO, "good");
    let page = format!("{}/acme/toy", server.endpoint());
    let error = fetch(&with(None), &["config.json"]).unwrap_err();
    let advice = error.advice().unwrap();
    assert!(
        matches!(error, HubError::Gated { .. }) && advice.contains(&page) && advice.contains("HF_TOKEN"),
        "{advice}"
    );
    let error = fetch(&with(Some("bad")), &["config.json"]).unwrap_err();
    let advice = error.advice().unwrap();
    assert!(
        matches!(error, HubError::Gated { .. }) && advice.contains(&page) && !advice.contains("HF_TOKEN"),
        "{advice}"
    );
    fetch(&with(Some("good")), &["config.json"]).unwrap();

    let hub = with(None);
    for (status, code) in [(401, ""), (403, "")] {
        server.fault("/api/", Fault::Status(status, vec![("X-Error-Code", code.into())]));
        let error = main_of(&hub).unwrap_err();
        assert!(matches!(error, HubError::Denied { .. }), "{error}");
        assert!(
            error.advice().unwrap().contains("HF_TOKEN") && error.to_string().contains(&status.to_string())
        );
    }
    let absent = hub.snapshot(&"acme/none".parse().unwrap(), &Revision::default()).unwrap_err();
    assert!(matches!(absent, HubError::NoRepo { .. }), "{absent}");
    let absent = hub.snapshot(&repo(), &"v9".parse().unwrap()).unwrap_err();
    assert!(matches!(absent, HubError::NoRevision { .. }) && absent.to_string().contains("v9"), "{absent}");
    let absent = fetch(&hub, &["none.json"]).unwrap_err();
    assert!(
        matches!(absent, HubError::NoFile { .. }) && absent.to_string().contains("none.json"),
        "{absent}"
    );
    hub.snapshot(&repo(), &"refs/pr/1".parse().unwrap()).unwrap();
}

#[test]
fn a_busy_hub_is_asked_again_within_bounds() {
    let (server, dir) = toy();
    let busy = |status, seconds: &str| Fault::Status(status, vec![("Retry-After", seconds.into())]);
    // The client's own pause is longer than any test: only one that waits as long as it was asked to comes back.
    let patient = Duration::from_secs(24 * 3600);
    let waits_as_asked =
        HubConfig { pause: patient, longest_pause: patient, ..config(&server.endpoint(), dir.path()) };
    server.fault("/api/", busy(429, "1"));
    main_of(&Hub::new(waits_as_asked).unwrap()).unwrap();
    let hub = Hub::new(config(&server.endpoint(), dir.path())).unwrap();
    server.fault("/api/", Fault::Status(503, Vec::new()));
    fetch(&hub, &["config.json"]).unwrap();
    // It is not asked for ever, nor after an hour.
    for _ in 0..4 {
        server.fault("/api/", Fault::Status(503, Vec::new()));
    }
    server.log();
    let error = main_of(&hub).unwrap_err();
    assert!(
        matches!(error, HubError::Busy { status: 503, tries: 4, .. }) && server.log().len() == 4,
        "{error}"
    );
    server.fault("/api/", busy(429, "3600"));
    let error = main_of(&hub).unwrap_err();
    assert!(error.advice().unwrap().contains("3600 seconds") && server.log().len() == 1, "{error}");
}

#[test]
fn no_name_leads_out_of_the_cache() {
    for bad in ["../../../evil", "/evil", "a/../../evil", "a\\..\\evil", "a//b", "", "C:evil", "x\u{0}y"] {
        let (server, dir) = toy();
        server.list(REPO, json!({"rfilename": bad, "size": 1, "blobId": git_hash(b"x")}));
        let hub = Hub::new(config(&server.endpoint(), dir.path())).unwrap();
        let error = fetch(&hub, &["config.json"]).unwrap_err();
        assert!(matches!(error, HubError::UnsafeName { .. }), "{bad}: {error}");
        assert!(!dir.path().join("hub").exists());
    }
    // Neither may a hash be a path.
    let (server, dir) = toy();
    server.list(
        REPO,
        json!({"rfilename": "x", "size": 1, "blobId": "../../../../../../../../../../../../evil"}),
    );
    let hub = Hub::new(config(&server.endpoint(), dir.path())).unwrap();
    assert!(matches!(main_of(&hub).unwrap_err(), HubError::Answer { .. }));
}

#[test]
fn too_little_room_is_said_before_anything_comes() {
    let (server, dir) = toy();
    let huge = json!({"sha256": sha256(b""), "size": 1u64 << 60});
    server.list(
        REPO,
        json!({"rfilename": "huge.bin", "size": 1u64 << 60, "blobId": git_hash(b""), "lfs": huge}),
    );
    let hub = Hub::new(config(&server.endpoint(), dir.path())).unwrap();
    let error = fetch(&hub, &["config.json", "huge.bin"]).unwrap_err();
    assert!(
        matches!(error, HubError::NoSpace { .. }) && error.advice().unwrap().contains("HF_HUB_CACHE"),
        "{error}"
    );
    assert_eq!(server.log().len(), 1);
}

#[test]
fn two_at_once_fetch_a_file_once() {
    let (server, dir) = toy();
    for _ in 0..2 {
        server.fault("/cdn/", Fault::Cut(1000));
    }
    // The file is not complete before the three others wait for it.
    let (open, gate) = std::sync::mpsc::channel();
    server.fault("/cdn/", Fault::Held(Arc::new(Mutex::new(gate))));
    let hubs: Vec<_> = (0..4).map(|_| Hub::new(config(&server.endpoint(), dir.path())).unwrap()).collect();
    let waited = Mutex::new(0);
    std::thread::scope(|scope| {
        for hub in &hubs {
            scope.spawn(|| {
                let snapshot = main_of(hub).unwrap();
                let told = |event| {
                    let mut waited = waited.lock().unwrap();
                    *waited += usize::from(matches!(event, Progress::Waiting { .. }));
                    if *waited == 3 {
                        let _ = open.send(());
                    }
                };
                let paths = hub.fetch(&[(&snapshot, "model.safetensors")], &told).unwrap();
                assert_eq!(fs::read(&paths[0]).unwrap(), weights());
            });
        }
    });
    assert_eq!(server.log().iter().filter(|r| r.path.starts_with("/cdn/")).count(), 3);
    assert_eq!(*waited.lock().unwrap(), 3);
}

#[test]
fn parts_are_read_by_range_and_kept_nowhere() {
    use std::io::{Read, Seek, SeekFrom};
    let (server, dir) = toy();
    let hub = Hub::new(config(&server.endpoint(), dir.path())).unwrap();
    let snapshot = main_of(&hub).unwrap();
    server.log();
    assert_eq!(hub.read(&snapshot, "model.safetensors", 10..20).unwrap(), weights()[10..20]);
    assert_eq!(server.log().last().unwrap().range.as_deref(), Some("bytes=10-19"));
    let mut file = hub.open(&snapshot, "model.safetensors").unwrap();
    let mut bytes = Vec::new();
    file.seek(SeekFrom::End(-100)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, weights()[299_900..]);
    file.seek(SeekFrom::Start(0)).unwrap();
    bytes.clear();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, weights());
    assert!(hub.read(&snapshot, "model.safetensors", 299_999..300_001).is_err());
    server.fault("/cdn/", Fault::NoRange);
    assert!(hub.read(&snapshot, "model.safetensors", 10..20).unwrap_err().to_string().contains("no ranges"));
    assert!(!dir.path().join("hub").exists());
    // From the cache, nothing is asked.
    fetch(&hub, &["model.safetensors"]).unwrap();
    server.log();
    assert_eq!(hub.read(&snapshot, "model.safetensors", 10..20).unwrap(), weights()[10..20]);
    assert!(server.log().is_empty());
}

#[test]
fn the_cache_is_listed_and_cleared() {
    let (server, dir) = toy();
    let hub = Hub::new(config(&server.endpoint(), dir.path())).unwrap();
    assert!(hub.cached().unwrap().is_empty());
    fetch(&hub, &["config.json", "model.safetensors"]).unwrap();
    // Another revision that shares one file, and another repository.
    let root = dir.path().join("hub/models--acme--toy");
    let other = "f".repeat(40);
    fs::create_dir_all(root.join("snapshots").join(&other)).unwrap();
    let shared = Path::new("../../blobs").join(git_hash(b"{}"));
    std::os::unix::fs::symlink(shared, root.join("snapshots").join(&other).join("config.json")).unwrap();
    fs::create_dir_all(dir.path().join("hub/datasets--a--b")).unwrap();
    let listed = hub.cached().unwrap();
    assert_eq!((listed.len(), listed[0].size, listed[0].revisions.len()), (1, 300_002, 2));
    assert_eq!(
        (listed[0].revisions[0].refs.as_slice(), listed[0].revisions[0].n_files),
        (&["main".to_owned()][..], 2)
    );

    let removed = hub.remove(&repo(), Some(&Revision::default())).unwrap();
    assert_eq!((removed.freed, removed.revisions), (300_000, 1));
    assert!(root.join("snapshots").join(&other).join("config.json").exists());
    assert!(!root.join("refs/main").exists());
    assert!(hub.remove(&repo(), Some(&"v7".parse().unwrap())).is_err());
    let removed = hub.remove(&repo(), None).unwrap();
    assert_eq!((removed.freed, removed.revisions), (2, 1));
    assert!(!root.exists() && matches!(hub.remove(&repo(), None), Err(HubError::NotCached { .. })));
}
