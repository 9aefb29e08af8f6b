/* pretokenizer.c - see pretokenizer.h.  Called by tokenizer.c. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "token/pretokenizer.h"

#include <pcre2.h>
#include <string.h>

#include "base/mem.h"

/* The White_Space property, spelled out: PCRE2's \s also takes U+180E, which left that property in Unicode 6.3. */
#define SPACES "\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define S "[" SPACES "]"
#define NOT_S "[^" SPACES "]"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACES "\\p{L}\\p{N}]+|" S "+(?!" NOT_S ")|" S "+"
#define LLAMA3(digits)                                                                                            \
  "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits                   \
  "| ?[^" SPACES "\\p{L}\\p{N}]+[\\r\\n]*|" S "*[\\r\\n]+|" S "+(?!" NOT_S ")|" S "+"

static const struct pretokenizer_row rows[] = {
  { "smollm",    { "\\p{N}", GPT2 },             false, false },
  { "gpt-2",     { GPT2 },                       false, false },
  { "llama-bpe", { LLAMA3("\\p{N}{1,3}") },      true,  true  },
  { "llama-v3",  { LLAMA3("\\p{N}{1,3}") },      true,  true  },
  { "llama3",    { LLAMA3("\\p{N}{1,3}") },      true,  true  },
  { "qwen2",     { LLAMA3("\\p{N}") },           false, false },
};
enum { N_ROWS = sizeof rows / sizeof *rows, N_REGEX = sizeof rows->regex / sizeof *rows->regex };

struct pretokenizer {
  struct log log;
  const struct pretokenizer_row *row;
  int n;                              /* regexes of the row */
  pcre2_general_context *general;
  pcre2_match_context *match;
  pcre2_code *code[N_REGEX];
};

static void *pcre_alloc(size_t n, void *ud) { (void)ud; return mem_alloc(n, 1); }
static void pcre_free(void *p, void *ud) { (void)ud; mem_free(p); }

static enum lrqk_status unknown_name(const struct gguf *g, struct gguf_str name) {
  char known[256] = "";
  for (int i = 0; i < N_ROWS; i++) {
    size_t n = strlen(known);
    if (n + strlen(rows[i].name) + 3 <= sizeof known) {
      if (i) strcpy(known + n, ", ");
      strcat(known, rows[i].name);
    }
  }
  int shown = name.len < 64 ? (int)name.len : 64;
  return fail(&g->log, LRQK_MODEL, "%s: tokenizer.ggml.pre: found \"%.*s\", known are: %s", g->path, shown, name.s, known);
}

static enum lrqk_status compile(struct pretokenizer *p) {
  p->general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
  pcre2_compile_context *cc = p->general ? pcre2_compile_context_create(p->general) : NULL;
  p->match = p->general ? pcre2_match_context_create(p->general) : NULL;
  enum lrqk_status s = cc && p->match ? LRQK_OK : fail(&p->log, LRQK_MEMORY, "pre-tokenizer %s: out of memory", p->row->name);
  /* No match of these regexes takes more than linear time, but one over a long run of spaces backtracks once per
   * space: the default limit of 10 million would refuse some long texts. */
  if (s == LRQK_OK) pcre2_set_match_limit(p->match, UINT32_MAX);
  for (int i = 0; s == LRQK_OK && i < N_REGEX && p->row->regex[i]; i++) {
    int err = 0;
    PCRE2_SIZE at = 0;
    p->code[i] = pcre2_compile((PCRE2_SPTR)p->row->regex[i], PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &err, &at, cc);
    if (!p->code[i]) {
      bool memory = err == PCRE2_ERROR_HEAP_FAILED;
      s = fail(&p->log, memory ? LRQK_MEMORY : LRQK_RUNTIME, "pre-tokenizer %s: regex %d: PCRE2 error %d at %zu", p->row->name, i, err,
          (size_t)at);
    } else {
      (void)pcre2_jit_compile(p->code[i], PCRE2_JIT_COMPLETE);   /* without it pcre2_match interprets */
      p->n++;
    }
  }
  pcre2_compile_context_free(cc);
  return s;
}

enum lrqk_status pretokenizer_open(struct pretokenizer **out, const struct gguf *g, struct gguf_str name) {
  const struct pretokenizer_row *row = NULL;
  for (int i = 0; i < N_ROWS && !row; i++) {
    if (strlen(rows[i].name) == name.len && !memcmp(rows[i].name, name.s, name.len)) row = &rows[i];
  }
  if (!row) return unknown_name(g, name);
  struct pretokenizer *p = mem_alloc(1, sizeof *p);
  if (!p) return fail(&g->log, LRQK_MEMORY, "pre-tokenizer %s: out of memory", row->name);
  p->log = g->log;
  p->row = row;
  enum lrqk_status s = compile(p);
  if (s != LRQK_OK) {
    pretokenizer_close(p);
    return s;
  }
  *out = p;
  return LRQK_OK;
}

void pretokenizer_close(struct pretokenizer *p) {
  if (!p) return;
  for (int i = 0; i < N_REGEX; i++) pcre2_code_free(p->code[i]);
  pcre2_match_context_free(p->match);
  pcre2_general_context_free(p->general);
  mem_free(p);
}

const struct pretokenizer_row *pretokenizer_row(const struct pretokenizer *p) { return p->row; }

struct split {
  const struct pretokenizer *p;
  pcre2_match_data *md;
  pretokenizer_fn fn;
  void *ud;
};

/* The piece text[0..len) through regex `stage` and those after it.  The end of a piece is the end of the text for them. */
static enum lrqk_status split_piece(const struct split *x, int stage, const char *text, size_t len) {
  if (stage == x->p->n) return x->fn(x->ud, text, len);
  const PCRE2_SIZE *at = pcre2_get_ovector_pointer(x->md);
  for (size_t pos = 0; pos < len;) {
    /* The text is known to be valid: checking it again for every match would make this quadratic. */
    int rc = pcre2_match(x->p->code[stage], (PCRE2_SPTR)text, len, pos, PCRE2_NO_UTF_CHECK, x->md, x->p->match);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
      rc = pcre2_match(x->p->code[stage], (PCRE2_SPTR)text, len, pos, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, x->md, x->p->match);
    if (rc == PCRE2_ERROR_NOMEMORY) return fail(&x->p->log, LRQK_MEMORY, "pre-tokenizer %s: out of memory", x->p->row->name);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) return fail(&x->p->log, LRQK_RUNTIME, "pre-tokenizer %s: PCRE2 error %d", x->p->row->name, rc);
    size_t begin = rc < 0 ? len : at[0], end = rc < 0 ? len : at[1];   /* the next stage overwrites at[] */
    if (begin > pos) TRY(split_piece(x, stage + 1, text + pos, begin - pos));
    if (end > begin) TRY(split_piece(x, stage + 1, text + begin, end - begin));
    pos = end;
  }
  return LRQK_OK;
}

enum lrqk_status pretokenizer_split(const struct pretokenizer *p, const char *text, size_t len, pretokenizer_fn fn, void *ud) {
  struct split x = { p, pcre2_match_data_create(1, p->general), fn, ud };
  if (!x.md) return fail(&p->log, LRQK_MEMORY, "pre-tokenizer %s: out of memory", p->row->name);
  enum lrqk_status s = split_piece(&x, 0, text, len);
  pcre2_match_data_free(x.md);
  return s;
}
