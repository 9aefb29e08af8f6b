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

/* Words that begin with upper case letters and go on in lower case, or are all upper case; "ending" may follow. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(ending, digits)                                                                                          \
  "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" ending "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" ending "|" digits             \
  "| ?[^" SPACES "\\p{L}\\p{N}]+[\\r\\n/]*|" S "*[\\r\\n]+|" S "+(?!" NOT_S ")|" S "+"
#define CONTRACTED "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

#define PUNCTUATION(more) "[\\p{P}$+<=>^~|" more "]+"
#define CJK "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
/* The letters that deepseek-llm's own tokenizer lists: those with a case, as of one version of Unicode. */
#define CASED_LETTERS \
  "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}\\x{295}-\\x{2af}" \
  "\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}" \
  "\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}" \
  "\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}" \
  "\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}" \
  "\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}" \
  "\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}" \
  "\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}" \
  "\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}" \
  "\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}" \
  "\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}" \
  "\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}" \
  "\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"
#define DEEPSEEK_LLM                                                                                                   \
  { "[\\r\\n]", S "?[" CASED_LETTERS "]+",                                                                             \
    S "?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+", S "+\\z", CJK, "\\p{N}+" }
#define DEEPSEEK_V3                                                                                                    \
  { "\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",                                       \
    "[!-/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" S "*[\\r\\n]+|" \
    S "+(?!" NOT_S ")|" S "+" }

static const struct pretokenizer_row rows[] = {
  { "smollm",           { "\\p{N}", GPT2 },                                                       false, false },
  { "gpt-2",            { GPT2 },                                                                 false, false },
  { "llama-bpe",        { LLAMA3("\\p{N}{1,3}") },                                                true,  true  },
  { "llama-v3",         { LLAMA3("\\p{N}{1,3}") },                                                true,  true  },
  { "llama3",           { LLAMA3("\\p{N}{1,3}") },                                                true,  true  },
  { "qwen2",            { LLAMA3("\\p{N}") },                                                     false, false },
  { "deepseek-r1-qwen", { LLAMA3("\\p{N}") },                                                     false, false },
  { "stablelm2",        { LLAMA3("\\p{N}") },                                                     false, false },
  { "megrez",           { LLAMA3("\\p{N}") },                                                     false, false },
  { "smaug-bpe",        { LLAMA3("\\p{N}{1,3}") },                                                false, false },
  { "dbrx",             { LLAMA3("\\p{N}{1,3}") },                                                false, false },
  { "falcon3",          { LLAMA3("\\p{N}{1,3}") },                                                true,  true  },
  { "pixtral",          { LLAMA3("\\p{N}{1,3}") },                                                true,  true  },
  { "tekken",           { CASED("", "\\p{N}") },                                                  true,  true  },
  { "gpt-4o",           { CASED(CONTRACTED, "\\p{N}{1,3}") },                                     false, false },
  { "llama4",           { CASED(CONTRACTED, "\\p{N}{1,3}") },                                     false, false },
  { "deepseek-llm",     DEEPSEEK_LLM,                                                             false, false },
  { "deepseek-coder",   { "[\\r\\n]", S "?\\p{L}+", S "?\\p{P}+", CJK, "\\p{N}" },               false, false },
  { "deepseek-v3",      DEEPSEEK_V3,                                                              false, false },
  { "falcon",           { PUNCTUATION("`"), GPT2, "[0-9][0-9][0-9]" },                            false, false },
  { "default",          { PUNCTUATION(""), GPT2, "\\p{N}+", "[0-9][0-9][0-9]" },                  false, false },
  { "starcoder",        { "\\p{N}", GPT2 },                                                       false, false },
  { "refact",           { "\\p{N}", GPT2 },                                                       false, false },
  { "command-r",        { "\\p{N}", GPT2 },                                                       false, false },
  { "codeshell",        { "\\p{N}", GPT2 },                                                       false, false },
  { "exaone",           { "\\p{N}", GPT2 },                                                       false, false },
  { "mpt",              { GPT2 },                                                                 false, false },
  { "olmo",             { GPT2 },                                                                 false, false },
  { "phi-2",            { GPT2 },                                                                 false, false },
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
  char known[512] = "";
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
