#!/usr/bin/env python3
"""Logits of a GGUF model by a forward pass in float64, apart from the engine: weights through the dequantisers of PyPI `gguf`,
one function per step, no cache.  Needs numpy and gguf.

  forward.py MODEL --tokens 1,2,3 [-c CONTEXT] [--all]     {"logits": [of the last position], "argmax": [per position]}

Architectures: llama, mistral, qwen2, qwen3, phi3, gemma, gemma2, gemma3.  -c is the context a session would be opened with: it
chooses among longrope's factors (default: as many tokens as there are)."""
import argparse
import json
import math

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

HALVES = {"qwen2", "qwen3", "phi3", "gemma", "gemma2", "gemma3"}


class Model:
    def __init__(self, path):
        parts = [path]
        first = GGUFReader(path)
        count = self.field(first, "split.count")
        if count and count > 1:
            parts = [path.replace("-00001-of-", f"-{i + 1:05d}-of-") for i in range(count)]
        self.keys = first
        self.arch = self.field(first, "general.architecture")
        self.tensors = {t.name: t for p in parts for t in GGUFReader(p).tensors}

    @staticmethod
    def field(reader, name):
        f = reader.get_field(name)
        return None if f is None else f.contents()

    def key(self, name, default=None):
        v = self.field(self.keys, f"{self.arch}.{name}")
        return default if v is None else v

    def tensor(self, name):
        t = self.tensors.get(name)
        if t is None:
            return None
        return dequantize(t.data, t.tensor_type).astype(np.float64)

    def layer(self, i, name):
        return self.tensor(f"blk.{i}.{name}")


