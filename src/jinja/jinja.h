/* jinja.h - an interpreter of the part of Jinja (the language of Python's jinja2) that the chat templates of models use,
 * set up as Hugging Face's transformers set it up: trim_blocks, lstrip_blocks, break and continue, {% generation %},
 * raise_exception, strftime_now, tojson without HTML escapes.  What is outside that part is refused with its name and
 * line.  Text keeps its origin: every byte of the output tells whether it comes from the template or from a message.
 * A template is data from strangers: depth, steps and memory of a rendering are bounded.  Used by token/chat.c. */
#ifndef JINJA_JINJA_H
#define JINJA_JINJA_H

#include "base/log.h"

struct jinja;

/* Parses a template; text is copied, name (for messages, borrowed) is where it comes from.  LRQK_USAGE with line and
 * reason for what is wrong or not covered. */
enum lrqk_status jinja_parse(struct jinja **out, const struct log *log, const char *name, const char *text, size_t len);
void jinja_free(struct jinja *j);   /* NULL is fine */

enum jinja_origin { JINJA_TEMPLATE, JINJA_MESSAGE, JINJA_MARKED };

/* role is trusted; content must be valid UTF-8, its bytes get the origin (not JINJA_TEMPLATE). */
struct jinja_message { const char *role, *content; size_t len; enum jinja_origin origin; };

/* The variables of a rendering: messages, add_generation_prompt, bos_token, eos_token; tools and documents are none. */
struct jinja_input {
  const struct jinja_message *msg;
  size_t n_msg;
  bool add_generation_prompt;
  const char *bos, *eos;             /* valid UTF-8, NUL-terminated; NULL: an empty text */
  int64_t now;                       /* seconds since 1970, for strftime_now; 0: calling it fails */
  uint64_t max_steps;                /* the rendering is refused beyond that; 0: 20 million, far more than any model's needs */
};

struct jinja_output { char *s; uint8_t *origin; size_t len; };   /* origin[len]: enum jinja_origin of each byte; mem_free both */

/* LRQK_USAGE: the template raised an exception, used a value in a way that has no meaning, or went beyond its bounds. */
enum lrqk_status jinja_render(const struct jinja *j, const struct jinja_input *in, struct jinja_output *out);

#endif
