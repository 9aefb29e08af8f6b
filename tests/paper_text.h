/* paper_text.h - LRQK as published on one layer of one KV head, written plainly: factors of the prompt, then token after token the
 * decode update, scores and the sets they choose.  For the tests that hold factor.c and paper.c to golden values, and the
 * engine to them. */
#ifndef TESTS_PAPER_TEXT_H
#define TESTS_PAPER_TEXT_H

#include "attention/paper.h"
#include "factor_fit.h"

enum { PAPER_MAX_HEADS = 3, PAPER_MAX_K = 128 };

struct paper_setup {
  uint32_t heads, n, r, k, lite;   /* query heads; tokens of the prompt */
  bool group;                      /* one A_K and one list for all query heads */
  double lambda;                   /* of the decode update */
  uint64_t seed_q, seed_k;         /* of the random start; both 0: the coordinates with the largest sum of |Q| and |K| */
  uint32_t head0;                  /* heads before these in the random start */
};

/* "Heads" are those that have an A_K of their own. */
struct paper_text {
  const struct paper_setup *c;
  const struct synth *s;
  struct fit f;
  struct paper_options o;
  bool narrow;                /* Omega from float rows, as in the engine, rather than from double ones */
  uint32_t l;                 /* tokens */
  double *ak;                 /* [heads][n + steps][r] */
  double *bq, *bk;            /* [heads][g][r][d], [heads][r][d] */
  double *qh, *kh;            /* [heads][g][r], [heads][r] */
  double *scores;             /* [heads][g][n + steps] */
  uint32_t *coord;            /* [heads][r] */
  uint32_t done;
  int32_t hits[PAPER_MAX_HEADS][PAPER_MAX_K];   /* of each head, ascending */
  double margin[PAPER_MAX_HEADS];   /* between the last chosen and the first left out, over the largest weight of a token */
};

/* s stays the caller's. */
void paper_text_open(struct paper_text *t, const struct paper_setup *c, const struct synth *s, bool narrow);
void paper_text_close(struct paper_text *t);
/* Decodes the next token; gap: the candidates end one token earlier; lists: each query head is given an Omega of its own, with
 * the same rows. */
void paper_text_step(struct paper_text *t, uint32_t gap, bool lists);

#endif
