#!/usr/bin/env python3
"""Small SentencePiece vocabularies with golden ids for tests/test_spm.c, by Google's own implementation (PyPI sentencepiece).

    make_spm_golden.py TEXT OUT

TEXT is what the vocabularies are learned from (tools/sample/war_and_peace.txt), OUT is tests/data/spm.  NAME.gguf holds a
vocabulary, NAME.txt the cases: "text BYTES IDS...", then the bytes and a newline.  Needs sentencepiece and gguf.
  llama   as Llama 2's: bytes for what is no piece, a space in front
  gemma   as Gemma's: no space in front, runs of newlines and spaces and the marks of turns are user-defined tokens
  tidy    remove_extra_whitespaces: one space for many, none at the ends
"""
import io, pathlib, random, sys
import gguf, sentencepiece

VARIANTS = {
    "llama": dict(add_dummy_prefix=True, remove_extra_whitespaces=False),
    "gemma": dict(add_dummy_prefix=False, remove_extra_whitespaces=False,
                  user_defined_symbols=["\n\n", "\n\n\n", "\u2581\u2581", "\u2581\u2581\u2581\u2581", "<b>", "</b>"]),
    "tidy": dict(add_dummy_prefix=True, remove_extra_whitespaces=True),
}
TEXTS = [
    "", " ", "  ", "   ", "Hello world", " Hello world", "Hello  world", "  two   spaces  ", "\n", "\n\n", "\n\n\n\n\n", "a\n\nb", "\ttab\t", "a\r\nb",
    "Prince Andrew was silent.", "the the the the", "thethethe", "\u00e9\u00e8\u00ea caf\u00e9", "\u65e5\u672c\u8a9e", "\U0001f600\U0001f680", "<0x41>", "<s>", "</s>", "<unk>",
    "1234567890", "!!!???...", "a" * 50, "ab" * 30, "\u2581", "a\u2581b", "\u2581\u2581 \u2581", "<b>bold</b> text", "<b", "</b></b>", "x <b> y", "He said: \u201cNo!\u201d",
    "    four", "tail    ", "mixed \u0416\u0437 \u03b1\u03b2", "\x00\x01\x7f", "z\u0301", "Don't you think so, my dear count?\n\"I do,\" said he.",
]


def gguf_of(path, sp, name, flags):
    w = gguf.GGUFWriter(str(path), "llama")
    kind = lambda i: (gguf.TokenType.UNKNOWN if sp.IsUnknown(i) else gguf.TokenType.CONTROL if sp.IsControl(i) else
                      gguf.TokenType.BYTE if sp.IsByte(i) else gguf.TokenType.UNUSED if sp.IsUnused(i) else
                      gguf.TokenType.USER_DEFINED if sp.IdToPiece(i) in flags.get("user_defined_symbols", []) else gguf.TokenType.NORMAL)
    n = range(sp.GetPieceSize())
    w.add_tokenizer_model("llama")
    w.add_token_list([sp.IdToPiece(i).encode() for i in n])
    w.add_token_scores([sp.GetScore(i) for i in n])
    w.add_token_types([kind(i) for i in n])
    w.add_bos_token_id(sp.bos_id())
    w.add_eos_token_id(sp.eos_id())
    w.add_unk_token_id(sp.unk_id())
    w.add_add_space_prefix(flags["add_dummy_prefix"])
    if flags["remove_extra_whitespaces"]:
        w.add_remove_extra_whitespaces(True)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def main():
    source, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    text = source.read_text(encoding="utf-8")[:60000]
    rng = random.Random(7)
    letters = "aehtonsi  \n.,'\"<b>/\u00e9\u65e5\U0001f600\u2581"
    texts = TEXTS + ["".join(rng.choice(letters if i < 15 else letters[:-1]) for _ in range(rng.randrange(1, 40))) for i in range(60)]
    texts += [text[i:i + 200] for i in range(0, 12000, 1500)]
    for name, flags in VARIANTS.items():
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text.split("\n")), model_writer=model, model_type="bpe", vocab_size=600, byte_fallback=True, character_coverage=0.999,
            normalization_rule_name="identity", split_digits=True, allow_whitespace_only_pieces=True, minloglevel=2, num_threads=1, **flags)
        sp = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        gguf_of(out / (name + ".gguf"), sp, name, flags)
        with open(out / (name + ".txt"), "wb") as f:
            for t in texts:
                if "\u2581" in t and name != "llama":
                    continue                # lrqk reads it as a space only where no rule asks about spaces
                data = t.encode()
                f.write(b"text %d %s\n%s\n" % (len(data), " ".join(map(str, sp.EncodeAsIds(t))).encode(), data))
        print(name, len(texts), "texts")


main()
