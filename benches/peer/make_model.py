"""Writes what both programs trace: a random checkpoint of Qwen3's form, a per-layer transcoder set, and a prompt.

Sizes are those of the shape `bench` (crates/circuit-bench/src/shapes.rs). Encoder rows have unit length and read inputs of unit
variance, so the bias sets how many features are active. Not here: any measuring.

    make_model.py FOLDER [--tokens 24] [--seed 0]
"""

import argparse
import json
from pathlib import Path
from statistics import NormalDist

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

LAYERS, D_MODEL, HEADS, KV_HEADS, D_HEAD, D_MLP, VOCAB, FEATURES, ACTIVE = 12, 512, 8, 4, 64, 1536, 8192, 8192, 50

arguments = argparse.ArgumentParser()
arguments.add_argument("folder", type=Path)
arguments.add_argument("--tokens", type=int, default=24)
arguments.add_argument("--seed", type=int, default=0)
options = arguments.parse_args()
random = np.random.default_rng(options.seed)


def normal(rows, columns, gain=1.0):
    """A matrix that keeps the variance of what it is multiplied with, times gain squared."""
    return random.standard_normal((rows, columns), dtype=np.float32) * np.float32(gain / columns**0.5)


def ones(size):
    return np.ones(size, dtype=np.float32)


def write_model(folder):
    weights = {
        "model.embed_tokens.weight": normal(VOCAB, D_MODEL, D_MODEL**0.5),
        "lm_head.weight": normal(VOCAB, D_MODEL, 2.0),
        "model.norm.weight": ones(D_MODEL),
    }
    for layer in range(LAYERS):
        parts = {
            "input_layernorm": ones(D_MODEL),
            "post_attention_layernorm": ones(D_MODEL),
            "self_attn.q_norm": ones(D_HEAD),
            "self_attn.k_norm": ones(D_HEAD),
            "self_attn.q_proj": normal(HEADS * D_HEAD, D_MODEL),
            "self_attn.k_proj": normal(KV_HEADS * D_HEAD, D_MODEL),
            "self_attn.v_proj": normal(KV_HEADS * D_HEAD, D_MODEL),
            "self_attn.o_proj": normal(D_MODEL, HEADS * D_HEAD, 0.5),
            "mlp.gate_proj": normal(D_MLP, D_MODEL),
            "mlp.up_proj": normal(D_MLP, D_MODEL),
            "mlp.down_proj": normal(D_MODEL, D_MLP, 0.5),
        }
        weights |= {f"model.layers.{layer}.{name}.weight": part for name, part in parts.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "num_hidden_layers": LAYERS,
        "hidden_size": D_MODEL,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": D_HEAD,
        "intermediate_size": D_MLP,
        "vocab_size": VOCAB,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": VOCAB - 1,
        "eos_token_id": VOCAB - 1,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    words = {f"w{i}": i for i in range(VOCAB - 1)} | {"<end>": VOCAB - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    naming = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>", "pad_token": "<end>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(naming))


def write_transcoders(folder):
    bias = np.float32(NormalDist().inv_cdf(ACTIVE / FEATURES))
    for layer in range(LAYERS):
        encoder = normal(FEATURES, D_MODEL)
        encoder /= np.linalg.norm(encoder, axis=1, keepdims=True)
        parts = {
            "W_enc": encoder,
            "W_dec": normal(FEATURES, D_MODEL, 0.3),
            "b_enc": np.full(FEATURES, bias),
            "b_dec": np.zeros(D_MODEL, dtype=np.float32),
        }
        save_file(parts, folder / f"layer_{layer}.safetensors")
    hooks = "feature_input_hook: mlp.hook_in\nfeature_output_hook: mlp.hook_out\n"
    (folder / "config.yaml").write_text(f"model_kind: transcoder_set\nmodel_name: bench\nscan: bench\n{hooks}")


for part, write in [("model", write_model), ("transcoders", write_transcoders)]:
    (options.folder / part).mkdir(parents=True, exist_ok=True)
    write(options.folder / part)
prompt = " ".join(f"w{i}" for i in random.integers(0, VOCAB - 1, options.tokens - 1))
(options.folder / "prompt.txt").write_text(prompt)
