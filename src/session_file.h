/* session_file.h - the head of a saved session (session_file.c), for that file and for the tests that make damaged ones. */
#ifndef SESSION_FILE_H
#define SESSION_FILE_H

#include "attention/attention.h"
#include "base/hash.h"

enum { SESSION_VERSION = 1 };

struct session_head {
  char magic[8];
  uint32_t version, flags;
  uint64_t file_bytes, note_bytes;
  struct hash128 model, payload;  /* of the model's file; of everything behind the head */
  uint32_t n_tokens, n_marked, n_ctx, unused;
  char settings[ATTENTION_SETTINGS];
  struct hash128 own;             /* of the head up to here */
};

/* Writes the checksums that a file with these bytes should have: what fuzzing needs to get past them. */
void session_file_seal(unsigned char *data, size_t size);

#endif
