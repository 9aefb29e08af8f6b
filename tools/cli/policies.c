/* policies.c - see policies.h. */
#include "policies.h"

#include <stdio.h>
#include <string.h>

#include "options.h"

/* Applies "key=value", or "name" with key NULL, to p. */
static int apply(struct ui *u, struct policy *p, const char *key, size_t key_len, const char *value, size_t len) {
  char k[64], v[64];
  int64_t n;
  if (key_len >= sizeof k || len >= sizeof v)
    return ui_fail(u, LRQK_USAGE, "--policies: \"%.*s\" is too long", (int)(key_len ? key_len : len), key ? key : value);
  snprintf(k, sizeof k, "%.*s", (int)key_len, key ? key : "");
  snprintf(v, sizeof v, "%.*s", (int)len, value);
  if (key && number_parse(v, &n)) snprintf(v, sizeof v, "%lld", (long long)n);
  enum lrqk_status s = lrqk_cache_set(&p->cache, key ? k : "attention", v, ui_log, u);
  return s ? ui_prefix(u, (int)s, "--policies: ") : 0;
}

/* One item of the list: NAME, NAME:KEY=VALUE, or KEY=VALUE of the policy before.  A value may hold commas if what
 * follows begins with a digit (dense-layers=0,3-5): names never do. */
static int item(struct ui *u, struct policy *list, size_t *n, const char *s, size_t len) {
  const char *colon = memchr(s, ':', len), *equals = memchr(s, '=', len);
  struct policy *p = *n ? &list[*n - 1] : NULL;
  if (!len) return ui_fail(u, LRQK_USAGE, "--policies: an item is empty, expected NAME or NAME:KEY=VALUE,KEY=VALUE...");
  if (equals && (!colon || equals < colon)) {
    if (!p) return ui_fail(u, LRQK_USAGE, "--policies: \"%.*s\" has no policy before it", (int)len, s);
    p->len = (size_t)(s + len - p->text);
    return apply(u, p, s, (size_t)(equals - s), equals + 1, (size_t)(s + len - equals - 1));
  }
  if (p && len == 12 && !memcmp(s, "freeze-basis", len)) {   /* a flag, which may stand alone */
    p->len = (size_t)(s + len - p->text);
    return apply(u, p, s, len, "on", 2);
  }
  if (*n == MAX_POLICIES) return ui_fail(u, LRQK_USAGE, "--policies: more than %d policies", MAX_POLICIES);
  p = &list[(*n)++];
  *p = (struct policy){.text = s, .len = len, .cache = lrqk_cache_defaults()};
  int code = apply(u, p, NULL, 0, s, colon ? (size_t)(colon - s) : len);
  if (code || !colon) return code;
  if (!equals) return ui_fail(u, LRQK_USAGE, "--policies: \"%.*s\": KEY=VALUE must follow the colon", (int)len, s);
  return apply(u, p, colon + 1, (size_t)(equals - colon - 1), equals + 1, (size_t)(s + len - equals - 1));
}

int policies_parse(struct ui *u, const char *list, struct policy out[MAX_POLICIES], size_t *n) {
  int code = 0;
  *n = 0;
  for (const char *s = list; !code;) {
    size_t len = strcspn(s, ",");
    while (s[len] == ',' && s[len + 1] >= '0' && s[len + 1] <= '9') len += 1 + strcspn(s + len + 1, ",");
    code = item(u, out, n, s, len);
    if (!s[len]) break;
    s += len + 1;
  }
  return code;
}
