//! Damaged and hostile raw graphs: each is an error with its own message, none a panic, a call or a huge allocation.

use crate::support::{data, toy};
use circuit_format::{PtGraph, PtLimit, pt_size, read_pt, read_safetensors, write_pt, write_safetensors};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::LazyLock;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

const LIMIT: PtLimit = PtLimit(1 << 20);

/// The toy's file, written once.
fn safetensors_bytes() -> Vec<u8> {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph.safetensors");
        write_safetensors(&path, &toy()).unwrap();
        fs::read(path).unwrap()
    });
    BYTES.clone()
}

fn read_safetensors_bytes(bytes: &[u8]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.safetensors");
    fs::write(&path, bytes).unwrap();
    read_safetensors(&path).map(|_| ()).map_err(|e| e.to_string())
}

/// The toy's file with another header.
fn with_header(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let bytes = safetensors_bytes();
    let end = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let mut header: Value = serde_json::from_slice(&bytes[8..end]).unwrap();
    change(&mut header);
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[end..]].concat()
}

#[test]
fn damaged_safetensors_headers_are_refused_by_name() {
    let metadata =
        |key: &'static str, value: &'static str| with_header(|h| h["__metadata__"][key] = json!(value));
    let cases = [
        (
            with_header(|h| h["rows"]["dtype"] = json!("F16")),
            "tensor `rows`: expected F32 of shape [4, 11], found F16",
        ),
        (
            with_header(|h| h["rows"]["shape"] = json!([11, 4])),
            "tensor `rows`: expected F32 of shape [4, 11]",
        ),
        (with_header(|h| h["rows"]["shape"] = json!([4u64 << 60, 11])), "tensor `rows`"),
        (with_header(|h| h["rows"]["shape"] = json!([-4, 11])), "safetensors header"),
        (with_header(|h| h["selected_features"]["shape"] = json!([u64::MAX])), "tensor `selected_features`"),
        (with_header(|h| h["activation_values"]["shape"] = json!([])), "tensor `activation_values`"),
        (with_header(|h| h["activation_values"]["shape"] = json!([2])), "tensor `activation_values`"),
        (with_header(|h| h["input_tokens"]["data_offsets"] = json!([0, 24])), "without gap or overlap"),
        (with_header(|h| h["rows"]["data_offsets"][1] = json!(u64::MAX)), "the file is cut off"),
        (
            with_header(|h| _ = h.as_object_mut().unwrap().remove("rows")),
            "tensors: expected 148 bytes in all, found 324",
        ),
        (
            with_header(|h| {
                let rows = h.as_object_mut().unwrap().remove("rows").unwrap();
                h["lines"] = rows;
            }),
            "tensor `rows`: expected such a tensor, found only activation_values",
        ),
        (with_header(|h| *h = json!([])), "safetensors header"),
        (with_header(|h| h["__metadata__"] = json!({})), "metadata `format`"),
        (metadata("format", "pt"), "metadata `format`: expected `circuit-tracer graph`, found `pt`"),
        (metadata("format_version", "2"), "metadata `format_version`: expected `1`, found `2`"),
        (metadata("token_strings", "[1]"), "metadata `token_strings`"),
        (metadata("token_strings", "[]"), "tensor `input_tokens`"),
        (metadata("target_labels", "[\"a\"]"), "tensor `target_token_ids`"),
        (metadata("model", "{}"), "metadata `model`"),
        (
            with_header(|h| {
                let model = h["__metadata__"]["model"]
                    .as_str()
                    .unwrap()
                    .replace("\"n_layers\":2", "\"n_layers\":4294967295");
                h["__metadata__"]["model"] = json!(model);
            }),
            "tensor `rows`",
        ),
    ];
    for (bytes, message) in cases {
        let error = read_safetensors_bytes(&bytes).unwrap_err();
        assert!(error.contains("hostile.safetensors") && error.contains(message), "{error}\nlacks {message}");
    }
    let absurd = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert!(read_safetensors_bytes(&absurd).unwrap_err().contains("a claim of 18446744073709551615"));
    assert!(read_safetensors_bytes(b"").unwrap_err().contains("at least 8 bytes"));
}

