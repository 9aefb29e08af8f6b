/* chat.c - messages in the chat template of a model: a table of the templates that are known, recognised by what the
 * file's Jinja text contains.  That text is not executed; what varies between models of one family (a default system
 * message, a leading BOS) is read out of its literals.  Called by engine.c. */
#include <string.h>

#include "base/mem.h"
#include "token/tokenizer.h"

struct chat_template {
  const char *name, *marker;        /* marker: what only this family has in its template */
  const char *open, *close;         /* special tokens around a message */
};

static const struct chat_template templates[] = {
  { "chatml", "<|im_start|>", "<|im_start|>", "<|im_end|>" },   /* open role \n text close \n ... open assistant \n */
};

static bool contains(struct gguf_str s, const char *part) {
  return memmem(s.s, s.len, part, strlen(part)) != NULL;
}

static const struct chat_template *recognise(const struct gguf *g, struct gguf_str *text) {
  const struct gguf_key *k = gguf_find(g, "tokenizer.chat_template");
  if (!k || k->type != GGUF_STRING || gguf_string(g, "tokenizer.chat_template", false, text) != LRQK_OK) return NULL;
  for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
    if (contains(*text, templates[i].marker)) return &templates[i];
  }
  return NULL;
}

const char *chat_template_name(const struct gguf *g) {
  struct gguf_str text;
  const struct chat_template *c = recognise(g, &text);
  return c ? c->name : "";
}

/* ---- what the Jinja text says ---- */

static const char *skip_spaces(const char *p, const char *end) {
  while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')) p++;
  return p;
}

static bool starts(const char *p, const char *end, const char *word) {
  size_t n = strlen(word);
  return (size_t)(end - p) >= n && !memcmp(p, word, n);
}

/* One string literal at p: appends its value at *n of out; the place behind it, NULL if there is none. */
static const char *literal(const char *p, const char *end, char *out, size_t *n) {
  if (p == end || (*p != '\'' && *p != '"')) return NULL;
  char quote = *p++;
  for (; p < end && *p != quote; p++) {
    char c = *p;
    if (c == '\\' && p + 1 < end) {
      c = *++p;
      c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
    }
    out[(*n)++] = c;
  }
  return p < end ? p + 1 : NULL;
}

struct hints { bool bos; const char *system; size_t system_len; };   /* system NULL: none by default */

/* Looks through the expressions {{ 'literal' + 'literal' }} for a whole system message, and for {{ bos_token }}.
 * buf has room for the whole template; the hints point into it. */
static struct hints read_hints(const struct chat_template *c, struct gguf_str t, char *buf) {
  struct hints h = { 0 };
  const char *end = t.s + t.len;
  for (const char *p = t.s; (p = memmem(p, (size_t)(end - p), "{{", 2)); ) {
    p += 2;
    if (p < end && *p == '-') p++;
    const char *q = skip_spaces(p, end);
    size_t n = 0;
    if (starts(q, end, "bos_token")) {
      q = skip_spaces(q + strlen("bos_token"), end);
      if (starts(q, end, "}}") || starts(q, end, "-}}")) h.bos = true;
      continue;
    }
    if (h.system) continue;           /* buf holds it: nothing may be written any more */
    while ((q = literal(q, end, buf, &n))) {
      q = skip_spaces(q, end);
      if (q == end || *q != '+') break;
      q = skip_spaces(q + 1, end);
    }
    if (!q || !(starts(q, end, "}}") || starts(q, end, "-}}"))) continue;
    char head[64], tail[64];
    size_t nh = strlen(strcat(strcpy(head, c->open), "system\n")), nt = strlen(strcat(strcpy(tail, c->close), "\n"));
    if (n > nh + nt && !memcmp(buf, head, nh) && !memcmp(buf + n - nt, tail, nt)) {
      h.system = buf + nh;
      h.system_len = n - nh - nt;
    }
  }
  return h;
}

/* ---- rendering ---- */

