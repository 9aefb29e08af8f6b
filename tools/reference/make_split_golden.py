#!/usr/bin/env python3
"""Golden words of pre-tokenizers for tests/test_token.c, by Hugging Face's library (PyPI tokenizers), whose regular
expressions run in another engine (Oniguruma).

    make_split_golden.py > tests/data/split.txt

A case is "PRE BYTES BYTES", the text, and the text with | behind each word, each with a newline.  The expressions are those of the tokenizer.json files of models.
"""
import sys
from tokenizers import Regex
from tokenizers.pre_tokenizers import Sequence, Split

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
U, L = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = r"[^\r\n\p{L}\p{N}]?" + U + "*" + L + r"+%s|[^\r\n\p{L}\p{N}]?" + U + "+" + L + r"*%s|%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTED = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PRE = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [LLAMA3 % r"\p{N}{1,3}"],
    "qwen2": [LLAMA3 % r"\p{N}"],
    "tekken": [CASED % ("", "", r"\p{N}")],
    "gpt-4o": [CASED % (CONTRACTED, CONTRACTED, r"\p{N}{1,3}")],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
                    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
}
TEXTS = [
    "I'm 12345, aren't I? WE'LL see: It'S  Yes\n", "HelloWorld helloWORLD ABC abcDEF Ab1Cd", "   a\n\n  b \t c  ", "x\u00b2\u2167\u0663y 3.14e10 1,000",
    "\u65e5\u672c\u8a9e\u3067\u3059\u3002 \u4e2d\u6587\uff0c\u6d4b\u8bd5", "cafe\u0301 \u00e9t\u00e9 \u0416\u0443\u043a \u00c5ngstr\u00f6m", "#include <x.h>\r\n\tif (a->b != 0) { return; } // ok/\n",
    "--==>> ``x`` $5+6=11 ~a^b", "\u0915\u094d\u0937 \u0e44\u0e17\u0e22 \uac00\ub098\ub2e4", "a\u00a0b\u2003c\u3000d", "it's 'tis 'RE you'd", "\U0001f600 \U0001f468\u200d\U0001f469 ok!!!\n\n\n", "end   ",
]


def main():
    for name, patterns in PRE.items():
        split = Sequence([Split(Regex(p), "isolated") for p in patterns])
        for text in TEXTS:
            words = "".join(w + "|" for w, _ in split.pre_tokenize_str(text)).encode()
            sys.stdout.buffer.write(b"%s %d %d\n%s\n%s\n" % (name.encode(), len(text.encode()), len(words), text.encode(), words))


main()
