#!/usr/bin/env python3
"""Writes the logits that test_arch expects: of the last four tokens of each text, by forward.py.
usage: test_arch --write DIR && make_arch_golden.py DIR > tests/data/arch_golden.bin"""
import glob
import sys

import numpy as np

from forward import Model, forward

for path in sorted(glob.glob(sys.argv[1] + "/*.gguf")):
    ids = [int(line) for line in open(path[:-5] + ".ids")]
    logits = forward(Model(path), ids, 256)[-4:]
    print(path, float(logits.std()), file=sys.stderr)
    sys.stdout.buffer.write(logits.astype("<f4").tobytes())