#[test]
fn safetensors_cut_off_anywhere_are_refused() {
    let bytes = safetensors_bytes();
    for len in 0..bytes.len() {
        assert!(read_safetensors_bytes(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
    }
    assert!(read_safetensors_bytes(&[&bytes[..], b"x"].concat()).is_err());
}

#[test]
fn safetensors_with_impossible_values_are_refused() {
    let bytes = safetensors_bytes();
    let body = bytes.len() - 324;
    for (at, value, message) in [
        (0, -1i64, "tensor `active_features` entry 0: expected an index of 32 bits, found -1"),
        (0, 7, "active_features"),
        (72, 1 << 40, "tensor `selected_features` entry 0"),
        (72, 3, "selected_features"),
    ] {
        let mut bytes = bytes.clone();
        bytes[body + at..body + at + 8].copy_from_slice(&value.to_le_bytes());
        let error = read_safetensors_bytes(&bytes).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    let mut bytes = bytes;
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(read_safetensors_bytes(&bytes).unwrap_err().contains("entry (3, 10) is not finite"));
}

/// The entries of a `.pt`, without their folder.
fn pt_entries(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut zip = ZipArchive::new(File::open(path).unwrap()).unwrap();
    let mut entries = Vec::new();
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        entries.push((entry.name().unwrap().split_once('/').unwrap().1.to_owned(), bytes));
    }
    entries
}

fn toy_entries() -> Vec<(String, Vec<u8>)> {
    static ENTRIES: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph.pt");
        write_pt(&path, &toy(), LIMIT).unwrap();
        pt_entries(&path)
    });
    ENTRIES.clone()
}

