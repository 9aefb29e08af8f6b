/* chat.h - messages in a chat template, as ids or text.  Errors, threads, strings: as lrqk.h says. */
#ifndef LRQK_CHAT_H
#define LRQK_CHAT_H

#include <lrqk/lrqk.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

/* A chat template (Jinja text, or the part of Jinja that such templates use) bound to a model's tokenizer; it borrows
 * the model.  Text of a message is never read for special tokens, wherever the template puts it. */
typedef struct lrqk_chat lrqk_chat;

struct lrqk_message { const char *role, *text; size_t len; };   /* role: "system", "user", "assistant" */

struct lrqk_chat_options {
  const char *name;       /* a template that the library brings along (lrqk_chat_known) */
  const char *text;       /* Jinja text of len bytes, copied; name and text NULL: tokenizer.chat_template of the model's file */
  size_t len;
  int64_t now;            /* seconds since 1970 for templates that insist on a date; 0: those fail */
};

/* Reads and checks the template; opt may be NULL.  LRQK_USAGE, naming line and reason: there is none, the name is not
 * known, or the text uses what is not covered. */
enum lrqk_status lrqk_chat_open(lrqk_chat **out, const lrqk_model *m, const struct lrqk_chat_options *opt);
void lrqk_chat_close(lrqk_chat *c);             /* NULL is fine */
const char *lrqk_chat_name(const lrqk_chat *c); /* the family that it was recognised as: "chatml", ...; "custom" if none */
const char *lrqk_chat_known(size_t i);          /* name i of the templates that the library brings along; NULL at the end */

enum { LRQK_CHAT_NO_PROMPT = 1 };   /* do not end where the assistant's turn begins (add_generation_prompt = false) */

/* All messages as ids (free them with lrqk_free), with the BOS token only where the template writes it.  LRQK_USAGE: a
 * role that is not known, or the template refuses the messages (the message is the template's). */
enum lrqk_status lrqk_chat_encode(const lrqk_chat *c, const struct lrqk_message *msg, size_t n_msg, unsigned flags, int32_t **ids,
    size_t *n);

/* Only what follows the text of message `answered` (an answer that the session generated and holds already): the end of
 * that turn, the messages after it, the beginning of the next answer.  The first id may be the end token that the
 * session holds already, too: compare and skip it. */
enum lrqk_status lrqk_chat_continue(const lrqk_chat *c, const struct lrqk_message *msg, size_t n_msg, size_t answered, unsigned flags,
                                    int32_t **ids, size_t *n);

/* All messages as text (free it with lrqk_free), for people to read. */
enum lrqk_status lrqk_chat_render(const lrqk_chat *c, const struct lrqk_message *msg, size_t n_msg, unsigned flags, char **text,
    size_t *len);

/* lrqk_chat_open with the template of the file, lrqk_chat_encode, lrqk_chat_close. */
enum lrqk_status lrqk_chat_tokenize(const lrqk_model *m, const struct lrqk_message *msg, size_t n_msg, int32_t **ids, size_t *n);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif
#endif
