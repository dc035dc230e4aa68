"""Reads the .safetensors form of a graph into a dictionary; needs safetensors and numpy. Usage: read_graph.py FILE"""
import json, sys
from safetensors import safe_open

def read_graph(path):
    with safe_open(path, "np") as file:
        graph = {name: file.get_tensor(name) for name in file.keys()}  # rows[target, source] and the others
        texts = file.metadata()
    parsed = {key: json.loads(texts[key]) for key in ("token_strings", "target_labels", "model")}
    return graph | texts | parsed

if __name__ == "__main__":
    print({key: getattr(value, "shape", value) for key, value in read_graph(sys.argv[1]).items()})
