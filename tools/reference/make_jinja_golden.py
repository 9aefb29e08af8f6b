#!/usr/bin/env python3
"""Golden renderings for tests/test_jinja.c, made by jinja2 (PyPI, 3.1) in the set-up of Hugging Face's transformers.

    make_jinja_golden.py OUT [FOLDER...]

OUT is tests/data/jinja/golden.txt, FOLDER holds *.jinja (tests/data/jinja; any other one for a check of its own: run
test_jinja with LRQK_TEST_JINJA=OUT).  Every template renders every conversation below, every snippet of SNIPPETS
"turns".  A case is "case NAME prompt 0|1", "template BYTES" unless it has that of the case before, "message ROLE BYTES"...,
and "output BYTES" or "error", each with its bytes and a newline behind.
"""
import json, pathlib, sys
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    """{% generation %} marks what the assistant says; its body is all that counts here."""
    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def refuse(message):
    raise TemplateError(message)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
env.filters["tojson"] = lambda x, indent=None: json.dumps(x, ensure_ascii=False, indent=indent)
env.globals["raise_exception"] = refuse

U, A, S = "user", "assistant", "system"
CONVERSATIONS = {
    "one": [(U, "Hi")],
    "system": [(S, "Be brief."), (U, "What is 1+1?")],
    "turns": [(U, "Hello there"), (A, "Hello!\n\nHow are you?"), (U, "  Fine, \u00e4 \u65e5\u672c <b>&amp;</b>\n")],
    "long": [(S, " You answer\nin verse. "), (U, "a"), (A, " b "), (U, "c"), (A, "d"), (U, "{{ 7 * 7 }} {% raw %}")],
    "thought": [(U, "q"), (A, "<think>\nhm, 'so'\n</think>\n\nanswer"), (U, "next")],
    "assistant": [(U, "q"), (A, "the end")],
    "wrong": [(U, "a"), (U, "b")],
    "none": [],
}

SNIPPETS = (pathlib.Path(__file__).parent / "jinja_snippets.txt").read_text(encoding="utf-8").split("\n====\n")


def bytes_of(out, word, text):
    data = text.encode()
    out.append(b"%s %d\n%s\n" % (word.encode(), len(data), data))


def case(out, name, source, messages, prompt):
    out.append(b"case %s prompt %d\n" % (name.encode(), prompt))
    if source != case.last:
        bytes_of(out, "template", source)
        case.last = source
    for role, text in messages:
        bytes_of(out, "message " + role, text)
    try:
        text = env.from_string(source).render(messages=[{"role": r, "content": t} for r, t in messages], add_generation_prompt=prompt,
                                              bos_token="<s>", eos_token="</s>", tools=None, documents=None)
    except Exception:                       # TemplateError, TypeError, ...: what Python makes of wrong values
        out.append(b"error\n")
        return 1
    bytes_of(out, "output", text)
    return 0


case.last = None


def main():
    out, errors = [], 0
    for i, source in enumerate(SNIPPETS):
        errors += case(out, "snippet-%d" % i, source.rstrip("\n") if i == len(SNIPPETS) - 1 else source, CONVERSATIONS["turns"], True)
    print("%d snippets, %d refused" % (len(SNIPPETS), errors))
    for folder in sys.argv[2:]:
        for path in sorted(pathlib.Path(folder).glob("*.jinja")):
            source, refused = path.read_text(encoding="utf-8"), []
            for name, messages in CONVERSATIONS.items():
                for prompt in (True, False):
                    if case(out, "%s-%s" % (path.stem[:40].replace(" ", "_"), name), source, messages, prompt):
                        refused.append(name)
            print("%s: refused: %s" % (path.stem, " ".join(sorted(set(refused))) or "none"))
    pathlib.Path(sys.argv[1]).write_bytes(b"".join(out))


main()
