/* vocab.c - reads and checks tokenizer.ggml.{tokens,token_type,merges,scores,*_token_id} and builds the tables of vocab.h.
 * Called by tokenizer.c. */
#include "token/vocab.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "token/tokenizer.h"

enum { MAX_NAME = 65535 };   /* bytes of a token; real vocabularies stay below 1024 */

/* Names that mark the end of a text or a turn in the files of many models, and one that begins a turn: they are
 * control tokens even where a converter forgot to say so. */
static const struct { const char *name; bool end; } control_names[] = {
  { "<|im_end|>", true }, { "<|endoftext|>", true }, { "<|eot_id|>", true }, { "<|eom_id|>", true }, { "<|end_of_text|>", true },
  { "<|end|>", true }, { "<|eot|>", true }, { "<|END_OF_TURN_TOKEN|>", true }, { "<end_of_turn>", true }, { "<|return|>", true },
  { "<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>", true },
  { "<|im_start|>", false }, { "<|start_header_id|>", false }, { "<|end_header_id|>", false }, { "<start_of_turn>", false },
};

static enum lrqk_status no_memory(const struct gguf *g) { return fail(&g->log, LRQK_MEMORY, "%s: tokenizer: out of memory", g->path); }

/* ---- bytes and their names ---- */

size_t vocab_byte_name(uint8_t b, char out[2]) {
  uint32_t c = b;
  if (b < 33) c = 256u + b;                          /* 0..32, then 127..160, then 173 in ascending order */
  else if (b >= 127 && b < 161) c = 256u + 33 + (b - 127u);
  else if (b == 173) c = 256u + 33 + 34;
  char u[4];
  size_t n = utf8_encode(c, u);
  memcpy(out, u, n);
  return n;
}

/* The byte of a character of that alphabet, -1 for other characters. */
static int byte_of(uint32_t c) {
  if (c < 256) return c < 33 || (c >= 127 && c < 161) || c == 173 ? -1 : (int)c;
  if (c < 256 + 33) return (int)c - 256;
  if (c < 256 + 33 + 34) return (int)c - 256 - 33 + 127;
  return c == 256 + 33 + 34 ? 173 : -1;
}

/* The bytes of a SentencePiece name: U+2581 is a space. */
static uint32_t decode_piece(const char *name, uint32_t len, char *out) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < len;) {
    bool space = len - i >= 3 && !memcmp(name + i, "\xe2\x96\x81", 3);
    out[n++] = space ? ' ' : name[i];
    i += space ? 3 : 1;
  }
  return n;
}

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

