"""Cuts cases of the golden folder down to what tests of this crate need.

    python3 make.py GOLDEN_FOLDER OUTPUT_FOLDER CASE...

Each case becomes CASE.json (sizes, features, target weights, what the reference pruned, scored and selected) and
CASE.rows: for each row of the adjacency matrix that can differ from zero (features, then targets) first a bit for
each source that says whether it does (lowest bit first, whole bytes), then those float32 values, little-endian.
Needs no packages. The committed cases: llama-plt-relu gpt2-plt-relu qwen3-plt-topk gemma2-clt-jumprelu.
"""

import json
import struct
import sys
from array import array
from pathlib import Path


def read_safetensors(path):
    """name -> (shape, flat array)"""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    codes = {"F32": "f", "I64": "q", "U8": "B"}
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            values = array(codes[entry["dtype"]])
            values.frombytes(data[8 + length + start : 8 + length + end])
            tensors[name] = (entry["shape"], values)
    return tensors


def pack_rows(matrix, n_nodes, rows, n_sources):
    packed = bytearray()
    for row in rows:
        values = matrix[row * n_nodes : row * n_nodes + n_sources]
        bits = bytearray((n_sources + 7) // 8)
        for i, value in enumerate(values):
            bits[i // 8] |= (value != 0) << i % 8
        packed += bits + array("f", [value for value in values if value != 0]).tobytes()
    return bytes(packed)


def make(folder, out):
    expected = json.loads((folder / "expected.json").read_text())
    tensors = read_safetensors(folder / "expected.safetensors")
    n_positions = len(tensors["input_ids"][1])
    n_layers = tensors["feature_input"][0][0]
    flat = tensors["active_features"][1].tolist()
    features = [flat[i : i + 3] for i in range(0, len(flat), 3)]
    assert tensors["selected_features"][1].tolist() == list(range(len(features)))
    weights = tensors["logit_probabilities"][1].tolist()
    n_sources = len(features) + n_layers * n_positions + n_positions
    n_nodes = n_sources + len(weights)
    rows = [*range(len(features)), *range(n_sources, n_nodes)]

    prunes = []
    for i, settings in enumerate(expected.get("prune", [])):
        edges = tensors[f"prune{i}.edge_mask"][1]
        node_mask = tensors[f"prune{i}.node_mask"][1]
        prunes.append(
            {
                "node_threshold": settings["node_threshold"],
                "edge_threshold": settings["edge_threshold"],
                "nodes": [n for n in range(n_nodes) if node_mask[n]],
                # Row and column in turn.
                "edges": [x for at in range(n_nodes**2) if edges[at] for x in divmod(at, n_nodes)],
                "cumulative": tensors[f"prune{i}.cumulative_scores"][1].tolist(),
            }
        )
    limited = None
    if "limited.selected_features" in tensors:
        limited = {**expected["limited_args"], "selected": tensors["limited.selected_features"][1].tolist()}
    case = {
        "n_layers": n_layers,
        "n_positions": n_positions,
        "features": features,
        "weights": weights,
        "replacement_score": expected.get("replacement_score"),
        "completeness_score": expected.get("completeness_score"),
        "prune": prunes,
        "limited": limited,
    }
    name = folder.resolve().name
    (out / f"{name}.json").write_text(json.dumps(case, separators=(",", ":")) + "\n")
    (out / f"{name}.rows").write_bytes(pack_rows(tensors["adjacency_matrix"][1], n_nodes, rows, n_sources))


if __name__ == "__main__":
    for case in sys.argv[3:]:
        make(Path(sys.argv[1]) / case, Path(sys.argv[2]))
