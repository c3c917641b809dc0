"""Runs the guard's network in PyTorch (bf16, on the GPU) and sets its figures beside the program's. Called by gpu-check.sh."""

import json
import math
import pathlib
import struct
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

MODEL, WORK = map(pathlib.Path, sys.argv[1:3])
TYPES = {"F32": np.float32, "F16": np.float16, "U8": np.uint8}


def tensors(path):
    """Reads a safetensors file; matrices in bytes are widened as the program widens them."""
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            found[name] = np.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    wide = {}
    for name, values in found.items():
        if name.endswith(".scale"):
            continue
        if values.dtype == np.uint8:
            values = (values.astype(np.float32) - 128.0) * found[name + ".scale"].astype(np.float32)[:, None]
        wide[name.removeprefix("bert.")] = torch.tensor(values.astype(np.float32))
    return wide


class Network:
    """BERT's encoder with the guard's head, written with PyTorch's own fused attention."""

    def __init__(self, device, dtype):
        self.config = json.loads((MODEL / "config.json").read_text())
        self.w = {name: t.to(device, dtype) for name, t in tensors(MODEL / "model.safetensors").items()}
        self.device = device

    def dense(self, x, name):
        return F.linear(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.w[name + ".weight"], self.w[name + ".bias"], self.config.get("layer_norm_eps", 1e-12))

    @torch.inference_mode()
    def run(self, ids):
        count, tokens = ids.shape
        heads, hidden = self.config["num_attention_heads"], self.config["hidden_size"]
        x = F.embedding(ids, self.w["embeddings.word_embeddings.weight"]) + self.w["embeddings.position_embeddings.weight"][:tokens]
        x = self.norm(x, "embeddings.LayerNorm")
        for n in range(self.config["num_hidden_layers"]):
            at = f"encoder.layer.{n}."
            q, k, v = (self.dense(x, f"{at}attention.self.{part}").view(count, tokens, heads, -1).transpose(1, 2) for part in ("query", "key", "value"))
            seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(count, tokens, hidden)
            x = self.norm(self.dense(seen, at + "attention.output.dense") + x, at + "attention.output.LayerNorm")
            fed = self.dense(F.gelu(self.dense(x, at + "intermediate.dense")), at + "output.dense")
            x = self.norm(fed + x, at + "output.LayerNorm")
        pooled = torch.cat([x[:, 0], x.mean(1), x.amax(1)], dim=-1)
        return torch.softmax(self.dense(pooled, "classifier").float(), dim=-1).cpu()


def lines(name):
    return [json.loads(line) for line in (WORK / name).read_text().splitlines() if line.strip()]


def main():
    cpu, gpu = lines("cpu.jsonl"), lines("gpu.jsonl")
    apart = max(abs(a["score"] - b["score"]) for a, b in zip(cpu, gpu, strict=True))
    network = Network(torch.device("cuda:0"), torch.bfloat16)
    vocabulary = network.config["vocab_size"]
    rows, missed = [], []
    for program in lines("program.jsonl"):
        batch = program["batch"]
        ids = torch.randint(10, vocabulary, (batch, program["tokens"]), device="cuda:0")
        for _ in range(5):
            network.run(ids)
        times = []
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            began = time.perf_counter()
            network.run(ids)
            times.append(time.perf_counter() - began)
        torch_rate = batch / float(np.median(times))
        rows.append((batch, program["windows_per_s"], torch_rate, program["windows_per_s"] / torch_rate))
    print(f"| batch of {lines('program.jsonl')[0]['tokens']} tokens | program, windows/s | PyTorch {torch.__version__} bf16, windows/s | ratio |")
    print("|---:|---:|---:|---:|")
    for batch, ours, theirs, ratio in rows:
        print(f"| {batch} | {ours:.0f} | {theirs:.0f} | {ratio:.2f} |")
    best_ours, best_theirs = max(r[1] for r in rows), max(r[2] for r in rows)
    half = lines("half.jsonl")[0]
    wanted = [
        ("CPU and GPU agree to 0.01", apart, apart <= 0.01),
        ("throughput at least PyTorch's", best_ours / best_theirs, best_ours >= best_theirs),
        ("at least 5,000 windows/s", best_ours, best_ours >= 5000),
        ("p99 at half load, ms, at most 10", half["p99_ms"], half["p99_ms"] <= 10),
    ]
    print("\n| wanted | measured | |\n|---|---:|---|")
    for what, value, good in wanted:
        print(f"| {what} | {value:.4g} | {'reached' if good else 'MISSED'} |")
        missed += [] if good else [what]
    sys.exit(1 if missed or math.isnan(apart) else 0)


if __name__ == "__main__":
    main()
