#!/usr/bin/env python3
"""Makes the fixtures beside this file from the golden cases: make.py GOLDEN_FOLDER [OUTPUT_FOLDER [CASE...]]

Needs numpy and safetensors. Indices stand in place of masks, and sums of rows in place of the matrix where the case has
a graph.pt; otherwise the rows themselves (of the cases given by name, for a larger check than the committed fixtures).
"""
import json, shutil, sys, zipfile
from pathlib import Path
import numpy as np
from safetensors.numpy import load_file, save_file

golden = Path(sys.argv[1])
out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent
cases = sys.argv[3:] or ["llama-plt-relu", "llama-clt-relu"]

for case in cases:
    source, folder = golden / case, out / case
    folder.mkdir(parents=True, exist_ok=True)
    info = json.loads((source / "expected.json").read_text())
    t = load_file(source / "expected.safetensors")
    cfg = info["graph_cfg"]
    features, targets = len(t["selected_features"]), len(t["logit_token_ids"])
    sources = features + (cfg["n_layers"] + 1) * len(t["input_ids"])
    reads = np.r_[0:features, sources : sources + targets]  # nodes that have a row
    rows = t["adjacency_matrix"][reads][:, :sources].astype(np.float64)
    edges = np.argwhere(t["prune0.edge_mask"][reads][:, :sources])
    same = ["active_features", "activation_values", "selected_features", "input_ids", "logit_token_ids"]
    small = {name: t[name] for name in [*same, "logit_probabilities", "prune0.node_mask", "prune0.cumulative_scores"]}
    small |= {"prune0.edges": edges.astype(np.int32), "row_sums": rows.sum(1), "row_sizes": np.abs(rows).sum(1)}
    if not (source / "graph.pt").exists():
        small["rows"] = rows.astype(np.float32)
    save_file({name: np.ascontiguousarray(value) for name, value in small.items()}, folder / "expected.safetensors")
    keys = ["input_string", "token_strings", "scan", "model_name", "graph_cfg", "graph_vocab_size"]
    kept = {key: info[key] for key in keys} | {"node_threshold": info["prune"][0]["node_threshold"]}
    kept["target_labels"] = [target["token"] for target in info["logit_targets"]]
    (folder / "expected.json").write_text(json.dumps(kept, indent=1) + "\n")
    shutil.copyfile(source / "graph.json", folder / "graph.json")
    if case == "llama-clt-relu":  # packed, as a reader must also expect
        with zipfile.ZipFile(source / "graph.pt") as given, zipfile.ZipFile(folder / "graph.pt", "w") as packed:
            for entry in given.infolist():
                name = zipfile.ZipInfo(entry.filename)
                packed.writestr(name, given.read(entry), zipfile.ZIP_DEFLATED, 9)
    elif (source / "graph.pt").exists():
        shutil.copyfile(source / "graph.pt", folder / "graph.pt")

if not sys.argv[3:]:  # two nodes of one id: an error in the older form and a feature
    (out / "qwen3-plt-topk").mkdir(exist_ok=True)
    shutil.copyfile(golden / "qwen3-plt-topk/graph.json", out / "qwen3-plt-topk/graph.json")
