//! Feature records, and their files by ranges.

use crate::support::{Running, features, graph};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::Path;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = GzEncoder::new(Vec::new(), Compression::fast());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

/// A packed set with zlib, gzip and empty records, the last one full; gives the bytes of its records.
pub(crate) fn write_set(folder: &Path) -> Vec<u8> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(b"{\"index\": 0, \"act_min\": NaN}").unwrap();
    let records = [zlib.finish().unwrap(), gzip(b"{\"index\": 1}"), Vec::new(), gzip(b"{\"index\": 3}")];
    let mut bytes = Vec::new();
    let mut offsets = vec![0];
    for record in records {
        if !record.is_empty() {
            bytes.extend(u32::try_from(record.len()).unwrap().to_le_bytes());
            bytes.extend(record);
        }
        offsets.push(bytes.len());
    }
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("layer_0.bin"), &bytes).unwrap();
    let index = json!([{"filename": "layer_0.bin", "offsets": offsets}]);
    fs::write(folder.join("index.json.gz"), gzip(index.to_string().as_bytes())).unwrap();
    bytes
}

#[test]
fn records_come_unpacked_from_the_set_that_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (toy, singles) = (dir.path().join("toy"), dir.path().join("singles"));
    write_set(&toy.join("features"));
    fs::write(toy.join("config.yaml"), "scan: acme/toy@v2\n").unwrap();
    fs::create_dir_all(singles.join("gemma-2-2b")).unwrap();
    fs::write(singles.join("gemma-2-2b/43.json"), "{\"index\": 7}").unwrap();
    let server = Running::with(|config| config.features = vec![features(&toy), features(&singles)]);

    let record = |layer: &str, index: &str, scan: &str| {
        server.get(&format!("/api/v1/features/{layer}/{index}?scan={scan}"))
    };
    for (index, body) in
        [("0", "{\"index\": 0, \"act_min\": NaN}"), ("1", "{\"index\": 1}"), ("3", "{\"index\": 3}")]
    {
        let answer = record("0", index, "acme%2Ftoy%40v2");
        assert_eq!(
            (answer.status, &answer.body[..], answer.header("content-type")),
            (200, body.as_bytes(), "application/json")
        );
    }
    assert_eq!(record("1", "7", "gemma-2-2b").json(), json!({"index": 7}));
    for (layer, index) in [("0", "2"), ("0", "4"), ("9", "0"), ("0", "4294967295")] {
        record(layer, index, "acme/toy@v2").refused(404, "no_feature_data");
    }
    record("0", "0", "gemma-2-2b").refused(404, "no_feature_data");
    for scan in ["acme/toy@v3", "acme/other", "..%2Ftoy", "%2Fetc", ""] {
        record("0", "0", scan).refused(404, "unknown_scan");
    }
    server.get("/api/v1/features/0/0").refused(400, "bad_request");
    for (layer, index) in
        [("x", "0"), ("0", "-1"), ("0", "+1"), ("0", "4294967296"), ("%00", "0"), ("0", "1.0")]
    {
        record(layer, index, "acme/toy@v2").refused(400, "bad_request");
    }
    // A new index is read; a damaged one is an error, and does not say where on this machine.
    fs::write(toy.join("features/index.json.gz"), "no gzip").unwrap();
    let answer = record("0", "0", "acme/toy@v2");
    answer.refused(500, "internal");
    assert!(!String::from_utf8(answer.body).unwrap().contains("index.json"));
}

#[test]
fn files_by_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = write_set(&dir.path().join("features"));
    let server = Running::with(|config| config.features = vec![features(dir.path())]);
    let size = bytes.len();
    let ask = |range: &str| server.ask("GET", "/features/layer_0.bin", &[("Range", range)], b"");
    // As the reference page asks: one byte too many, past the end for the last feature.
    for (range, first, last) in [
        ("bytes=0-10".to_owned(), 0, 10),
        (format!("bytes=5-{size}"), 5, size - 1),
        ("bytes=7-".to_owned(), 7, size - 1),
        ("bytes=-4".to_owned(), size - 4, size - 1),
        (format!("bytes=-{}", size + 9), 0, size - 1),
    ] {
        let part = ask(&range);
        assert_eq!((part.status, &part.body[..]), (206, &bytes[first..=last]), "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {first}-{last}/{size}"));
        assert_eq!(part.header("content-type"), "application/octet-stream");
    }
    for range in [format!("bytes={size}-"), format!("bytes={size}-{size}"), "bytes=-0".to_owned()] {
        let answer = ask(&range);
        answer.refused(416, "range_not_satisfiable");
        assert_eq!(answer.header("content-range"), format!("bytes */{size}"));
    }
    for range in ["bytes=0-1,4-5", "bytes=9-2", "nonsense", "lines=0-1"] {
        let whole = ask(range);
        assert_eq!(
            (whole.status, &whole.body[..], whole.header("accept-ranges")),
            (200, &bytes[..], "bytes"),
            "{range}"
        );
    }
    let etag = ask("bytes=0-0").header("etag").to_owned();
    let with = |value: &str| {
        server.ask("GET", "/features/layer_0.bin", &[("Range", "bytes=0-0"), ("If-Range", value)], b"").status
    };
    assert_eq!((with(&etag), with("\"other\"")), (206, 200));
    let head = server.ask("HEAD", "/features/layer_0.bin", &[], b"");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, &*size.to_string(), 0));
    let known = server.ask("GET", "/features/layer_0.bin", &[("If-None-Match", &etag)], b"");
    assert_eq!(known.status, 304);
    assert_eq!(server.get("/features/index.json.gz").status, 200);
    server.get("/features/none.bin").refused(404, "not_found");
    fs::write(dir.path().join("empty.bin"), "").unwrap();
    assert_eq!(server.get("/features/empty.bin").body, b"");
    server
        .ask("GET", "/features/empty.bin", &[("Range", "bytes=0-")], b"")
        .refused(416, "range_not_satisfiable");
}

#[test]
fn without_folders_nothing_is_known() {
    let server = Running::start();
    server.write("g.json", graph("g", 1).to_string());
    server.get("/features/index.json.gz").refused(404, "not_found");
    server.get("/api/v1/features/0/0?scan=acme/toy").refused(404, "unknown_scan");
}
