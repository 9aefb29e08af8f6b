/* tokenizer.c - text to tokens: special tokens, then words (pretokenizer.c), then merges by rank; and the bytes of a
 * token.  Called by engine.c and chat.c; the tables are in vocab.c. */
#include "token/tokenizer.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "token/pretokenizer.h"
#include "token/vocab.h"

struct tokenizer {
  struct log log;
  struct vocab vocab;
  struct pretokenizer *pre;
  bool adds_bos, adds_eos;
};

/* ---- open ---- */

static enum lrqk_status open_pre(struct tokenizer *t, const struct gguf *g) {
  struct gguf_str model = { "", 0 }, pre = { "gpt-2", 5 };
  TRY(gguf_string(g, "tokenizer.ggml.model", true, &model));
  if (model.len != 4 || memcmp(model.s, "gpt2", 4))
    return fail(&g->log, LRQK_MODEL, "%s: tokenizer.ggml.model: found \"%.*s\", expected \"gpt2\" (byte-level BPE)", g->path,
                model.len < 64 ? (int)model.len : 64, model.s);
  if (!gguf_find(g, "tokenizer.ggml.pre")) log_warn(&g->log, "%s: tokenizer.ggml.pre is missing: taking gpt-2", g->path);
  TRY(gguf_string(g, "tokenizer.ggml.pre", false, &pre));
  TRY(pretokenizer_open(&t->pre, g, pre));
  t->adds_bos = pretokenizer_row(t->pre)->adds_bos;
  TRY(gguf_bool(g, "tokenizer.ggml.add_bos_token", false, &t->adds_bos));
  return gguf_bool(g, "tokenizer.ggml.add_eos_token", false, &t->adds_eos);
}

enum lrqk_status tokenizer_open(struct tokenizer **out, const struct gguf *g, uint32_t n_vocab) {
  struct tokenizer *t = mem_alloc(1, sizeof *t);
  if (!t) return fail(&g->log, LRQK_MEMORY, "%s: tokenizer: out of memory", g->path);
  t->log = g->log;
  enum lrqk_status s = open_pre(t, g);
  if (s == LRQK_OK) s = vocab_load(&t->vocab, g, n_vocab);
  if (s != LRQK_OK) {
    tokenizer_close(t);
    return s;
  }
  *out = t;
  return LRQK_OK;
}

void tokenizer_close(struct tokenizer *t) {
  if (!t) return;
  pretokenizer_close(t->pre);
  vocab_free(&t->vocab);
  mem_free(t);
}

/* ---- growing arrays ---- */

/* Makes room for `more` elements behind n; *cap counts elements. */
static bool grow(void **p, size_t *cap, size_t n, size_t more, size_t size) {
  if (n + more <= *cap) return true;
  size_t want = *cap + *cap / 2 + more + 64;
  void *q = mem_realloc(*p, want, size);
  if (!q) return false;
  *p = q;
  *cap = want;
  return true;
}

enum lrqk_status ids_push(struct ids *v, int32_t id) {
  void *p = v->id;
  if (!grow(&p, &v->cap, v->n, 1, sizeof *v->id)) return LRQK_MEMORY;
  v->id = p;
  v->id[v->n++] = id;
  return LRQK_OK;
}

/* ---- merging ---- */

#define END UINT32_MAX

struct symbol { uint32_t id, prev, next; };                 /* id NO_TOKEN: merged into its left neighbour, or a byte without a token */
struct candidate { uint64_t key; const struct merge *merge; };   /* key: rank, then position: the lowest is merged first */

struct encoder {
  const struct tokenizer *t;
  struct ids *out;
  struct symbol *sym;
  struct candidate *heap;
  char *name;                                               /* of a whole word, 2 * vocab.longest bytes */
  size_t cap_sym, cap_heap, n_heap;
  size_t lost;                                              /* bytes that the vocabulary has no token for */
};

static enum lrqk_status no_memory(const struct tokenizer *t) { return fail(&t->log, LRQK_MEMORY, "tokenizer: out of memory"); }

static enum lrqk_status emit(struct encoder *e, uint32_t id) {
  return ids_push(e->out, (int32_t)id) == LRQK_OK ? LRQK_OK : no_memory(e->t);
}

