/* step.h - the words of the `step` buffer: what changes with every decoded token, so that a recorded step can be replayed.
 * Included by C and by every kernel: #defines only.  l = tokens with the new one, k = list length, w = ring length. */
#define STEP_POS   0   /* t, position of the new token */
#define STEP_LEN   1   /* l = t + 1 */
#define STEP_CAND  2   /* candidates n = max(l - w, 0) */
#define STEP_CNT   3   /* length of the new list, min(k, n) */
#define STEP_OLD   4   /* length of the old list */
#define STEP_RING  5   /* t % w */
#define STEP_ROWS  6   /* rows attended, min(l, w) + STEP_CNT */
#define STEP_ZERO  7   /* 0 */
#define STEP_KEEP  8   /* row of what waits to be summed, where layers are in step */
#define STEP_WORDS 16  /* size of the buffer */
