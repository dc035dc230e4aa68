//! Hostile transcoder sets: every layout cut at every boundary, and files that lie about themselves. Each is refused by name.
//!
//! No test compares a time. What a file claims is either more than any machine can hold or read, so that a reader that believes it
//! never comes to an end; or the claimed part is damaged, so that a reader that reads it gives another message.
//!
//! Damaged archives byte by byte: the tests of `circuit-torch`. Configs that say impossible things: `layouts.rs`.

use crate::joint;
use crate::sets::{listing, open, scope_2_layer, scope_2_stack, sparsify};
use crate::tensors::{read, write};
use circuit_model::Model;
use circuit_tests::fixture;
use circuit_transcoder::{Conversion, TranscoderSet};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A set in one of the layouts, its model, and the file to be damaged.
struct Victim {
    layout: &'static str,
    folder: tempfile::TempDir,
    model: Model,
    file: &'static str,
}

fn copied(case: &str, set: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(case).join(set)).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), dir.path().join(entry.unwrap().file_name()));
        if from.is_file() {
            fs::copy(from, to).unwrap();
        } else {
            fs::create_dir(&to).unwrap();
            for file in fs::read_dir(from).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        }
    }
    dir
}

/// A set in each layout of safetensors files.
fn victims() -> Vec<Victim> {
    let plain = |layout, case: &str, file| Victim {
        layout,
        folder: copied(case, "transcoders"),
        model: crate::sets::model(case),
        file,
    };
    let mut victims = vec![
        plain("one file per layer", "llama-plt-skip", "layer_1.safetensors"),
        plain("GemmaScope 2", "gemma3-plt-jumprelu", "layer_1.safetensors"),
        plain("encoder files", "gemma2-clt-jumprelu", "W_enc_1.safetensors"),
        plain("decoder files", "gemma2-clt-jumprelu", "W_dec_1.safetensors"),
    ];
    let made = |layout, case: &str, file, make: &dyn Fn(&Path, usize)| {
        let (folder, model) = (tempfile::tempdir().unwrap(), crate::sets::model(case));
        make(folder.path(), model.spec().n_layers());
        Victim { layout, folder, model, file }
    };
    let clt = "gemma2-clt-jumprelu";
    victims.push(made(
        "GemmaScope 2, cross-layer",
        clt,
        "params_layer_1.safetensors",
        &|folder, n_layers| {
            let config = fixture(clt).join("transcoders/config.yaml");
            fs::copy(config, folder.join("config.yaml")).unwrap();
            for l in 0..n_layers {
                write(&folder.join(format!("params_layer_{l}.safetensors")), &scope_2_layer(clt, l));
            }
        },
    ));
    victims.push(made("GemmaScope 2, stacked", clt, "all.safetensors", &|folder, n_layers| {
        fs::write(folder.join("config.yaml"), listing(clt, &["all.safetensors".into()])).unwrap();
        write(&folder.join("all.safetensors"), &scope_2_stack(clt, n_layers));
    }));
    let plt = "llama-plt-skip";
    victims.push(made("sparsify", plt, "layers.1.mlp/sae.safetensors", &|folder, n_layers| {
        sparsify(plt, folder, n_layers);
    }));
    for (layout, file) in
        [("joint top-k encoders", "W_enc_1.safetensors"), ("joint top-k decoders", "W_dec_1.safetensors")]
    {
        let (folder, model) = (tempfile::tempdir().unwrap(), crate::sets::model(joint::CASE));
        joint::made(folder.path(), &model);
        victims.push(Victim { layout, folder, model, file });
    }
    victims
}

impl Victim {
    fn path(&self) -> PathBuf {
        self.folder.path().join(self.file)
    }