struct render {
  const struct tokenizer *t;
  const struct log *log;
  int32_t open, close;
  struct ids *out;
  size_t replaced;
};

static enum lrqk_status push(struct render *r, int32_t id) {
  return ids_push(r->out, id) == LRQK_OK ? LRQK_OK : fail(r->log, LRQK_MEMORY, "chat template: out of memory");
}

/* Words may span the newline after the role, so role and text are encoded as one. */
static enum lrqk_status turn(struct render *r, const char *role, const char *text, size_t len) {
  size_t n = strlen(role), places = 0;
  char *whole = len < SIZE_MAX - n - 1 ? mem_alloc(n + 1 + len, 1) : NULL;
  if (!whole) return fail(r->log, LRQK_MEMORY, "chat template: out of memory for a message of %zu bytes", len);
  memcpy(whole, role, n);
  whole[n] = '\n';
  if (len) memcpy(whole + n + 1, text, len);
  enum lrqk_status s = push(r, r->open);
  if (s == LRQK_OK) s = tokenizer_encode(r->t, whole, n + 1 + len, false, r->out, &places);
  r->replaced += places;
  mem_free(whole);
  return s;
}

static enum lrqk_status message(struct render *r, const char *role, const char *text, size_t len) {
  TRY(turn(r, role, text, len));
  TRY(push(r, r->close));
  return tokenizer_encode(r->t, "\n", 1, false, r->out, NULL);
}

static enum lrqk_status render(struct render *r, const struct hints *h, const struct lrqk_message *msg, size_t n, size_t from, bool prompt) {
  if (!from && h->bos && tokenizer_bos(r->t) >= 0) TRY(push(r, tokenizer_bos(r->t)));
  if (!from && n && h->system && strcmp(msg[0].role, "system")) TRY(message(r, "system", h->system, h->system_len));
  if (from) {
    TRY(push(r, r->close));
    TRY(tokenizer_encode(r->t, "\n", 1, false, r->out, NULL));
  }
  for (size_t i = from; i < n; i++) TRY(message(r, msg[i].role, msg[i].text, msg[i].len));
  return prompt ? turn(r, "assistant", "", 0) : LRQK_OK;
}

enum lrqk_status chat_known(const struct gguf *g) {
  struct gguf_str text = { "", 0 };
  if (recognise(g, &text)) return LRQK_OK;
  return fail(&g->log, LRQK_USAGE, "%s: tokenizer.chat_template: %s, known is: %s", g->path,
              gguf_find(g, "tokenizer.chat_template") ? "not a template that is known" : "missing", templates[0].name);
}

enum lrqk_status chat_encode(const struct tokenizer *t, const struct gguf *g, const struct lrqk_message *msg, size_t n, size_t from,
    bool prompt, struct ids *out, size_t *replaced) {
  TRY(chat_known(g));
  struct gguf_str text = { "", 0 };
  const struct chat_template *c = recognise(g, &text);
  for (size_t i = 0; i < n; i++) {
    if (strcmp(msg[i].role, "system") && strcmp(msg[i].role, "user") && strcmp(msg[i].role, "assistant"))
      return fail(&g->log, LRQK_USAGE, "message %zu: role \"%.32s\", expected system, user or assistant", i, msg[i].role);
  }
  struct render r = { t, &g->log, tokenizer_special(t, c->open), tokenizer_special(t, c->close), out, 0 };
  if (r.open < 0 || r.close < 0)
    return fail(&g->log, LRQK_MODEL, "%s: tokenizer.chat_template: %s is not a special token of the vocabulary", g->path,
        r.open < 0 ? c->open : c->close);
  char *buf = mem_alloc(text.len, 1);
  if (!buf) return fail(&g->log, LRQK_MEMORY, "%s: chat template: out of memory", g->path);
  struct hints h = read_hints(c, text, buf);
  enum lrqk_status s = render(&r, &h, msg, n, from, prompt);
  if (s == LRQK_OK && replaced) *replaced = r.replaced;
  mem_free(buf);
  return s;
}
