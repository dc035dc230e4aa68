"""Traces the prompt of a folder of make_model.py with the Python circuit-tracer, and tells how long each phase took and the most memory.

Prints one JSON object. With --out the rows go into a file in the form of our raw graphs, to be compared. Not here: our program.

    trace.py FOLDER --rows 1024 --batch 256 [--threads 2] [--out theirs.safetensors]
"""

import argparse
import json
import logging
import os
import re
import resource
import time
from pathlib import Path
from unittest import mock

os.environ["HF_HUB_OFFLINE"] = "1"

arguments = argparse.ArgumentParser()
arguments.add_argument("folder", type=Path)
arguments.add_argument("--rows", type=int, required=True)
arguments.add_argument("--batch", type=int, required=True)
arguments.add_argument("--targets", type=int, default=3)
arguments.add_argument("--threads", type=int, default=2)
arguments.add_argument("--out", type=Path)
options = arguments.parse_args()

import torch  # noqa: E402  (after the environment is set)
import transformer_lens.loading_from_pretrained as lens  # noqa: E402
from circuit_tracer import attribute  # noqa: E402
from circuit_tracer.replacement_model import replacement_model_transformerlens as backend  # noqa: E402
from circuit_tracer.utils import hf_utils  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

# What stands in for the hub's name: any model of this form that the library knows.
KNOWN_NAME = "Qwen/Qwen3-0.6B"

torch.set_num_threads(options.threads)
start = time.perf_counter()
model_folder = str((options.folder / "model").resolve())
set_folder = (options.folder / "transcoders").resolve()
# Sets come from the hub alone: let the two calls that reach it end in the folder.
with (
    mock.patch.object(hf_utils, "hf_hub_download", lambda *_, filename, **__: str(set_folder / filename)),
    mock.patch.object(hf_utils, "snapshot_download", lambda *_, **__: str(set_folder)),
):
    transcoders, _ = hf_utils.load_transcoder_from_hub(
        "bench/bench", device=torch.device("cpu"), dtype=torch.float32, lazy_decoder=False
    )
checkpoint = AutoModelForCausalLM.from_pretrained(model_folder, attn_implementation="eager", dtype=torch.float32)
sizes = lens.convert_hf_model_config(model_folder) | {"tokenizer_name": model_folder}
with mock.patch.object(lens, "convert_hf_model_config", lambda *_, **__: dict(sizes)):
    model = backend.TransformerLensReplacementModel.from_pretrained_and_transcoders(
        KNOWN_NAME,
        transcoders,
        hf_model=checkpoint.eval(),
        tokenizer=AutoTokenizer.from_pretrained(model_folder),
        device="cpu",
        dtype=torch.float32,
    )
load = time.perf_counter() - start

# The library tells how long its phases took in its log alone.
phases = {}


def listen(record):
    told = re.fullmatch(r"(\w[\w ]*) (?:completed|built) in ([\d.]+)s", record.getMessage())
    if told:
        phases[told[1]] = float(told[2])
    return False


# A filter, since a handler of ours would make the library silent.
logging.getLogger("attribution").addFilter(listen)
start = time.perf_counter()
graph = attribute(
    (options.folder / "prompt.txt").read_text(),
    model,
    max_n_logits=options.targets,
    batch_size=options.batch,
    max_feature_nodes=options.rows,
    verbose=True,
)
whole = time.perf_counter() - start

if options.out:
    from safetensors.torch import save_file

    kept, targets = len(graph.selected_features), len(graph.logit_probabilities)
    square = graph.adjacency_matrix
    rows = torch.cat([square[:kept], square[-targets:]])[:, : square.shape[1] - targets]
    parts = {
        "rows": rows,
        "active_features": graph.active_features,
        "activation_values": graph.activation_values.float(),
        "selected_features": graph.selected_features,
        "target_probabilities": graph.logit_probabilities,
    }
    save_file({name: part.contiguous() for name, part in parts.items()}, options.out)

print(
    json.dumps(
        {
            "load": load,
            "attribute": whole,
            "rows": phases["Logit attributions"] + phases["Feature attributions"],
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    )
)
