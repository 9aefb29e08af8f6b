#!/usr/bin/env python3
"""Runs `lrqk tokenize` on vocabularies with strings and expected ids, as llama.cpp's repository has them in models/:
NAME.gguf, NAME.gguf.inp (strings, one __ggml_vocab_test__ line after each) and NAME.gguf.out (ids without BOS, a line each).

  tools/reference/check_vocab.py --lrqk build/lrqk FOLDER [NAME...]

Every string must give its ids, and `lrqk tokenize --decode` of them the string again.  Exit status 1 if one does not,
or if there is nothing to check.
"""
import argparse, json, pathlib, subprocess, sys

SEPARATOR = b"\n__ggml_vocab_test__\n"


def lrqk(program, *args, data=b""):
    r = subprocess.run([program, "tokenize", *args], input=data, capture_output=True)
    if r.returncode:
        raise SystemExit("lrqk tokenize %s: %s" % (" ".join(args), r.stderr.decode(errors="replace").strip()))
    return r.stdout


def check(program, gguf):
    texts = pathlib.Path(str(gguf) + ".inp").read_bytes().split(SEPARATOR)[:-1]
    want = [[int(i) for i in line.split()] for line in pathlib.Path(str(gguf) + ".out").read_text().splitlines()]
    if len(texts) != len(want) or not texts:
        raise SystemExit("%s: %d strings, %d lines of ids" % (gguf, len(texts), len(want)))
    bad = 0
    for text, ids in zip(texts, want):
        found = json.loads(lrqk(program, "-m", str(gguf), "--no-bos", "--json", data=text))["ids"]
        back = lrqk(program, "-m", str(gguf), "--decode", "-p", " ".join(map(str, ids))) if ids else b""
        if found != ids or back != text:
            bad += 1
            print("%s: %r\n  found    %s\n  expected %s\n  back     %r" % (gguf.name, text, found, ids, back))
    print("%-28s %d of %d strings" % (gguf.name, len(texts) - bad, len(texts)))
    return bad


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--lrqk", default="build/lrqk")
    ap.add_argument("folder", type=pathlib.Path)
    ap.add_argument("names", nargs="*", help="parts of file names (default: all that have .inp and .out)")
    a = ap.parse_args()
    files = [f for f in sorted(a.folder.glob("*.gguf"))
             if all(pathlib.Path(str(f) + e).exists() for e in (".inp", ".out")) and (not a.names or any(n in f.name for n in a.names))]
    if not files:
        raise SystemExit("%s: no NAME.gguf with .inp and .out" % a.folder)
    sys.exit(bool(sum(check(a.lrqk, f) for f in files)))


main()
