/* chat.c - see chat.h.  Called by src/chat.c. */
#include "token/chat.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "jinja/jinja.h"

struct chat {
  const struct tokenizer *tokenizer;
  struct log log;
  struct jinja *jinja;
  const char *family;
  char *name;                /* of the template, for messages */
  char *bos, *eos;           /* names of those tokens */
  int64_t now;
  struct ids markers;
};

/* ---- open ---- */

static bool file_template(const struct gguf *g, struct gguf_str *text) {
  const struct gguf_key *k = gguf_find(g, "tokenizer.chat_template");
  return k && k->type == GGUF_STRING && gguf_string(g, "tokenizer.chat_template", false, text) == LRQK_OK && text->len;
}

const char *chat_template_family(const struct gguf *g) {
  struct gguf_str text;
  return file_template(g, &text) ? chat_recognise(text.s, text.len) : "";
}

static void hint_names(const struct log *log) {
  char names[256] = "";
  for (size_t i = 0; chat_template(i); i++) {
    size_t n = strlen(names);
    snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", chat_template(i)->name);
  }
  log_hint(log, "templates that can be named are %s", names);
}

/* The text of the template that is asked for, and its name for messages. */
static enum lrqk_status choose(const struct gguf *g, const struct lrqk_chat_options *opt, struct gguf_str *text, char **name) {
  char label[512];
  snprintf(label, sizeof label, "chat template%s%s", opt->name ? " " : "", opt->name ? opt->name : "");
  *text = (struct gguf_str){ opt->text, opt->len };
  if (opt->name) {
    size_t i = 0;
    while (chat_template(i) && strcmp(chat_template(i)->name, opt->name)) i++;
    if (!chat_template(i)) return fail(&g->log, LRQK_USAGE, "chat template: the name \"%.64s\" is not known", opt->name);
    *text = (struct gguf_str){ chat_template(i)->text, strlen(chat_template(i)->text) };
  } else if (!opt->text) {
    snprintf(label, sizeof label, "%.400s: tokenizer.chat_template", g->path);
    if (!file_template(g, text)) return fail(&g->log, LRQK_USAGE, "%s: missing, the model has no chat template", label);
  }
  *name = mem_strdup(label);
  return *name ? LRQK_OK : fail(&g->log, LRQK_MEMORY, "%s: out of memory", label);
}

/* The name of a special token, "" if there is none or it is no text. */
static char *token_name(const struct tokenizer *t, int32_t id) {
  const char *s = "";
  size_t n = 0;
  if (id >= 0) tokenizer_text(t, id, true, &s, &n);
  for (size_t i = 0; i < n; ) {
    uint32_t c;
    i += utf8_decode(s + i, n - i, &c);
    if (c == UTF8_INVALID || c == UTF8_INCOMPLETE || !c) n = 0;
  }
  char *name = mem_alloc(n + 1, 1);
  if (name && n) memcpy(name, s, n);
  return name;
}

static enum lrqk_status open_parts(struct chat *c, const struct gguf *g, const struct lrqk_chat_options *opt) {
  struct gguf_str text;
  char *copy = NULL;
  size_t places;
  TRY(choose(g, opt, &text, &c->name));
  c->now = opt->now;
  c->family = opt->name ? opt->name : chat_recognise(text.s, text.len);
  for (size_t i = 0; opt->name && chat_template(i); i++) if (!strcmp(chat_template(i)->name, opt->name)) c->family = chat_template(i)->name;
  c->bos = token_name(c->tokenizer, tokenizer_bos(c->tokenizer));
  c->eos = token_name(c->tokenizer, tokenizer_eos(c->tokenizer));
  if (!c->bos || !c->eos) return fail(&c->log, LRQK_MEMORY, "%s: out of memory", c->name);
  TRY(tokenizer_repair(&c->log, &text.s, &text.len, &copy, &places));
  enum lrqk_status s = jinja_parse(&c->jinja, &c->log, c->name, text.s, text.len);
  if (s == LRQK_OK) s = tokenizer_markers(c->tokenizer, text.s, text.len, &c->markers);
  mem_free(copy);
  return s;
}

enum lrqk_status chat_open(struct chat **out, const struct tokenizer *t, const struct gguf *g, const struct lrqk_chat_options *opt) {
  static const struct lrqk_chat_options none;
  struct chat *c = mem_alloc(1, sizeof *c);
  if (!c) return fail(&g->log, LRQK_MEMORY, "chat template: out of memory");
  c->tokenizer = t;
  c->log = g->log;
  enum lrqk_status s = open_parts(c, g, opt ? opt : &none);
  if (s != LRQK_OK) {
    if (s == LRQK_USAGE) hint_names(&g->log);
    chat_close(c);
    return s;
  }
  *out = c;
  return LRQK_OK;
}