/* Puts the merge of symbol `left` with the one after it on the heap, if there is one. */
static bool offer(struct encoder *e, uint32_t left) {
  const struct symbol *s = &e->sym[left];
  if (s->next == END || s->id == NO_TOKEN || e->sym[s->next].id == NO_TOKEN) return true;
  const struct merge *m = vocab_merge(&e->t->vocab, s->id, e->sym[s->next].id);
  if (!m) return true;
  void *p = e->heap;
  if (!grow(&p, &e->cap_heap, e->n_heap, 1, sizeof *e->heap)) return false;
  e->heap = p;
  struct candidate c = { (uint64_t)m->rank1 << 32 | left, m };
  size_t i = e->n_heap++;
  for (; i && e->heap[(i - 1) / 2].key > c.key; i = (i - 1) / 2) e->heap[i] = e->heap[(i - 1) / 2];
  e->heap[i] = c;
  return true;
}

static struct candidate take(struct encoder *e) {
  struct candidate top = e->heap[0], last = e->heap[--e->n_heap];
  size_t i = 0;
  for (;;) {
    size_t child = 2 * i + 1;
    if (child >= e->n_heap) break;
    if (child + 1 < e->n_heap && e->heap[child + 1].key < e->heap[child].key) child++;
    if (last.key <= e->heap[child].key) break;
    e->heap[i] = e->heap[child];
    i = child;
  }
  e->heap[i] = last;
  return top;
}

static bool merge_symbols(struct encoder *e, uint32_t n) {
  e->n_heap = 0;
  for (uint32_t i = 0; i + 1 < n; i++) {
    if (!offer(e, i)) return false;
  }
  while (e->n_heap) {
    struct candidate c = take(e);
    uint32_t left = (uint32_t)c.key;
    struct symbol *s = &e->sym[left];
    if (s->id != c.merge->left || s->next == END || e->sym[s->next].id != c.merge->right) continue;   /* overtaken by another merge */
    struct symbol *r = &e->sym[s->next];
    s->id = c.merge->result;
    s->next = r->next;
    r->id = NO_TOKEN;
    if (s->next != END) e->sym[s->next].prev = left;
    if (s->prev != END && !offer(e, s->prev)) return false;
    if (!offer(e, left)) return false;
  }
  return true;
}

/* The token that is this whole word, for the pre-tokenizers that ask for it. */
static uint32_t whole_word(struct encoder *e, const char *word, size_t len) {
  const struct vocab *v = &e->t->vocab;
  if (len > v->longest) return NO_TOKEN;
  size_t n = 0;
  for (size_t i = 0; i < len; i++) n += vocab_byte_name((uint8_t)word[i], e->name + n);
  uint32_t id = vocab_find(v, e->name, n);
  return id != NO_TOKEN && token_hidden(&v->tokens[id]) ? NO_TOKEN : id;
}

static enum lrqk_status encode_word(void *ud, const char *word, size_t len) {
  struct encoder *e = ud;
  const struct vocab *v = &e->t->vocab;
  if (pretokenizer_row(e->t->pre)->whole_words) {
    uint32_t id = whole_word(e, word, len);
    if (id != NO_TOKEN) return emit(e, id);
  }
  void *p = e->sym;
  if (!grow(&p, &e->cap_sym, 0, len, sizeof *e->sym)) return no_memory(e->t);
  e->sym = p;
  uint32_t n = (uint32_t)len;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t id = v->byte[(uint8_t)word[i]];
    e->lost += id == NO_TOKEN;
    e->sym[i] = (struct symbol){ id, i ? i - 1 : END, i + 1 < n ? i + 1 : END };
  }
  if (!merge_symbols(e, n)) return no_memory(e->t);
  for (uint32_t i = 0; i != END; i = e->sym[i].next) {
    if (e->sym[i].id != NO_TOKEN) TRY(emit(e, e->sym[i].id));
  }
  return LRQK_OK;
}

/* ---- encode ---- */

static const char replacement[3] = { '\xef', '\xbf', '\xbd' };