/// Reads a zip with right checksums around whatever the entries are.
fn read_entries(entries: &[(String, Vec<u8>)]) -> Result<PtGraph, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.pt");
    let mut zip = ZipWriter::new(File::create(&path).unwrap());
    for (name, bytes) in entries {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        zip.start_file(format!("g/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    read_pt(&path, LIMIT).map_err(|e| e.to_string())
}

fn read_pickle(pickle: &[u8]) -> String {
    read_entries(&[("data.pkl".into(), pickle.into())]).unwrap_err()
}

/// The toy's entries with one of them changed.
fn changed(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<(String, Vec<u8>)> {
    let mut entries = toy_entries();
    change(&mut entries.iter_mut().find(|(n, _)| n == name).unwrap().1);
    entries
}

fn replace(bytes: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    bytes.splice(at..at + from.len(), to.iter().copied());
}

#[test]
fn a_pickle_that_calls_is_refused_and_not_run() {
    assert_eq!(read_entries(&toy_entries()).unwrap().graph, toy(), "the unchanged entries read");
    for (pickle, name) in [
        (&b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R."[..], "os.system"),
        (b"\x80\x02cbuiltins\neval\nX\x01\0\0\x001\x85R.", "builtins.eval"),
        (b"\x80\x02ctorch\nload\n)R.", "torch.load"),
        (b"\x80\x02ctorch._utils\n_rebuild_parameter\n)R.", "torch._utils._rebuild_parameter"),
        (b"\x80\x02ccircuit_tracer.graph\nGraph\n)\x81.", "circuit_tracer.graph.Graph"),
    ] {
        let error = read_pickle(pickle);
        assert!(error.contains("hostile.pt") && error.contains(&format!("`{name}`")), "{error}");
        assert!(error.contains("no code is run"), "{error}");
    }
    for (pickle, message) in [
        (&b""[..], "1 more bytes"),
        (b"\x80\x04N.", "protocol 2"),
        (b"\x80\x02i", "instruction 0x69"),
        (b"\x80\x02\x82\x01.", "instruction 0x82"),
        (b"\x80\x02.", "an object on the stack"),
        (b"\x80\x02N(.", "an object on the stack"),
        (b"\x80\x02Nt.", "an open mark"),
        (b"\x80\x02h\x07.", "remembered object 7"),
        (b"\x80\x02X\xff\xff\xff\xffabc", "4294967295 more bytes"),
        (b"\x80\x02X\x01\0\0\0\xff.", "UTF-8"),
        (b"\x80\x02\x8a\x0a0123456789.", "integers of 64 bits"),
        (b"\x80\x02K\x01K\x02s.", "an object on the stack"),
        (b"\x80\x02NK\x01K\x02s.", "a dictionary to fill, found nothing"),
        (b"\x80\x02}(K\x01u.", "keys with values"),
        (b"\x80\x02N)R.", "a call of nothing"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.", "a call of the class OrderedDict"),
        (b"\x80\x02K\x01.", "a dictionary, found an integer"),
        (b"\x80\x02}.", "logit_targets"),
        (b"\x80\x02NQ.", "persistent id: expected a tuple, found nothing"),
        (b"\x80\x02)Q.", "persistent id"),
    ] {
        let error = read_pickle(pickle);
        assert!(error.contains("hostile.pt"), "{error}");
        assert!(error.contains(message), "{error}\nlacks {message}");
    }
}

#[test]
fn a_pickle_that_holds_itself_or_never_ends_is_refused() {
    // A dictionary that is its own value, and a list of itself as targets.
    assert!(read_pickle(b"\x80\x02}q\0X\x01\0\0\0ah\0s.").contains("logit_targets"));
    let error = read_pickle(b"\x80\x02}X\x0d\0\0\0logit_targets]q\0h\0as.");
    assert!(error.contains("a list of LogitTarget, found a list"), "{error}");
    let endless = [&b"\x80\x02"[..], &vec![b'N'; 5_000_000], b"."].concat();
    assert!(read_pickle(&endless).contains("at most 4000000 instructions"));
    let large = [&b"\x80\x02"[..], &vec![b'N'; 65 << 20]].concat();
    assert!(read_pickle(&large).contains("at most 67108864 bytes"));
}

#[test]
fn a_square_that_is_no_graph_is_refused() {
    let n = 13;
    for (row, column, message) in [
        (
            2,
            0,
            "row 2 (Error(Layer(0), Pos(0))), column 0: expected zero, since nothing is read there, found 0.5",
        ),
        (10, 12, "row 10 (Token(Pos(2))), column 12"),
        (0, 12, "row 0 (Feature(0)), column 12"),
    ] {
        let at = 4 * (row * n + column);
        let entries = changed("data/0", |bytes| bytes[at..at + 4].copy_from_slice(&0.5f32.to_le_bytes()));
        let error = read_entries(&entries).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    let cut = changed("data/0", |bytes| bytes.truncate(600));
    assert!(read_entries(&cut).unwrap_err().contains("expected 676 bytes, found 600"));
    let unfit = changed("data/5", |bytes| bytes[..4].copy_from_slice(&f32::INFINITY.to_le_bytes()));
    assert!(read_entries(&unfit).unwrap_err().contains("activation_values"));
}

#[test]
fn dictionaries_that_are_no_graph_are_refused() {
    let text = |s: &str| [&b"X"[..], &u32::try_from(s.len()).unwrap().to_le_bytes(), s.as_bytes()].concat();
    let field = |key: &str, value: &[u8]| [&text(key)[..], value].concat();
    let cases: [(Vec<u8>, Vec<u8>, &str); 7] = [
        (field("n_layers", b"K\x02"), field("n_layers", b"J\xff\xff\xff\x7f"), "number of nodes"),
        (field("n_layers", b"K\x02"), field("n_layers", b"J\xff\xff\xff\xff"), "n_layers: expected a number"),
        (field("n_layers", b"K\x02"), field("n_layers", b"K\x03"), "adjacency_matrix: expected 16 x 16"),
        (text("input_tokens"), text("input_tokans"), "input_tokens: expected a tensor, found no such entry"),
        (text("activation_values"), text("activation_walues"), "activation_values"),
        (b"tQK\0(K\x03t".into(), b"tQK\x01(K\x03t".into(), "a view of 3 numbers"),
        (text("scan"), field("scan", b"K\x01") /* the real value becomes a key */, "keys with values"),
    ];
    for (from, to, message) in cases {
        let entries = changed("data.pkl", |bytes| replace(bytes, &from, &to));
        let error = read_entries(&entries).unwrap_err();
        assert!(error.contains(message), "{error}\nlacks {message}");
    }
    let mut entries = toy_entries();
    entries.retain(|(name, _)| name != "data/3");
    assert!(read_entries(&entries).unwrap_err().contains("data/3"));
    entries.retain(|(name, _)| name != "data.pkl");
    assert!(read_entries(&entries).unwrap_err().contains("an entry <folder>/data.pkl"));
    let big = changed("byteorder", |bytes| *bytes = b"big".into());
    assert!(read_entries(&big).unwrap_err().contains("expected little, found big"));
    let strings = changed("extra/circuit_tracer_token_strings.json", |bytes| *bytes = b"[]".into());
    assert!(read_entries(&strings).unwrap_err().contains("a text for each of 3 tokens"));
    // One number that is said to be nine, by strides of zero.
    let mut repeated = changed("data.pkl", |bytes| {
        replace(bytes, b"cpuK\x09tQK\0(K\x03K\x03t(K\x03K\x01t", b"cpuK\x01tQK\0(K\x03K\x03t(K\0K\0t");
    });
    repeated.iter_mut().find(|(name, _)| name == "data/1").unwrap().1.truncate(8);
    assert!(read_entries(&repeated).unwrap_err().contains("active_features: expected a view of 1 numbers"));
    // A tensor that claims more than the limit, in an entry that packs well.
    let mut bomb = changed("data.pkl", |bytes| {
        replace(
            bytes,
            b"FloatStorage\nX\x01\0\0\x005X\x03\0\0\0cpuK\x03t",
            b"FloatStorage\nX\x01\0\0\x005X\x03\0\0\0cpuJ\0\0\0\x01t",
        );
    });
    bomb.iter_mut().find(|(name, _)| name == "data/5").unwrap().1 = vec![0; 64 << 20];
    assert!(read_entries(&bomb).unwrap_err().contains("at most 1048576 bytes, the limit of a .pt"));
}

/// Python's graphs of bf16 models have other types of numbers, and some name no type at all.
#[test]
fn other_types_of_numbers_read() {
    let mut half = changed("data.pkl", |bytes| {
        replace(bytes, b"ctorch\nbfloat16\n", b"N");
        replace(bytes, b"FloatStorage\nX\x01\0\0\x005", b"BFloat16Storage\nX\x01\0\0\x005");
    });
    let activations = &mut half.iter_mut().find(|(name, _)| name == "data/5").unwrap().1;
    *activations = [0x3fc0u16, 0x3dcd, 0x4050].iter().flat_map(|h| h.to_le_bytes()).collect();
    let read = read_entries(&half).unwrap().graph;
    assert_eq!((read.activations, &*read.model.dtype), (vec![1.5, 0.100_097_656, 3.25], ""));
}

#[test]
fn a_list_of_transcoder_sets_has_one_stable_name() {
    let list = changed("data.pkl", |bytes| {
        let scan = b"X\x17\0\0\0acme/toy-transcoders@v2";
        replace(bytes, scan, b"](X\x01\0\0\0aX\x01\0\0\0be");
    });
    let read = read_entries(&list).unwrap();
    assert_eq!(read.transcoder_list, ["a", "b"]);
    assert_eq!(read.graph.model.scan, "custom-e61ab31904644883");
}

#[test]
fn no_zip_and_a_zip_cut_off_anywhere_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("graph.pt");
    write_pt(&path, &toy(), LIMIT).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, pt_size(&toy()));
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        assert!(read_pt(&path, LIMIT).is_err(), "{len} of {} bytes", bytes.len());
    }
    fs::write(&path, b"\x80\x02}.").unwrap();
    let error = read_pt(&path, LIMIT).unwrap_err().to_string();
    assert!(error.contains("a zip, as torch.save writes it"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any change of bytes is an error or another graph, never a panic.
    #[test]
    fn changed_bytes_never_panic(at in any::<prop::sample::Index>(), value in any::<u8>(), more in any::<u8>()) {
        let mut bytes = safetensors_bytes();
        let (at, next) = (at.index(bytes.len()), at.index(bytes.len() - 1) + 1);
        (bytes[at], bytes[next]) = (value, more);
        let _ = read_safetensors_bytes(&bytes);
    }

    #[test]
    fn changed_pickles_never_panic(at in any::<prop::sample::Index>(), value in any::<u8>(), more in any::<u8>()) {
        let entries = changed("data.pkl", |bytes| {
            let (at, next) = (at.index(bytes.len()), at.index(bytes.len() - 1) + 1);
            (bytes[at], bytes[next]) = (value, more);
        });
        let _ = read_entries(&entries);
    }

    #[test]
    fn changed_zips_never_panic(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = fs::read(data("llama-clt-relu/graph.pt")).unwrap();
        // The last part holds the central directory; the checksums catch the rest.
        let tail = bytes.len() - 2000;
        let at = tail + at.index(2000);
        bytes[at] = value;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph.pt");
        fs::write(&path, bytes).unwrap();
        let _ = read_pt(&path, LIMIT);
    }
}