    /// The file with these bytes is refused by a message that says these things: when the set is opened for a model, and when it is
    /// rewritten.
    #[track_caller]
    fn refuses(&self, bytes: &[u8], parts: &[&str], what: &str) {
        fs::write(self.path(), bytes).unwrap();
        let opened = open(self.folder.path(), &self.model).map(drop);
        let opened = opened.expect_err(&format!("{}, {what}", self.layout)).to_string();
        let _ = TranscoderSet::describe(self.folder.path());
        let rewritten = Conversion::open(self.folder.path())
            .and_then(|set| (0..set.n_layers()).try_for_each(|layer| set.layer(layer).map(drop)));
        assert!(rewritten.is_err(), "{}, {what}: rewritten", self.layout);
        let file = self.file.rsplit('/').next().unwrap();
        for part in parts.iter().chain([&file]) {
            assert!(opened.contains(part), "{}, {what}: `{part}` is not in: {opened}", self.layout);
        }
    }
}

/// A file in two parts: what its header says, and the bytes behind.
fn parts(bytes: &[u8]) -> (Map<String, Value>, &[u8]) {
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + len]).unwrap(), &bytes[8 + len..])
}

/// The two put together again.
fn whole(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn every_layout_cut_at_every_boundary() {
    for victim in victims() {
        assert!(open(victim.folder.path(), &victim.model).is_ok(), "{}", victim.layout);
        let good = fs::read(victim.path()).unwrap();
        let (header, data) = parts(&good);
        let begin = good.len() - data.len();
        let ends = header.iter().filter(|(name, _)| *name != "__metadata__").flat_map(|(_, entry)| {
            let offsets = entry["data_offsets"].as_array().unwrap();
            offsets.iter().map(|at| begin + at.as_u64().unwrap() as usize).collect::<Vec<_>>()
        });
        let mut cuts: Vec<_> =
            ends.chain([0, 4, 8, 9, begin / 2, begin - 1, begin, good.len() - 1]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        for cut in cuts.into_iter().filter(|&cut| cut < good.len()) {
            victim.refuses(&good[..cut], &["not a valid safetensors file"], &format!("cut at {cut}"));
        }
        // Nor may anything follow that no tensor owns.
        victim.refuses(&[&good[..], b"more"].concat(), &["not a valid safetensors file"], "longer");
    }
}

#[test]
fn every_layout_with_headers_that_lie() {
    for victim in victims() {
        let good = fs::read(victim.path()).unwrap();
        let (header, data) = parts(&good);
        let names: Vec<_> = header.keys().filter(|name| *name != "__metadata__").collect();
        for &name in &names {
            let with = |key: &str, value: Value| {
                let mut header = header.clone();
                header[name][key] = value;
                whole(&Value::Object(header).to_string(), data)
            };
            let named = format!("`{name}`");
            // The same number of bytes, of another kind; and a kind that there is not.
            victim.refuses(&with("dtype", "I32".into()), &[&named, "I32", "F32"], name);
            victim.refuses(&with("dtype", "Q7".into()), &["not a valid safetensors file"], name);
            // The same number of values in another shape, and absurd ones.
            let shape = header[name]["shape"].as_array().unwrap();
            let flat: u64 = shape.iter().map(|n| n.as_u64().unwrap()).product();
            victim.refuses(&with("shape", json!([1, flat, 1, 1, 1])), &[], name);
            let halves = json!([1_u64 << 32, 1_u64 << 32, flat]);
            for absurd in [json!([u64::MAX, 2]), halves, json!([0]), json!([-1]), json!([[1]]), json!("x")] {
                victim.refuses(&with("shape", absurd), &["not a valid safetensors file"], name);
            }
            // Bytes that belong to others, to nobody, or lie outside.
            let [start, end] = [0, 1].map(|i| header[name]["data_offsets"][i].as_u64().unwrap());
            for (a, b) in [(start + 4, end), (start, end + 4), (end, start), (u64::MAX - 3, u64::MAX), (0, 0)]
            {
                let lie = with("data_offsets", json!([a, b]));
                if (a, b) != (start, end) {
                    victim.refuses(&lie, &["not a valid safetensors file"], name);
                }
            }
        }
        // Names that come twice, things within things, and lengths beyond all sense.
        let text = Value::Object(header.clone()).to_string();
        let first = format!("\"{}\":", names[0]);
        let twice = text.replacen(&first, &format!("{first}{},{first}", header[names[0]]), 1);
        let named = format!("tensor `{}` is there twice", names[0]);
        victim.refuses(&whole(&twice, data), &[&named], "a name that comes twice");
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        victim.refuses(&whole(&deep, data), &["not a valid safetensors file"], "depth");
        for len in [u64::MAX, 1 << 40, 99_999_999, good.len() as u64 - 7] {
            let lie = [&len.to_le_bytes(), &good[8..]].concat();
            victim.refuses(&lie, &["its header claims"], "the header's length");
        }
        victim.refuses(&whole("[]", data), &["not a valid safetensors file"], "no object");
        victim.refuses(b"PK\x03\x04 and then nothing", &["not a valid npz file"], "no zip");
    }
}

#[test]
fn vectors_that_are_no_numbers() {
    for victim in victims() {
        let good = read(&victim.path());
        for (name, tensor) in &good {
            // Matrices are looked at when they are used.
            let n_dims = if victim.layout.ends_with("stacked") { 2 } else { 1 };
            let skip = name.contains("skip");
            if tensor.dim() != n_dims && !skip {
                continue;
            }
            for value in [f64::NAN, f64::INFINITY] {
                let mut bad = tensor.contiguous().copy();
                let _ = bad.view(-1).get(-1).fill_(value);
                bad = bad.contiguous();
                let tensors = good.iter().map(|(n, t)| (n.clone(), t.shallow_clone()));
                let tensors = tensors.chain([(name.clone(), bad)]).collect();
                write(&victim.path(), &tensors);
                let opened = open(victim.folder.path(), &victim.model);
                if name.contains("threshold") && value.is_infinite() {
                    assert!(opened.is_ok(), "a threshold of infinity switches a feature off");
                    continue;
                }
                let message = opened.map(drop).unwrap_err().to_string();
                assert!(message.contains(&format!("`{name}` holds NaN or infinity")), "{message}");
            }
        }
    }
}

/// A deflated archive of arrays of fp32: names, shapes, and how many bytes of zeros follow.
fn npz(arrays: &[(&str, Vec<i64>, u64)]) -> Vec<u8> {
    npz_of("<f4", arrays)
}

fn npz_of(dtype: &str, arrays: &[(&str, Vec<i64>, u64)]) -> Vec<u8> {
    use std::io::{Cursor, Write};
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, shape, n_zeros) in arrays {
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .large_file(true);
        zip.start_file(format!("{name}.npy"), options).unwrap();
        let shape: Vec<_> = shape.iter().map(i64::to_string).collect();
        let text =
            format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({},), }}\n", shape.join(", "));
        zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
        zip.write_all(&(text.len() as u16).to_le_bytes()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
        let piece = vec![0; 1 << 16];
        let mut left = *n_zeros;
        while left > 0 {
            let n = left.min(piece.len() as u64);
            zip.write_all(&piece[..n as usize]).unwrap();
            left -= n;
        }
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn archives_that_swell() {
    let case = "gemma2-plt-jumprelu";
    let folder = copied(case, "transcoders_npz");
    let config = fs::read_to_string(folder.path().join("config.yaml")).unwrap();
    let file = config.lines().filter_map(|line| line.strip_prefix("- ")).nth(1).unwrap().to_owned();
    let model = crate::sets::model(case);
    let d = model.spec().d_model as i64;
    let refuses = |bytes: &[u8], parts: &[&str]| {
        fs::write(folder.path().join(&file), bytes).unwrap();
        let message = open(folder.path(), &model).map(drop).unwrap_err().to_string();
        let rewritten = Conversion::open(folder.path()).and_then(|set| set.layer(1).map(drop));
        assert!(rewritten.is_err());
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    // A reader that unpacks the large array finds the damage in its middle, and says that instead.
    let damaged = |mut bytes: Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        bytes
    };
    // 256 MiB in 256 KiB, where an array of a few numbers should be: it is not unpacked to be refused.
    let large = 1_i64 << 26;
    let small = |name, shape: &[i64]| (name, shape.to_vec(), 4 * shape.iter().product::<i64>() as u64);
    let swollen = |which: &str| {
        let of = |name, shape: &[i64]| match name == which {
            true => small(name, &[large]),
            false => small(name, shape),
        };
        npz(&[
            of("W_enc", &[d, 8]),
            of("W_dec", &[8, d]),
            of("b_enc", &[8]),
            of("b_dec", &[d]),
            of("threshold", &[8]),
        ])
    };
    assert!({
        fs::write(folder.path().join(&file), swollen("")).unwrap();
        open(folder.path(), &model).is_ok()
    });
    for name in ["W_enc", "W_dec", "b_enc", "b_dec", "threshold"] {
        refuses(&damaged(swollen(name)), &["has shape", "expected"]);
    }
    // A header that claims what is not behind it, and one that hides what is.
    let lies = |shape: Vec<i64>, n_zeros| {
        npz(&[
            ("W_enc", shape, n_zeros),
            small("W_dec", &[8, d]),
            small("b_enc", &[8]),
            small("b_dec", &[d]),
            small("threshold", &[8]),
        ])
    };
    refuses(&lies(vec![d, 8], 4 * 8 * d as u64 - 4), &["`W_enc`", "the entry has"]);
    refuses(&damaged(lies(vec![d, 8], 1 << 26)), &["`W_enc`", "the entry has"]);
    refuses(&lies(vec![4_294_967_295; 3], 64), &["`W_enc`", "absurd"]);
    // Another kind of number.
    let good = [
        small("W_enc", &[d, 8]),
        small("W_dec", &[8, d]),
        small("b_enc", &[8]),
        small("b_dec", &[d]),
        small("threshold", &[8]),
    ];
    for other in ["<i4", ">f4", "|O"] {
        refuses(&npz_of(other, &good), &["`W_enc`", other, "expected F32"]);
    }
}

#[test]
fn configs_that_swell() {
    let case = "llama-plt-relu";
    let (folder, model) = (copied(case, "transcoders"), crate::sets::model(case));
    let path = folder.path().join("config.yaml");
    let good = fs::read_to_string(&path).unwrap();
    let refuses = |text: &str, parts: &[&str]| {
        fs::write(&path, text).unwrap();
        let message = open(folder.path(), &model).map(drop).unwrap_err().to_string();
        assert!(message.len() < 500 && message.contains("config.yaml"), "{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    // Each line is ten times the one before: 10^29 values, if they are written out.
    let laughs = (1..30).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    let laughs = format!("a0: &a0 [x]\n{}", laughs.collect::<String>());
    refuses(&format!("{laughs}{good}"), &[]);
    refuses(&format!("{good}\ntranscoders: {}{}\n", "[".repeat(50_000), "]".repeat(50_000)), &[]);
    refuses(&format!("{good}\nmodel_kind: transcoder_set\n"), &["model_kind"]);
    refuses(&format!("{good}\n# {}\n", "x".repeat(1 << 20)), &["1048576"]);
    refuses(&format!("{good}\nk: 99999999999999999999999\nactivation: topk\n"), &[]);
    refuses("\u{0}\u{1}", &[]);
    fs::write(&path, b"\xff\xfe").unwrap();
    assert!(open(folder.path(), &model).map(drop).unwrap_err().to_string().contains("config.yaml"));
    // A number of layers beyond all sense, and a folder where a file should be.
    fs::write(&path, good).unwrap();
    fs::write(folder.path().join(format!("layer_{}.safetensors", u64::MAX)), b"").unwrap();
    let message = TranscoderSet::describe(folder.path()).map(drop).unwrap_err().to_string();
    assert!(message.contains("layer_4.safetensors is missing"), "{message}");
    fs::remove_file(folder.path().join(format!("layer_{}.safetensors", u64::MAX))).unwrap();
    fs::remove_file(folder.path().join("layer_0.safetensors")).unwrap();
    fs::create_dir(folder.path().join("layer_0.safetensors")).unwrap();
    assert!(open(folder.path(), &model).is_err());
}