/* The byte of a name like <0x0A>, -1 for other names. */
static int byte_piece(const char *name, uint32_t len) {
  if (len != 6 || memcmp(name, "<0x", 3) || name[5] != '>') return -1;
  int high = hex_digit(name[3]), low = hex_digit(name[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* The bytes that a name stands for; what is not of the alphabet stands for itself.  Never longer than the name. */
static uint32_t decode_name(const char *name, uint32_t len, char *out) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < len;) {
    uint32_t c;
    size_t k = utf8_decode(name + i, len - i, &c);
    int b = c == UTF8_INVALID || c == UTF8_INCOMPLETE ? -1 : byte_of(c);
    if (b >= 0) out[n++] = (char)b;
    else { memcpy(out + n, name + i, k); n += (uint32_t)k; }
    i += (uint32_t)k;
  }
  return n;
}

/* ---- hash tables: open addressing, linear probing, at most two thirds full ---- */

static uint64_t hash_bytes(uint64_t h, const char *s, size_t len) {   /* FNV-1a: names are short */
  for (size_t i = 0; i < len; i++) h = (h ^ (uint8_t)s[i]) * 0x100000001b3u;
  return h;
}
enum { SEED = 0x2325 };
static uint32_t fold(uint64_t h) { return (uint32_t)((h ^ h >> 32) * 0x9e3779b97f4a7c15u >> 32); }

static uint32_t table_size(uint64_t n) {   /* a power of two; 0: too many */
  uint64_t size = 16;
  while (size < n + n / 2 + 1) size *= 2;
  return size <= 1u << 31 ? (uint32_t)size : 0;
}

/* Slot of the name a+b: the one that has it, or the empty one where it would go. */
static uint32_t name_slot(const struct vocab *v, const char *a, size_t na, const char *b, size_t nb) {
  uint32_t i = fold(hash_bytes(hash_bytes(SEED, a, na), b, nb)) & v->names_mask;
  for (; v->names[i]; i = (i + 1) & v->names_mask) {
    const struct token *t = &v->tokens[v->names[i] - 1];
    if (t->name_len == na + nb && !memcmp(t->name, a, na) && !memcmp(t->name + na, b, nb)) break;
  }
  return i;
}

uint32_t vocab_find(const struct vocab *v, const char *name, size_t len) {
  return v->names[name_slot(v, name, len, "", 0)] - 1u;   /* 0 - 1 is NO_TOKEN */
}

static uint32_t merge_slot(const struct vocab *v, uint32_t left, uint32_t right) {
  uint32_t i = fold(((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u) & v->merges_mask;
  while (v->merges[i].rank1 && (v->merges[i].left != left || v->merges[i].right != right)) i = (i + 1) & v->merges_mask;
  return i;
}

const struct merge *vocab_merge(const struct vocab *v, uint32_t left, uint32_t right) {
  const struct merge *m = &v->merges[merge_slot(v, left, right)];
  return m->rank1 ? m : NULL;
}

/* ---- special tokens ---- */

static enum lrqk_status trie_add(struct vocab *v, const struct gguf *g, uint32_t id) {
  const struct token *t = &v->tokens[id];
  uint32_t node = 1u + (uint8_t)t->text[0];
  for (uint32_t i = 1; i < t->text_len; i++) {
    uint8_t byte = (uint8_t)t->text[i];
    uint32_t next = v->trie[node].child;
    while (next && v->trie[next].byte != byte) next = v->trie[next].sibling;
    if (!next) {
      if (v->n_trie == v->cap_trie) {
        uint32_t cap = v->cap_trie < 1u << 30 ? v->cap_trie * 2 : 0;
        struct trie_node *p = cap ? mem_realloc(v->trie, cap, sizeof *p) : NULL;
        if (!p) return no_memory(g);
        v->trie = p;
        v->cap_trie = cap;
      }
      next = v->n_trie++;
      v->trie[next] = (struct trie_node){ 0, v->trie[node].child, NO_TOKEN, byte };
      v->trie[node].child = next;
    }
    node = next;
  }
  v->trie[node].id = id;
  return LRQK_OK;
}

static bool listed(const struct ids *list, uint32_t id) {
  for (size_t i = 0; list && i < list->n; i++) {
    if ((uint32_t)list->id[i] == id) return true;
  }
  return false;
}

uint32_t vocab_special(const struct vocab *v, const char *s, size_t len, size_t trusted, const struct ids *markers) {
  uint32_t found = NO_TOKEN, node = 1u + (uint8_t)s[0];
  for (size_t i = 1; node; i++) {
    uint32_t id = v->trie[node].id;
    if (id != NO_TOKEN && (i <= trusted || (v->tokens[id].type == TOKEN_USER && !listed(markers, id)))) found = id;
    if (i == len) break;
    node = v->trie[node].child;
    while (node && v->trie[node].byte != (uint8_t)s[i]) node = v->trie[node].sibling;
  }
  return found;
}

/* ---- loading ---- */

static enum lrqk_status array(const struct gguf *g, const char *key, bool required, bool strings, const struct gguf_key **out) {
  const struct gguf_key *k = gguf_find(g, key);
  *out = k;
  if (!k && !required) return LRQK_OK;
  if (!k) return fail(&g->log, LRQK_MODEL, "%s: %s is missing, expected an array of %s", g->path, key, strings ? "strings" : "numbers");
  if (k->type != GGUF_ARRAY || (k->element == GGUF_STRING) != strings || k->element == GGUF_ARRAY)
    return fail(&g->log, LRQK_MODEL, "%s: %s: found %s%s, expected an array of %s", g->path, key,
        k->type == GGUF_ARRAY ? "an array of " : "", gguf_type_name(k->type == GGUF_ARRAY ? k->element : k->type),
        strings ? "strings" : "numbers");
  return LRQK_OK;
}

static enum lrqk_status load_tokens(struct vocab *v, const struct gguf *g, uint32_t n_vocab) {
  const struct gguf_key *k;
  TRY(array(g, "tokenizer.ggml.tokens", true, true, &k));
  if (n_vocab && k->count != n_vocab)
    return fail(&g->log, LRQK_MODEL, "%s: tokenizer.ggml.tokens: found %llu tokens, expected %u, the rows of the embedding", g->path,
                (unsigned long long)k->count, n_vocab);
  uint32_t size = k->count < INT32_MAX ? table_size(k->count) : 0;
  if (!k->count || !size) return fail(&g->log, LRQK_MODEL, "%s: tokenizer.ggml.tokens: found %llu tokens, expected 1 to %d",
      g->path, (unsigned long long)k->count, INT32_MAX / 2);
  v->n = (uint32_t)k->count;
  v->tokens = mem_alloc(v->n, sizeof *v->tokens);
  v->names = mem_alloc(size, sizeof *v->names);
  if (!v->tokens || !v->names) return no_memory(g);
  v->names_mask = size - 1;
  size_t pos = 0, bytes = 0;
  for (uint32_t id = 0; id < v->n; id++) {
    struct gguf_str s = gguf_next_string(k, &pos);
    if (s.len > MAX_NAME)
      return fail(&g->log, LRQK_MODEL, "%s: tokenizer.ggml.tokens: token %u has %zu bytes, at most %d are expected", g->path, id, s.len,
          MAX_NAME);
    v->tokens[id] = (struct token){ .name = s.s, .name_len = (uint32_t)s.len, .type = TOKEN_NORMAL };
    bytes += s.len;
    if (s.len > v->longest) v->longest = (uint32_t)s.len;
    if (!s.len) continue;             /* a hole in the vocabulary: nothing ever becomes it */
    uint32_t slot = name_slot(v, s.s, s.len, "", 0);
    if (v->names[slot])
      return fail(&g->log, LRQK_MODEL, "%s: tokenizer.ggml.tokens: tokens %u and %u are both \"%.*s\"", g->path, v->names[slot] - 1, id,
                  s.len < 64 ? (int)s.len : 64, s.s);
    v->names[slot] = id + 1;
  }
  v->texts = mem_alloc(bytes, 1);
  return v->texts ? LRQK_OK : no_memory(g);
}

static enum lrqk_status load_types(struct vocab *v, const struct gguf *g) {
  const struct gguf_key *k;
  TRY(array(g, "tokenizer.ggml.token_type", false, false, &k));
  if (!k) {
    log_warn(&g->log, "%s: tokenizer.ggml.token_type is missing: only well-known names are taken for special tokens", g->path);
    return LRQK_OK;
  }
  if (k->count != v->n)
    return fail(&g->log, LRQK_MODEL,
        "%s: tokenizer.ggml.token_type: found %llu entries, expected %u, one for each of tokenizer.ggml.tokens", g->path,
                (unsigned long long)k->count, v->n);
  for (uint32_t id = 0; id < v->n; id++) {
    double type = gguf_number(k, id);
    if (!(type >= TOKEN_NORMAL && type <= TOKEN_BYTE) || type != (double)(int)type)
      return fail(&g->log, LRQK_MODEL, "%s: tokenizer.ggml.token_type: found %g for token %u, expected %d to %d", g->path, type, id,
          TOKEN_NORMAL, TOKEN_BYTE);
    v->tokens[id].type = (uint8_t)type;
  }
  return LRQK_OK;
}

/* Bytes of every token, the well-known names, and the tables of bytes and special tokens. */
static enum lrqk_status index_tokens(struct vocab *v, const struct gguf *g) {
  for (size_t i = 0; i < sizeof control_names / sizeof *control_names; i++) {
    uint32_t id = vocab_find(v, control_names[i].name, strlen(control_names[i].name));
    if (id == NO_TOKEN) continue;
    struct token *t = &v->tokens[id];
    if (t->type != TOKEN_CONTROL && t->type != TOKEN_USER) {
      log_warn(&g->log, "%s: tokenizer.ggml.token_type: token %u, %s, has type %d, taken for a control token", g->path, id,
          control_names[i].name, t->type);
      t->type = TOKEN_CONTROL;
    }
    t->end = control_names[i].end;
    t->well_known = true;
  }
  v->cap_trie = 1024;
  v->trie = mem_alloc(v->cap_trie, sizeof *v->trie);
  if (!v->trie) return no_memory(g);
  v->n_trie = 257;
  for (int b = 0; b < 256; b++) v->byte[b] = NO_TOKEN;
  for (uint32_t i = 0; i < v->n_trie; i++) v->trie[i].id = NO_TOKEN;
  char *text = v->texts;
  for (uint32_t id = 0; id < v->n; id++) {
    struct token *t = &v->tokens[id];
    t->text = text;
    int byte = v->spm && t->type == TOKEN_BYTE ? byte_piece(t->name, t->name_len) : -1;
    if (t->type == TOKEN_UNKNOWN || t->type == TOKEN_CONTROL || t->type == TOKEN_USER) {   /* those are not in GPT-2's alphabet */
      t->text = t->name;
      t->text_len = t->name_len;
      if (v->spm && t->type == TOKEN_USER) {
        t->text_len = decode_piece(t->name, t->name_len, text);
        t->text = text;
      }
      if (t->name_len) TRY(trie_add(v, g, id));
      if (t->type == TOKEN_USER && t->name_len) v->has_user = true;
    } else if (byte >= 0) {
      text[0] = (char)byte;
      t->text_len = 1;
      v->byte[byte] = id;
    } else t->text_len = (v->spm ? decode_piece : decode_name)(t->name, t->name_len, text);
    text += t->name_len;
  }
  for (int b = 0; b < 256 && !v->spm; b++) {
    char name[2];
    v->byte[b] = vocab_find(v, name, vocab_byte_name((uint8_t)b, name));
  }
  return LRQK_OK;
}

static enum lrqk_status load_merges(struct vocab *v, const struct gguf *g) {
  const struct gguf_key *k;
  TRY(array(g, "tokenizer.ggml.merges", true, true, &k));
  uint32_t size = k->count < INT32_MAX ? table_size(k->count) : 0;
  if (!size) return fail(&g->log, LRQK_MODEL, "%s: tokenizer.ggml.merges: found %llu merges", g->path, (unsigned long long)k->count);
  v->merges = mem_alloc(size, sizeof *v->merges);
  if (!v->merges) return no_memory(g);
  v->merges_mask = size - 1;
  size_t pos = 0;
  for (uint32_t i = 0; i < (uint32_t)k->count; i++) {
    struct gguf_str s = gguf_next_string(k, &pos);
    const char *space = s.len > 2 ? memchr(s.s + 1, ' ', s.len - 2) : NULL;   /* both parts have at least one byte */
    if (!space)
      return fail(&g->log, LRQK_MODEL, "%s: tokenizer.ggml.merges: merge %u is \"%.*s\", expected two parts with a space between",
          g->path, i, s.len < 64 ? (int)s.len : 64, s.s);
    size_t na = (size_t)(space - s.s), nb = s.len - na - 1;
    uint32_t left = vocab_find(v, s.s, na), right = vocab_find(v, space + 1, nb);
    uint32_t result = v->names[name_slot(v, s.s, na, space + 1, nb)] - 1u;
    if (left == NO_TOKEN || right == NO_TOKEN || result == NO_TOKEN) continue;   /* it could never come to be */
    if (token_hidden(&v->tokens[result])) continue;                              /* text never becomes a control token */
    struct merge *m = &v->merges[merge_slot(v, left, right)];
    if (!m->rank1) *m = (struct merge){ left, right, result, i + 1 };
  }
  return LRQK_OK;
}

static enum lrqk_status load_scores(struct vocab *v, const struct gguf *g) {
  const struct gguf_key *k;
  TRY(array(g, "tokenizer.ggml.scores", true, false, &k));
  if (k->count != v->n)
    return fail(&g->log, LRQK_MODEL, "%s: tokenizer.ggml.scores: found %llu entries, expected %u, one for each of tokenizer.ggml.tokens",
        g->path, (unsigned long long)k->count, v->n);
  for (uint32_t id = 0; id < v->n; id++) {
    v->tokens[id].score = (float)gguf_number(k, id);
    if (!isfinite(v->tokens[id].score))
      return fail(&g->log, LRQK_MODEL, "%s: tokenizer.ggml.scores: found %g for token %u, expected a finite number", g->path,
          gguf_number(k, id), id);
  }
  return LRQK_OK;
}

/* Files of the architecture phi3 do not say it, but their tokenizer takes white space behind special tokens away, except
 * behind these. */
static void phi3_strips(struct vocab *v, const struct gguf *g) {
  static const char *const keep[] = { "<unk>", "<s>", "<|endoftext|>" };
  struct gguf_str arch = { "", 0 };
  const struct gguf_key *k = gguf_find(g, "general.architecture");
  if (!k || k->type != GGUF_STRING || gguf_string(g, "general.architecture", false, &arch) != LRQK_OK) return;
  if (arch.len != 4 || memcmp(arch.s, "phi3", 4)) return;
  for (uint32_t id = 0; id < v->n; id++) v->tokens[id].strips = token_hidden(&v->tokens[id]) || v->tokens[id].type == TOKEN_USER;
  for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
    uint32_t id = vocab_find(v, keep[i], strlen(keep[i]));
    if (id != NO_TOKEN) v->tokens[id].strips = false;
  }
}

/* An optional id of a token. */
static enum lrqk_status token_id(const struct vocab *v, const struct gguf *g, const char *key, int32_t *out) {
  uint32_t id = NO_TOKEN;
  *out = -1;
  TRY(gguf_u32(g, key, false, &id));
  if (!gguf_find(g, key)) return LRQK_OK;
  if (id >= v->n) return fail(&g->log, LRQK_MODEL, "%s: %s: found %u, expected less than %u, the number of tokens", g->path, key, id, v->n);
  *out = (int32_t)id;
  return LRQK_OK;
}

/* SentencePiece vocabularies whose files do not name their special tokens have them under these names. */
static int32_t usual(const struct vocab *v, const char *name) {
  uint32_t id = v->spm ? vocab_find(v, name, strlen(name)) : NO_TOKEN;
  return id != NO_TOKEN && token_hidden(&v->tokens[id]) ? (int32_t)id : -1;
}

enum lrqk_status vocab_load(struct vocab *v, const struct gguf *g, uint32_t n_vocab, bool spm) {
  static const char *const end_keys[] = { "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id" };
  v->spm = spm;
  TRY(load_tokens(v, g, n_vocab));
  TRY(load_types(v, g));
  TRY(index_tokens(v, g));
  if (spm) {
    TRY(load_scores(v, g));
    phi3_strips(v, g);
  } else TRY(load_merges(v, g));
  TRY(token_id(v, g, "tokenizer.ggml.bos_token_id", &v->bos));
  TRY(token_id(v, g, end_keys[0], &v->eos));
  TRY(token_id(v, g, "tokenizer.ggml.unknown_token_id", &v->unknown));
  if (v->bos < 0 && !gguf_find(g, "tokenizer.ggml.bos_token_id")) v->bos = usual(v, "<s>");
  if (v->eos < 0 && !gguf_find(g, "tokenizer.ggml.eos_token_id")) v->eos = usual(v, "</s>");
  if (v->unknown < 0) v->unknown = usual(v, "<unk>");
  if (v->eos >= 0) v->tokens[v->eos].end = true;
  for (size_t i = 0; i < sizeof end_keys / sizeof *end_keys; i++) {
    int32_t id;
    TRY(token_id(v, g, end_keys[i], &id));
    if (id >= 0) v->tokens[id].end = true;
  }
  return LRQK_OK;
}

void vocab_free(struct vocab *v) {
  mem_free(v->tokens);
  mem_free(v->texts);
  mem_free(v->names);
  mem_free(v->merges);
  mem_free(v->trie);
  *v = (struct vocab){ 0 };
}