/* The text with U+FFFD for what is not UTF-8, in *copy if it has to be another one; counts the places. */
static enum lrqk_status repair(const struct tokenizer *t, const char **text, size_t *len, char **copy, size_t *places) {
  size_t bad = 0, n = 0;
  for (int pass = 0; pass < 2; pass++) {
    n = 0;
    for (size_t i = 0; i < *len;) {
      uint32_t c;
      size_t k = utf8_decode(*text + i, *len - i, &c);
      bool broken = c == UTF8_INVALID || c == UTF8_INCOMPLETE;
      if (pass == 1) memcpy(*copy + n, broken ? replacement : *text + i, broken ? 3 : k);
      else bad += broken;
      n += broken ? 3 : k;
      i += k;
    }
    *places = bad;
    if (!bad) return LRQK_OK;
    if (!*copy && !(*copy = mem_alloc(n, 1))) return no_memory(t);
  }
  *text = *copy;
  *len = n;
  return LRQK_OK;
}

static enum lrqk_status encode_text(struct encoder *e, const char *text, size_t len, bool special) {
  const struct vocab *v = &e->t->vocab;
  size_t begin = 0, i = special || v->has_user ? 0 : len;
  while (i < len) {
    uint32_t id = vocab_special(v, text + i, len - i, special);
    if (id == NO_TOKEN) { i++; continue; }
    if (i > begin) TRY(pretokenizer_split(e->t->pre, text + begin, i - begin, encode_word, e));
    TRY(emit(e, id));
    begin = i += v->tokens[id].name_len;
  }
  return begin < len ? pretokenizer_split(e->t->pre, text + begin, len - begin, encode_word, e) : LRQK_OK;
}

enum lrqk_status tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, bool special, struct ids *out,
    size_t *replaced) {
  size_t places = 0;
  char *copy = NULL;
  struct encoder e = { .t = t, .out = out };
  if (len > INT32_MAX / 3) return fail(&t->log, LRQK_USAGE, "a text of %zu bytes is too long, at most %d are possible", len, INT32_MAX / 3);
  enum lrqk_status s = repair(t, &text, &len, &copy, &places);
  if (s == LRQK_OK && pretokenizer_row(t->pre)->whole_words && !(e.name = mem_alloc(t->vocab.longest, 2))) s = no_memory(t);
  if (s == LRQK_OK) s = encode_text(&e, text, len, special);
  if (s == LRQK_OK && e.lost) log_warn(&t->log, "%zu bytes of the text have no token in this vocabulary and are left out", e.lost);
  if (s == LRQK_OK && replaced) *replaced = places;
  mem_free(e.sym);
  mem_free(e.heap);
  mem_free(e.name);
  mem_free(copy);
  return s;
}

/* ---- tokens ---- */

uint32_t tokenizer_size(const struct tokenizer *t) { return t->vocab.n; }
int32_t tokenizer_bos(const struct tokenizer *t) { return t->vocab.bos; }
int32_t tokenizer_eos(const struct tokenizer *t) { return t->vocab.eos; }
bool tokenizer_adds_bos(const struct tokenizer *t) { return t->adds_bos && t->vocab.bos >= 0; }
bool tokenizer_adds_eos(const struct tokenizer *t) { return t->adds_eos && t->vocab.eos >= 0; }
size_t tokenizer_lead(const struct tokenizer *t, int32_t prev, int32_t id) { (void)t, (void)prev, (void)id; return 0; }
bool tokenizer_is_end(const struct tokenizer *t, int32_t id) { return id >= 0 && (uint32_t)id < t->vocab.n && t->vocab.tokens[id].end; }

void tokenizer_text(const struct tokenizer *t, int32_t id, bool special, const char **text, size_t *len) {
  const struct token *k = &t->vocab.tokens[id];
  *text = k->text;
  *len = special || !token_hidden(k) ? k->text_len : 0;
}

int32_t tokenizer_special(const struct tokenizer *t, const char *name) {
  uint32_t id = vocab_find(&t->vocab, name, strlen(name));
  return id != NO_TOKEN && (token_hidden(&t->vocab.tokens[id]) || t->vocab.tokens[id].type == TOKEN_USER) ? (int32_t)id : -1;
}
