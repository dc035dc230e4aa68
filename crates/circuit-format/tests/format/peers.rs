//! Python's readers open our files. These tests run where Python has the packages, and say so where it has not:
//! `CIRCUIT_TRACER_PYTHON` may name the interpreter.

use crate::support::{Golden, data, toy};
use circuit_format::{PtLimit, read_pt, write_pt, write_safetensors};
use circuit_graph::Graph;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// What the scripts exit with where a package is missing.
const MISSING: i32 = 77;

/// Runs a script; false if it had to be skipped.
fn python(test: &str, script: &str, arguments: &[&OsStr]) -> bool {
    let python = std::env::var_os("CIRCUIT_TRACER_PYTHON").unwrap_or_else(|| "python3".into());
    let output = Command::new(&python).arg("-c").arg(script).args(arguments).output();
    let skip = match &output {
        Ok(output) if output.status.code() == Some(MISSING) => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return true;
        }
        Err(e) => e.to_string(),
    };
    // Straight to the terminal: a test that passes shows no captured output, and this should be seen.
    let _ = writeln!(std::io::stderr(), "skipped {test}: {} has no {skip}", Path::new(&python).display());
    false
}

const OPEN_PT: &str = r"
import sys
try:
    import torch
    from circuit_tracer.graph import Graph
except ImportError as missing:
    print(missing.name)
    sys.exit(77)
ours, raw, again = sys.argv[1:4]
from safetensors import safe_open
import json
graph = Graph.from_pt(ours)
with safe_open(raw, 'pt') as file:
    given = {name: file.get_tensor(name) for name in file.keys()}
    texts = file.metadata()
model = json.loads(texts['model'])
assert graph.input_string == texts['prompt']
assert graph.scan == texts['scan'] and graph.vocab_size == model['tokenizer_vocab']
for key in ('n_layers', 'd_model', 'd_head', 'n_heads', 'd_mlp', 'd_vocab', 'n_key_value_heads'):
    assert getattr(graph.cfg, key) == model[key], key
assert graph.cfg.model_name == model['name'] and graph.cfg.original_architecture == model['architecture']
assert graph.cfg.dtype == getattr(torch, model['dtype'])
assert [t.token_str for t in graph.logit_targets] == json.loads(texts['target_labels'])
for ours_name, name in (('input_tokens', 'input_tokens'), ('active_features', 'active_features'),
                        ('selected_features', 'selected_features'), ('activation_values', 'activation_values'),
                        ('logit_token_ids', 'target_token_ids'), ('logit_probabilities', 'target_probabilities')):
    tensor = getattr(graph, ours_name)
    assert tensor.dtype == given[name].dtype and torch.equal(tensor, given[name]), name
features, (n_rows, sources) = len(given['selected_features']), given['rows'].shape
square = graph.adjacency_matrix
assert square.shape == (sources + n_rows - features,) * 2
reads = torch.cat([torch.arange(features), torch.arange(sources, len(square))])
assert torch.equal(square[reads][:, :sources], given['rows'])
assert square.count_nonzero() == given['rows'].count_nonzero()
assert torch.equal(torch.load(ours, weights_only=False, mmap=True)['adjacency_matrix'], square)
if len(sys.argv) > 4:
    theirs = Graph.from_pt(sys.argv[4])
    assert torch.equal(theirs.adjacency_matrix, square) and theirs.cfg.dtype == graph.cfg.dtype
    assert theirs.logit_targets == graph.logit_targets and theirs.input_string == graph.input_string
    from circuit_tracer.graph import prune_graph
    assert all(torch.equal(a, b) for a, b in zip(prune_graph(theirs), prune_graph(graph)))
graph.to_pt(again)
";

/// Our file opens, is the same graph there, and what Python writes again is the same graph here.
fn opens_in_python(graph: &Graph, theirs: Option<&Path>) {
    let folder = tempfile::tempdir().unwrap();
    let [ours, raw, again] = ["ours.pt", "raw.safetensors", "again.pt"].map(|name| folder.path().join(name));
    write_pt(&ours, graph, PtLimit(1 << 24)).unwrap();
    write_safetensors(&raw, graph).unwrap();
    let paths = [Some(&*ours), Some(&*raw), Some(&*again), theirs];
    let paths: Vec<_> = paths.into_iter().flatten().map(Path::as_os_str).collect();
    if python("Graph.from_pt on our .pt", OPEN_PT, &paths) {
        let mut read = read_pt(&again, PtLimit(1 << 24)).unwrap();
        assert!(!read.token_strings_known);
        read.graph.token_strings.clone_from(&graph.token_strings);
        assert_eq!(&read.graph, graph);
    }
}

#[test]
fn pythons_circuit_tracer_opens_our_pt() {
    opens_in_python(&toy(), None);
    for name in ["llama-plt-relu", "llama-clt-relu"] {
        let theirs = data(name).join("graph.pt");
        let rows = read_pt(&theirs, PtLimit(1 << 24)).unwrap().graph.rows;
        let golden = Golden::read(&data(name), Some(rows));
        // Python's own reader takes stored entries only.
        let theirs = (name == "llama-plt-relu").then_some(&*theirs);
        opens_in_python(&golden.graph, theirs);
    }
}

#[test]
fn the_reader_for_notebooks_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("graph.safetensors");
    write_safetensors(&path, &toy()).unwrap();
    let script = r#"
import sys
try:
    import numpy, safetensors
except ImportError as missing:
    print(missing.name)
    sys.exit(77)
sys.path.insert(0, sys.argv[1])
from read_graph import read_graph
graph = read_graph(sys.argv[2])
assert graph["rows"].shape == (4, 11) and graph["rows"][1, 0] == 0.5
assert graph["active_features"].tolist() == [[0, 1, 3], [0, 2, 9], [1, 1, 7]]
assert graph["token_strings"] == ["<bos>", "The", ' "sky"\n'] and graph["target_labels"][1] == "日本"
assert graph["prompt"] == '<bos>The "sky"' and graph["model"]["n_layers"] == 2
assert graph["scan"] == "acme/toy-transcoders@v2"
"#;
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    python("python/read_graph.py", script, &[reader.as_os_str(), path.as_os_str()]);
}
