/* chat.h - messages in a chat template: the Jinja text of a model's file, of the caller, or one of those that come along
 * (templates.c), run by src/jinja; what it gives is tokenized so that text of messages holds no special tokens. */
#ifndef TOKEN_CHAT_H
#define TOKEN_CHAT_H

#include <lrqk/chat.h>

#include "token/tokenizer.h"

struct chat;

/* As lrqk_chat_open; t and g are borrowed. */
enum lrqk_status chat_open(struct chat **out, const struct tokenizer *t, const struct gguf *g, const struct lrqk_chat_options *opt);
void chat_close(struct chat *c);                                   /* NULL is fine */
const char *chat_family(const struct chat *c);                     /* as lrqk_chat_name */
const char *chat_template_family(const struct gguf *g);            /* of the file's template; "" if it has none */

#define CHAT_ALL SIZE_MAX
/* Appends the ids; answered: only what follows the text of that message (CHAT_ALL: everything).  *replaced (may be NULL):
 * places in messages that are not UTF-8. */
enum lrqk_status chat_encode(const struct chat *c, const struct lrqk_message *msg, size_t n, size_t answered, unsigned flags,
    struct ids *out,
                             size_t *replaced);
enum lrqk_status chat_render(const struct chat *c, const struct lrqk_message *msg, size_t n, unsigned flags, char **text, size_t *len);

/* ---- templates.c: those that come along, and what a family's template is known by */

struct chat_template { const char *name, *text; };
const struct chat_template *chat_template(size_t i);               /* NULL at the end */
const char *chat_recognise(const char *text, size_t len);          /* a family, "custom" if none */

#endif
