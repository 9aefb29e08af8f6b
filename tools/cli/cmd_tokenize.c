/* cmd_tokenize.c - `lrqk tokenize`: text to ids, and back with --decode. */
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "input.h"
#include "work.h"

/* A token's bytes on one line: control characters, quotes and bytes above ASCII that stand alone are escaped. */
static void quoted(struct text *t, const char *s, size_t len) {
  text_add(t, "\"", 1);
  for (size_t i = 0; i < len;) {
    unsigned char c = (unsigned char)s[i];
    size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 0, good = n ? 1 : 0;
    while (n && good < n && i + good < len && ((unsigned char)s[i + good] & 0xc0) == 0x80) good++;
    if (n > 1 && good == n) text_add(t, s + i, n);
    else if (c == '\n') text_add(t, "\\n", 2);
    else if (c == '\t') text_add(t, "\\t", 2);
    else if (c == '\r') text_add(t, "\\r", 2);
    else if (c == '"' || c == '\\') text_printf(t, "\\%c", c);
    else if (c < 0x20 || c >= 0x7f) text_printf(t, "\\x%02x", c);
    else text_add(t, s + i, 1);
    i += n > 1 && good == n ? n : 1;
  }
  text_add(t, "\"\n", 2);
}

static int encode(struct ui *u, const struct options *o, const struct work *w, const struct text *in) {
  int32_t *ids = NULL;
  size_t n = 0;
  unsigned flags = (o->special ? LRQK_TOKENIZE_SPECIAL : 0) | (o->no_bos ? LRQK_TOKENIZE_NO_BOS : LRQK_TOKENIZE_EOS);
  enum lrqk_status s = lrqk_tokenize(w->model, in->s ? in->s : "", in->len, in->len ? flags : LRQK_TOKENIZE_NO_BOS, &ids, &n);
  if (s) return (int)s;
  struct text t = {0};
  if (o->json) {
    json_open(&t, '{');
    json_field_ids(&t, "ids", ids, n);
    json_close(&t, '}');
    text_add(&t, "\n", 1);
  }
  for (size_t i = 0; i < n && !o->json && !s; i++) {
    const char *text;
    size_t len;
    s = lrqk_token_text(w->model, ids[i], true, &text, &len);
    if (s) break;
    text_printf(&t, "%d\t", (int)ids[i]);
    quoted(&t, text, len);
  }
  lrqk_free(ids);
  int code = (int)s;
  if (code) text_free(&t);
  else code = out_text(u, &t);
  return code;
}

static int decode(struct ui *u, const struct options *o, const struct work *w, const struct text *in) {
  int32_t *ids = NULL;
  size_t n = 0;
  int code = input_ids(u, o->prompt ? "-p" : o->file ? o->file : "standard input", in->s ? in->s : "", in->len, &ids, &n);
  if (code) return code;
  struct text t = {0}, j = {0};
  enum lrqk_status s = LRQK_OK;
  for (size_t i = 0; i < n && !s; i++) {
    const char *text;
    size_t len;
    s = lrqk_token_text(w->model, ids[i], o->special, &text, &len);
    size_t lead = s || !len ? 0 : lrqk_token_lead(w->model, i ? ids[i - 1] : -1, ids[i]);
    if (!s && len) text_add(&t, text + lead, len - lead);
  }
  free(ids);
  if (s) {
    code = (int)s;
  } else if (o->json) {
    json_open(&j, '{');
    json_key(&j, "text");
    json_bytes(&j, t.s ? t.s : "", t.len);
    json_close(&j, '}');
    j.failed = j.failed || t.failed;
    code = out_json(u, &j);
  } else {
    return out_text(u, &t);
  }
  text_free(&t);
  return code;
}

int cmd_tokenize(struct ui *u, const struct options *o) {
  struct work w = {0};
  struct text in = {0};
  int code = input_text(u, o, &in);
  if (!code) code = work_model(u, &w, o->model, VOCABULARY);
  if (!code) code = o->to_text ? decode(u, o, &w, &in) : encode(u, o, &w, &in);
  text_free(&in);
  work_close(&w);
  return code;
}
