#!/usr/bin/env python3
"""Writes tests/data/dequant.txt: random blocks of each type and what PyPI gguf (0.x, gguf.quants) makes of them, as the
bits of floats.  One line a block: type number, hex of the block, hex of the values (little endian).
usage: make_dequant.py > dequant.txt"""
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

rng = np.random.default_rng(1)
# Where the fp16 fields lie in a block: random bytes there would often be NaN.
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q6_K: [208],
          T.Q5_0: [0], T.Q5_1: [0, 2], T.Q2_K: [80, 82], T.Q3_K: [108], T.Q5_K: [0, 2], T.IQ4_NL: [0], T.IQ4_XS: [0]}

def line(t, raw):
    values = dequantize(raw.reshape(1, -1), t) if t not in (T.F32, T.F16) else raw.view(np.float32 if t == T.F32 else np.float16)
    print(int(t), raw.tobytes().hex(), np.ascontiguousarray(values).astype("<f4").tobytes().hex())

line(T.F32, np.array([0, -0.0, 1.5, 1e-40, -3e38, 0.1, 2, 3], np.float32).view(np.uint8))
line(T.F16, np.array([0x0000, 0x8000, 0x3c00, 0x0001, 0x83ff, 0x7bff, 0xfbff, 0x3555], np.uint16).view(np.uint8))
line(T.BF16, np.array([0x0000, 0x8000, 0x3f80, 0x0001, 0xff7f, 0x3dcc, 0x4049, 0xc2f7], np.uint16).view(np.uint8))
for t, at in HALVES.items():
    for scale in (0.03, -7.0, 1e-6, 0.0):           # 1e-6 is denormal in fp16
        raw = rng.integers(0, 256, GGML_QUANT_SIZES[t][1], np.uint8)
        for i, a in enumerate(at):
            raw[a:a + 2] = np.array([scale * (1 - 1.7 * i)], np.float16).view(np.uint8)
        line(t, raw)
