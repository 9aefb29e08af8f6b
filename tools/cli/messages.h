/* messages.h - the turns of a conversation, and how they are kept as the note of a saved session.  Called by turns.c, cmd_chat.c. */
#ifndef CLI_MESSAGES_H
#define CLI_MESSAGES_H

#include "json.h"
#include "lrqk/chat.h"
#include "ui.h"

struct messages { struct lrqk_message *msg; size_t n, cap; };   /* zero-initialised is ready; texts are malloc'ed */

int messages_add(struct ui *u, struct messages *m, const char *role, const char *text, size_t len);   /* copies the text */
void messages_cut(struct messages *m, size_t n);   /* keeps the first n */
void messages_free(struct messages *m);
/* The last message of a role; m->n if there is none. */
size_t messages_last(const struct messages *m, const char *role);

/* Turns as bytes, with a number of the caller's. */
void messages_write(const struct messages *m, uint64_t number, struct text *out);
/* Adds what was written to m; path is for the message.  LRQK_USAGE: these bytes are none that messages_write gave. */
int messages_read(struct ui *u, const char *path, const char *bytes, size_t len, struct messages *m, uint64_t *number);

#endif