void chat_close(struct chat *c) {
  if (!c) return;
  jinja_free(c->jinja);
  mem_free(c->name);
  mem_free(c->bos);
  mem_free(c->eos);
  mem_free(c->markers.id);
  mem_free(c);
}

const char *chat_family(const struct chat *c) { return c->family; }

/* ---- messages ---- */

struct prepared { struct jinja_message *msg; char **copy; size_t n, replaced; };

static void free_prepared(struct prepared *p) {
  for (size_t i = 0; p->copy && i < p->n; i++) mem_free(p->copy[i]);
  mem_free(p->copy);
  mem_free(p->msg);
}

static bool blank(const char *s, size_t len) {
  for (size_t i = 0; i < len; i++) if (s[i] != ' ' && !(s[i] >= '\t' && s[i] <= '\r')) return false;
  return true;
}

/* The messages for the template: roles checked, text in valid UTF-8, the answered one marked. */
static enum lrqk_status prepare(const struct chat *c, const struct lrqk_message *msg, size_t n, size_t answered, struct prepared *p) {
  static const char *const roles[] = { "system", "user", "assistant" };
  p->n = n;
  p->msg = mem_alloc(n + 1, sizeof *p->msg);
  p->copy = mem_alloc(n + 1, sizeof *p->copy);
  if (!p->msg || !p->copy) return fail(&c->log, LRQK_MEMORY, "%s: out of memory", c->name);
  for (size_t i = 0; i < n; i++) {
    const char *role = NULL, *text = msg[i].text;
    size_t len = msg[i].len, places = 0;
    for (size_t k = 0; k < 3; k++) if (!strcmp(msg[i].role, roles[k])) role = roles[k];
    if (!role) return fail(&c->log, LRQK_USAGE, "message %zu: role \"%.32s\", expected system, user or assistant", i, msg[i].role);
    if (len) TRY(tokenizer_repair(&c->log, &text, &len, &p->copy[i], &places));
    p->replaced += places;
    p->msg[i] = (struct jinja_message){ role, len ? text : "", len, i == answered ? JINJA_MARKED : JINJA_MESSAGE };
    /* An answer without visible text has nothing that its place in the output could be known by. */
    if (i == answered && blank(text, len)) p->msg[i] = (struct jinja_message){ role, "-", 1, JINJA_MARKED };
  }
  return LRQK_OK;
}

static enum lrqk_status render(const struct chat *c, const struct lrqk_message *msg, size_t n, size_t answered, unsigned flags,
                               struct jinja_output *out, size_t *replaced) {
  struct prepared p = { 0 };
  enum lrqk_status s = prepare(c, msg, n, answered, &p);
  struct jinja_input in = { .msg = p.msg, .n_msg = n, .add_generation_prompt = !(flags & LRQK_CHAT_NO_PROMPT), .bos = c->bos, .eos = c->eos,
                            .now = c->now };
  if (s == LRQK_OK) s = jinja_render(c->jinja, &in, out);
  if (replaced) *replaced = p.replaced;
  free_prepared(&p);
  return s;
}

enum lrqk_status chat_encode(const struct chat *c, const struct lrqk_message *msg, size_t n, size_t answered, unsigned flags,
    struct ids *out,
                             size_t *replaced) {
  struct jinja_output text;
  if (answered != CHAT_ALL && answered >= n) return fail(&c->log, LRQK_USAGE, "%s: message %zu of %zu was answered", c->name, answered, n);
  TRY(render(c, msg, n, answered, flags, &text, replaced));
  size_t from = 0;
  if (answered != CHAT_ALL) for (from = text.len; from && text.origin[from - 1] != JINJA_MARKED; ) from--;
  enum lrqk_status s = LRQK_OK;
  if (answered != CHAT_ALL && !from)
    s = fail(&c->log, LRQK_USAGE, "%s: it leaves the text of message %zu out, nothing can follow it", c->name, answered);
  if (s == LRQK_OK && from < text.len) {
    struct marked_text rest = { text.s + from, text.origin + from, text.len - from, true, from > 0, &c->markers };
    s = tokenizer_encode_marked(c->tokenizer, &rest, out);
  }
  mem_free(text.s);
  mem_free(text.origin);
  return s;
}

enum lrqk_status chat_render(const struct chat *c, const struct lrqk_message *msg, size_t n, unsigned flags, char **text, size_t *len) {
  struct jinja_output out;
  TRY(render(c, msg, n, CHAT_ALL, flags, &out, NULL));
  mem_free(out.origin);
  char *end = mem_realloc(out.s, out.len + 1, 1);
  if (!end) {
    mem_free(out.s);
    return fail(&c->log, LRQK_MEMORY, "%s: out of memory", c->name);
  }
  end[out.len] = 0;
  *text = end;
  *len = out.len;
  return LRQK_OK;
}
