"""Compares two raw graphs of one prompt: same active features, same chosen ones, same rows. Prints one JSON object.

Not here: what is a small difference; who reads this decides.

    compare.py OURS.safetensors THEIRS.safetensors
"""

import json
import sys

import numpy as np
from safetensors.numpy import load_file

ours, theirs = (load_file(path) for path in sys.argv[1:3])


def chosen(graph):
    """The chosen features as (layer, position, index), in the order of their rows."""
    return [tuple(feature) for feature in graph["active_features"][graph["selected_features"]].tolist()]


def rows(graph, features):
    """Rows and columns of these features alone; errors, tokens and targets whole."""
    place = {feature: i for i, feature in enumerate(chosen(graph))}
    kept = [place[feature] for feature in features]
    n = len(place)
    values = graph["rows"].astype(np.float64)
    row_list = kept + list(range(n, values.shape[0]))
    column_list = kept + list(range(n, values.shape[1]))
    return values[np.ix_(row_list, column_list)]


active = [set(map(tuple, graph["active_features"].tolist())) for graph in (ours, theirs)]
both = sorted(set(chosen(ours)) & set(chosen(theirs)))
a, b = rows(ours, both), rows(theirs, both)
scale = np.maximum(np.abs(b).max(axis=1, keepdims=True), 1.0)
print(
    json.dumps(
        {
            "active_differing": len(active[0] ^ active[1]),
            "chosen": len(chosen(theirs)),
            "chosen_differing": len(set(chosen(ours)) ^ set(chosen(theirs))),
            "rows_largest_difference": float((np.abs(a - b) / scale).max()),
        }
    )
)