def rms_norm(x, w, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * w


def soft_cap(x, cap):
    return cap * np.tanh(x / cap) if cap else x


def rotary(m, n, dims, base, n_ctx, local):
    """cos, sin [n][dims/2]"""
    freq = base ** (-2.0 * np.arange(dims // 2) / dims)
    magnitude = 1.0
    if not local:
        kind, factor = m.key("rope.scaling.type", "linear"), m.key("rope.scaling.factor", 0)
        if kind == "linear" and factor:
            freq = freq / factor
        long, short = m.tensor("rope_factors_long.weight"), m.tensor("rope_factors_short.weight")
        original = m.key("rope.scaling.original_context_length", m.key("context_length"))
        for f in (m.tensor("rope_freqs.weight"), None if long is None else long if n_ctx > original else short):
            if f is not None:
                freq = freq / f
        magnitude = m.key("rope.scaling.attn_factor", 1.0)
    angle = np.arange(n)[:, None] * freq[None, :]
    return np.cos(angle) * magnitude, np.sin(angle) * magnitude


def turn(x, cs, dims, halves):
    """x [n][heads][d]"""
    c, s = cs[0][:, None, :], cs[1][:, None, :]
    a, b = (x[..., : dims // 2], x[..., dims // 2: dims]) if halves else (x[..., 0:dims:2], x[..., 1:dims:2])
    y = x.copy()
    if halves:
        y[..., : dims // 2], y[..., dims // 2: dims] = a * c - b * s, b * c + a * s
    else:
        y[..., 0:dims:2], y[..., 1:dims:2] = a * c - b * s, b * c + a * s
    return y


def windowed_layers(m, n_layers, window):
    if not window:
        return [False] * n_layers
    period = m.key("attention.sliding_window_pattern", {"gemma2": 2, "gemma3": 6}.get(m.arch, 0))
    if isinstance(period, list):
        return [bool(x) for x in period]
    return [period == 0 or i % period < period - 1 for i in range(n_layers)]


def linear(m, i, name, x):
    y = x @ m.layer(i, name + ".weight").T
    b = m.layer(i, name + ".bias")
    return y if b is None else y + b


def gated(gate, up, gelu):
    if gelu:
        return 0.5 * gate * (1 + np.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate ** 3))) * up
    return gate / (1 + np.exp(-gate)) * up


def forward(m, ids, n_ctx=None):
    """logits [n][V]"""
    n, arch, gemma = len(ids), m.arch, m.arch.startswith("gemma")
    n_ctx = n_ctx or n
    n_layers, d_model, heads = m.key("block_count"), m.key("embedding_length"), m.key("attention.head_count")
    kv_heads, eps = m.key("attention.head_count_kv", heads), m.key("attention.layer_norm_rms_epsilon")
    d = m.key("attention.key_length", d_model // heads)
    dims, base = m.key("rope.dimension_count", d), m.key("rope.freq_base", 10000.0)
    window = m.key("attention.sliding_window", 4096 if arch == "gemma2" else 0)
    windowed = windowed_layers(m, n_layers, window)
    own_base = m.key("rope.freq_base_swa", 10000.0 if arch == "gemma3" else None)
    cs = {w: rotary(m, n, dims, own_base if w and own_base else base, n_ctx, bool(w and own_base)) for w in (False, True)}
    wide = {"gemma2": 46, "gemma3": 62}.get(arch) == n_layers
    scale = 1 / math.sqrt(d_model / heads if wide else d)
    cap = m.key("attn_logit_softcapping", 50.0 if arch == "gemma2" else 0)
    x = m.tensor("token_embd.weight")[ids]
    if gemma:
        x = x * math.sqrt(d_model)
    pos = np.arange(n)
    for i in range(n_layers):
        h = rms_norm(x, m.layer(i, "attn_norm.weight"), eps)
        if m.layer(i, "attn_qkv.weight") is not None:
            q, k, v = np.split(linear(m, i, "attn_qkv", h), [heads * d, (heads + kv_heads) * d], axis=-1)
        else:
            q, k, v = (linear(m, i, "attn_" + s, h) for s in "qkv")
        q, k, v = q.reshape(n, heads, d), k.reshape(n, kv_heads, d), v.reshape(n, kv_heads, d)
        if m.layer(i, "attn_q_norm.weight") is not None:
            q, k = rms_norm(q, m.layer(i, "attn_q_norm.weight"), eps), rms_norm(k, m.layer(i, "attn_k_norm.weight"), eps)
        q, k = (turn(t, cs[windowed[i]], dims, arch in HALVES) for t in (q, k))
        seen = pos[None, :] <= pos[:, None]
        if windowed[i]:
            seen &= pos[:, None] - pos[None, :] < window
        y = np.empty((n, heads, d))
        for j in range(heads):
            s = np.where(seen, soft_cap(q[:, j] @ k[:, j // (heads // kv_heads)].T * scale, cap), -np.inf)
            p = np.exp(s - s.max(axis=-1, keepdims=True))
            y[:, j] = p / p.sum(axis=-1, keepdims=True) @ v[:, j // (heads // kv_heads)]
        o = linear(m, i, "attn_output", y.reshape(n, heads * d))
        post = m.layer(i, "post_attention_norm.weight")
        x = x + (o if post is None else rms_norm(o, post, eps))
        h = rms_norm(x, m.layer(i, "ffn_norm.weight"), eps)
        if m.layer(i, "ffn_gate.weight") is None:
            gate, up = np.split(linear(m, i, "ffn_up", h), 2, axis=-1)
        else:
            gate, up = linear(m, i, "ffn_gate", h), linear(m, i, "ffn_up", h)
        o = linear(m, i, "ffn_down", gated(gate, up, gemma))
        post = m.layer(i, "post_ffw_norm.weight")
        x = x + (o if post is None else rms_norm(o, post, eps))
    head = m.tensor("output.weight")
    y = rms_norm(x, m.tensor("output_norm.weight"), eps) @ (m.tensor("token_embd.weight") if head is None else head).T
    return soft_cap(y, m.key("final_logit_softcapping", 30.0 if arch == "gemma2" else 0))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model")
    ap.add_argument("--tokens", required=True)
    ap.add_argument("-c", type=int)
    ap.add_argument("--all", action="store_true", help="logits of all positions")
    a = ap.parse_args()
    y = forward(Model(a.model), [int(t) for t in a.tokens.split(",")], a.c)
    print(json.dumps({"logits": (y if a.all else y[-1]).tolist(), "argmax": y.argmax(axis=-1).tolist()}))


if __name__ == "__main__":
    main()
