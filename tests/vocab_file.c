/* vocab_file.c - see vocab_file.h. */
#include "vocab_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct file { unsigned char *p; size_t n, cap; uint64_t keys; };

static void put(struct file *f, const void *data, size_t n) {
  if (f->n + n > f->cap) {
    f->cap = 2 * f->cap + n;
    f->p = realloc(f->p, f->cap);
    if (!f->p) abort();
  }
  if (n) memcpy(f->p + f->n, data, n);
  f->n += n;
}

static void put_u32(struct file *f, uint32_t v) { put(f, &v, 4); }
static void put_u64(struct file *f, uint64_t v) { put(f, &v, 8); }

static void put_text(struct file *f, const char *s) {
  put_u64(f, strlen(s));
  put(f, s, strlen(s));
}

static void key(struct file *f, const char *name, uint32_t type) {
  put_text(f, name);
  put_u32(f, type);
  f->keys++;
}

static void key_text(struct file *f, const char *name, const char *value) {
  if (!value) return;
  key(f, name, 8);
  put_text(f, value);
}

static void key_id(struct file *f, const char *name, int64_t id1) {
  if (!id1) return;
  key(f, name, 4);
  put_u32(f, (uint32_t)(id1 - 1));
}

/* GPT-2's own way to make its alphabet: printable bytes are themselves, the others count up from 256. */
static void alphabet(char name[256][3]) {
  unsigned next = 256;
  for (unsigned b = 0; b < 256; b++) {
    bool plain = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    unsigned c = plain ? b : next++;
    size_t n = 0;
    if (c < 128) name[b][n++] = (char)c;
    else { name[b][n++] = (char)(0xc0 | c >> 6); name[b][n++] = (char)(0x80 | (c & 63)); }
    name[b][n] = 0;
  }
}

static void key_bool(struct file *f, const char *name, int value) {
  if (!value) return;
  key(f, name, 7);
  put(f, value > 0 ? "\1" : "\0", 1);
}

static void key_tokens(struct file *f, const struct vocab_spec *s, uint64_t n_bytes, uint64_t n_extra) {
  char name[256][3], byte[8];
  alphabet(name);
  key(f, "tokenizer.ggml.tokens", 9);
  put_u32(f, 8);
  put_u64(f, n_bytes + n_extra);
  for (uint64_t i = 0; i < n_bytes; i++) {
    snprintf(byte, sizeof byte, "<0x%02X>", (unsigned)i & 255);
    put_text(f, s->spm ? byte : name[i]);
  }
  for (uint64_t i = 0; i < n_extra; i++) put_text(f, s->extra[i]);
}

unsigned char *vocab_file(const struct vocab_spec *s, size_t *n) {
  struct file f = { 0 };
  uint64_t n_extra = 0, n_merges = 0, n_bytes = s->no_bytes ? 0 : VOCAB_BYTES;
  while (n_extra < VOCAB_MAX && s->extra[n_extra]) n_extra++;
  while (n_merges < VOCAB_MAX && s->merges[n_merges]) n_merges++;
  put(&f, "GGUF", 4);
  put_u32(&f, 3);
  put_u64(&f, 0);
  put_u64(&f, 0);                          /* the number of keys, written below */
  if (!s->no_model) key_text(&f, "tokenizer.ggml.model", s->model ? s->model : "gpt2");
  key_text(&f, "tokenizer.ggml.pre", s->pre);
  key_text(&f, "tokenizer.chat_template", s->chat);
  if (!s->no_tokens) key_tokens(&f, s, n_bytes, n_extra);
  int64_t n_types = (int64_t)(n_bytes + n_extra) + s->n_types;
  if (n_types >= 0) {
    key(&f, "tokenizer.ggml.token_type", 9);
    put_u32(&f, 5);
    put_u64(&f, (uint64_t)n_types);
    for (int64_t i = 0; i < n_types; i++) {
      int64_t e = i - (int64_t)n_bytes;
      put_u32(&f, e >= 0 && e < VOCAB_MAX && s->type[e] ? (uint32_t)s->type[e] : e < 0 && s->spm ? 6u : 1u);
    }
  }
  if (s->spm && !s->no_scores) {
    key(&f, "tokenizer.ggml.scores", 9);
    put_u32(&f, 6);
    put_u64(&f, n_bytes + n_extra);
    for (uint64_t i = 0; i < n_bytes; i++) put_u32(&f, 0);
    put(&f, s->score, n_extra * sizeof *s->score);
  }
  if (!s->no_merges && !s->spm) {
    key(&f, "tokenizer.ggml.merges", 9);
    put_u32(&f, 8);
    put_u64(&f, n_merges);
    for (uint64_t i = 0; i < n_merges; i++) put_text(&f, s->merges[i]);
  }
  key_id(&f, "tokenizer.ggml.bos_token_id", s->bos);
  key_id(&f, "tokenizer.ggml.eos_token_id", s->eos);
  key_id(&f, "tokenizer.ggml.eot_token_id", s->eot);
  key_bool(&f, "tokenizer.ggml.add_bos_token", s->add_bos);
  key_bool(&f, "tokenizer.ggml.add_eos_token", s->add_eos);
  key_bool(&f, "tokenizer.ggml.add_space_prefix", s->space_prefix);
  key_bool(&f, "tokenizer.ggml.remove_extra_whitespaces", s->one_space);
  key_text(&f, "general.architecture", s->arch);
  memcpy(f.p + 16, &f.keys, 8);
  *n = f.n;
  return f.p;
}
