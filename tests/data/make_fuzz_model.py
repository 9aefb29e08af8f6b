#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz_model.c: a whole one-layer model, its vocabulary alone, and files with one thing wrong.
usage: make_fuzz_model.py DIRECTORY"""
import os, struct, sys

U32, F32, BOOL, STR, ARR = 4, 6, 7, 8, 9

def s(t):
    b = t if isinstance(t, bytes) else t.encode()
    return struct.pack("<Q", len(b)) + b

def key(name, kind, v):
    if kind == "strings":
        return s(name) + struct.pack("<IIQ", ARR, STR, len(v)) + b"".join(map(s, v))
    if kind == "ints":
        return s(name) + struct.pack("<IIQ", ARR, 5, len(v)) + struct.pack("<%di" % len(v), *v)
    return s(name) + struct.pack("<I", kind) + (s(v) if kind == STR else struct.pack({U32: "<I", F32: "<f", BOOL: "<?"}[kind], v))

def alphabet():
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]

TOKENS = alphabet() + ["he", "ll", "hell", "hello", "\u0120h", "<|im_start|>", "<|im_end|>"]
MERGES = ["h e", "l l", "he ll", "hell o", "\u0120 h"]
TEMPLATE = "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
D, FF, HEADS, KV, V = 8, 8, 1, 1, len(TOKENS)

def keys(**change):
    k = {
        "general.architecture": (STR, "llama"), "llama.block_count": (U32, 1), "llama.embedding_length": (U32, D),
        "llama.feed_forward_length": (U32, FF), "llama.attention.head_count": (U32, HEADS), "llama.attention.head_count_kv": (U32, KV),
        "llama.context_length": (U32, 64), "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5), "llama.rope.dimension_count": (U32, 8),
        "llama.rope.freq_base": (F32, 1e4), "llama.vocab_size": (U32, V), "tokenizer.ggml.model": (STR, "gpt2"),
        "tokenizer.ggml.pre": (STR, "smollm"), "tokenizer.ggml.tokens": ("strings", TOKENS),
        "tokenizer.ggml.token_type": ("ints", [1] * (V - 2) + [3, 3]), "tokenizer.ggml.merges": ("strings", MERGES),
        "tokenizer.ggml.bos_token_id": (U32, V - 2), "tokenizer.ggml.eos_token_id": (U32, V - 1),
        "tokenizer.ggml.add_bos_token": (BOOL, False), "tokenizer.chat_template": (STR, TEMPLATE),
    }
    k.update({n.replace("__", "."): v for n, v in change.items()})
    return [key(n, *v) for n, v in k.items() if v]

def tensors():
    b, d = "blk.0.", D // HEADS
    return [("token_embd.weight", (D, V)), ("output_norm.weight", (D,)),
            (b + "attn_norm.weight", (D,)), (b + "attn_q.weight", (D, D)),
            (b + "attn_k.weight", (D, KV * d)), (b + "attn_v.weight", (D, KV * d)), (b + "attn_output.weight", (D, D)),
            (b + "ffn_norm.weight", (D,)), (b + "ffn_gate.weight", (D, FF)), (b + "ffn_up.weight", (D, FF)),
            (b + "ffn_down.weight", (FF, D))]

def model(ks, ts, version=3):
    head, data = b"GGUF" + struct.pack("<IQQ", version, len(ts), len(ks)) + b"".join(ks), b""
    for name, dims in ts:
        head += s(name) + struct.pack("<I", len(dims)) + struct.pack("<%dQ" % len(dims), *dims) + struct.pack("<IQ", 0, len(data))
        n = 1
        for x in dims:
            n *= x
        data += struct.pack("<f", .03) * n + b"\0" * (-4 * n % 32)
    return head + b"\0" * (-len(head) % 32) + data

seeds = {
    "whole": model(keys(), tensors()),
    "version2": model(keys(), tensors(), 2),
    "vocabulary": model(keys(), []),
    "no_merges": model(keys(tokenizer__ggml__merges=None), []),
    "bad_merge": model(keys(tokenizer__ggml__merges=("strings", ["h e", "q", " ", "zz yy"])), []),
    "odd_tokens": model(keys(tokenizer__ggml__tokens=("strings", [b"\xff\xfe", b"", b"\xc4", b"a", b"\xc4\xa0", b"aa"]),
                             tokenizer__ggml__token_type=None,
                             tokenizer__ggml__bos_token_id=(U32, 1), tokenizer__ggml__eos_token_id=(U32, 2)), []),
    "one_type_short": model(keys(tokenizer__ggml__token_type=("ints", [1])), []),
    "zero_heads": model(keys(llama__attention__head_count=(U32, 0)), tensors()),
    "huge_layers": model(keys(llama__block_count=(U32, 0xffffffff)), tensors()),
    "wrong_shape": model(keys(llama__embedding_length=(U32, 32)), tensors()),
    "eos_outside": model(keys(tokenizer__ggml__eos_token_id=(U32, 1 << 31)), []),
    "twice": model(keys() + [key("general.architecture", STR, "llama")], []),
    "many_keys": b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60),
    "long_string": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", (1 << 64) - 8) + b"abc" * 9,
    "long_array": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + s("a") + struct.pack("<IIQ", ARR, 10, 1 << 61) + b"\0" * 64,
}
for name, data in seeds.items():
    with open(os.path.join(sys.argv[1], name), "wb") as f:
        f.write(data)
