//! Packed features: both packings, the last feature, empty ones, and damage of every kind.

use circuit_format::{PACKED_INDEX, PackedFeatures, read_feature_json};
use circuit_index::{FeatureIndex, Layer};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::Path;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = GzEncoder::new(Vec::new(), Compression::best());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut to = ZlibEncoder::new(Vec::new(), Compression::best());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

fn framed(packed: &[u8]) -> Vec<u8> {
    [&u32::try_from(packed.len()).unwrap().to_le_bytes()[..], packed].concat()
}

fn write_index(folder: &Path, index: &serde_json::Value) {
    fs::write(folder.join(PACKED_INDEX), gzip(index.to_string().as_bytes())).unwrap();
}

/// Writes one layer of records (as stored) and gives the offsets.
fn write_layer(folder: &Path, name: &str, records: &[Vec<u8>]) -> Vec<usize> {
    fs::write(folder.join(name), records.concat()).unwrap();
    let mut offsets = vec![0];
    for record in records {
        offsets.push(offsets.last().unwrap() + record.len());
    }
    offsets
}

fn record(folder: &Path, layer: u32, index: u32) -> Result<Option<String>, String> {
    let set = PackedFeatures::open(folder).map_err(|e| e.to_string())?;
    let record = set.record(Layer(layer), FeatureIndex(index)).map_err(|e| e.to_string())?;
    Ok(record.map(|bytes| String::from_utf8(bytes).unwrap()))
}

#[test]
fn records_of_both_packings_the_last_and_the_empty() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let records = [
        framed(&zlib(b"{\"a\": NaN}")),
        Vec::new(),
        framed(&[]),
        framed(&gzip(b"{\"b\": 2}")),
        [framed(&zlib(b"{}")), vec![0; 3]].concat(),
        framed(&zlib(b"{\"last\": 1}")),
    ];
    let offsets = write_layer(folder, "layer_0.bin", &records);
    let entry = json!({"filename": "layer_0.bin", "offsets": offsets, "more": true});
    for index in [json!([entry]), json!({"0": entry, "version": {"x": 1}}), json!([entry, null])] {
        write_index(folder, &index);
        let expected =
            [Some("{\"a\": NaN}"), None, None, Some("{\"b\": 2}"), Some("{}"), Some("{\"last\": 1}"), None];
        for (feature, expected) in expected.into_iter().enumerate() {
            assert_eq!(record(folder, 0, feature as u32).unwrap().as_deref(), expected, "{feature}");
        }
        assert_eq!(record(folder, 1, 0), Ok(None));
        assert_eq!(record(folder, 0, u32::MAX), Ok(None));
        assert_eq!(PackedFeatures::open(folder).unwrap().n_features(Layer(0)), 6);
    }
}

#[test]
fn damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let bomb = framed(&zlib(&vec![b' '; 65 << 20]));
    let mut cut = framed(&zlib(b"{\"a\": 1}"));
    let length = cut.len();
    cut.truncate(length - 2);
    let records = [framed(b"plain"), vec![1, 0], vec![9, 0, 0, 0, 1], framed(&zlib(b"{}")[..5]), bomb, cut];
    let offsets = write_layer(folder, "layer_0.bin", &records);
    write_index(folder, &json!([{"filename": "layer_0.bin", "offsets": offsets}]));
    for (feature, says) in [
        (0, "zlib or gzip"),
        (1, "4 packed bytes"),
        (2, "9 packed bytes"),
        (3, "zlib or gzip"),
        (4, "at most"),
        (5, "packed bytes"),
    ] {
        let error = record(folder, 0, feature).unwrap_err();
        assert!(error.contains("layer_0.bin") && error.contains(says), "{feature}: {error}");
    }
    // A file shorter than its index says.
    write_index(folder, &json!([{"filename": "layer_0.bin", "offsets": [0, 1_u64 << 60, 1_u64 << 61]}]));
    assert!(record(folder, 0, 0).unwrap_err().contains("at most"));
    let end = offsets.last().unwrap();
    write_index(folder, &json!([{"filename": "layer_0.bin", "offsets": [end, end + 9]}]));
    assert!(record(folder, 0, 0).unwrap_err().contains("4 packed bytes"));
}

#[test]
fn an_index_leads_nowhere_else_and_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("features");
    fs::create_dir(&folder).unwrap();
    fs::write(dir.path().join("secret"), framed(&zlib(b"{}"))).unwrap();
    for name in ["../secret", "/etc/hostname", "", ".", "missing.bin"] {
        write_index(&folder, &json!([{"filename": name, "offsets": [0, 14]}]));
        assert!(record(&folder, 0, 0).unwrap_err().contains("in the folder of its index"), "{name}");
    }
    for (index, says) in [
        (gzip(b"[{\"filename\": \"a\", \"offsets\": [3, 1]}]"), "ascending"),
        (gzip(b"[{\"filename\": \"a\"}]"), "offsets"),
        (gzip(b"[{\"filename\": \"a\", \"offsets\": [-1]}]"), "expected an index"),
        (gzip(b"7"), "expected an index"),
        (gzip(&vec![b' '; 257 << 20]), "more than 256 MiB"),
        (b"no gzip".to_vec(), "expected an index"),
        (gzip(b"[]")[..9].to_vec(), "expected an index"),
    ] {
        fs::write(folder.join(PACKED_INDEX), index).unwrap();
        let error = record(&folder, 0, 0).unwrap_err();
        assert!(error.contains(PACKED_INDEX) && error.contains(says), "{error}");
    }
}

#[test]
fn single_files_go_by_their_number() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("43.json"), "{\"index\": 7}").unwrap();
    let read = |layer, index| read_feature_json(folder.path(), Layer(layer), FeatureIndex(index)).unwrap();
    assert_eq!(read(1, 7).as_deref(), Some(&b"{\"index\": 7}"[..]));
    assert_eq!(read(7, 1), None);
    assert_eq!(read(u32::MAX, u32::MAX), None);
}
