/* tasks.c - see tasks.h. */
#include "tasks.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const cities[] = {
  "Accra", "Amsterdam", "Athens", "Auckland", "Baghdad", "Bangkok", "Barcelona", "Beijing", "Berlin", "Bogota", "Boston", "Brussels",
  "Budapest", "Cairo", "Calgary", "Chicago", "Copenhagen", "Dallas", "Delhi", "Denver", "Dublin", "Edinburgh", "Florence", "Geneva",
  "Glasgow", "Hamburg", "Havana", "Helsinki", "Houston", "Istanbul", "Jakarta", "Kyoto", "Lagos", "Lima", "Lisbon", "London", "Madrid",
  "Manila", "Melbourne", "Miami", "Milan", "Montreal", "Mumbai", "Munich", "Nairobi", "Naples", "Oslo", "Paris", "Portland", "Prague",
  "Quito", "Rome", "Santiago", "Seattle", "Seoul", "Singapore", "Stockholm", "Sydney", "Tokyo", "Toronto", "Venice", "Vienna", "Warsaw",
  "Zurich",
};

static const char *const words[] = {
  "acid", "actor", "anchor", "angle", "apple", "apron", "arrow", "autumn", "bacon", "badge", "banana", "barrel", "basket", "beach", "bench",
  "berry", "bottle", "branch", "bread", "brick", "bridge", "brush", "bucket", "butter", "button", "cabin", "cable", "camel", "candle",
  "canoe", "carpet", "castle", "ceiling", "chain", "chair", "cheese", "cherry", "circle", "cliff", "clock", "cloud", "coffee", "copper",
  "corner", "cotton", "crown", "curtain", "desert", "diamond", "doctor", "donkey", "dragon", "drawer", "eagle", "engine", "fabric",
  "farmer", "feather", "fence", "finger", "flame", "flute", "forest", "fountain", "garden", "garlic", "ghost", "glove", "grape", "guitar",
  "hammer", "harbor", "helmet", "honey", "hotel", "island", "jacket", "jungle", "kettle", "kitchen", "ladder", "lantern", "lawyer",
  "lemon", "letter", "library", "lizard", "magnet", "marble", "market", "meadow", "melon", "mirror", "monkey", "mountain", "museum",
  "needle", "nurse", "ocean", "olive", "onion", "orange", "orchard", "oven", "oyster", "paddle", "palace", "paper", "parrot", "pebble",
  "pencil", "pepper", "piano", "pillow", "pirate", "planet", "pocket", "poem", "potato", "powder", "prince", "pumpkin", "puzzle",
  "rabbit", "radio", "railway", "ribbon", "river", "rocket", "saddle", "salmon", "saucer", "school", "shadow", "sheep", "shoulder",
  "signal", "silver", "singer", "soldier", "spider", "spoon", "square", "stairs", "statue", "stone", "storm", "student", "sugar",
  "summer", "sword", "table", "tailor", "temple", "theater", "thread", "ticket", "tiger", "tower", "tractor", "train", "trumpet",
  "tunnel", "turtle", "uncle", "valley", "velvet", "village", "violin", "wagon", "wallet", "water", "wheel", "whistle", "window",
  "winter", "wizard", "yard", "zebra",
};

enum { N_CITIES = sizeof cities / sizeof cities[0], N_WORDS = sizeof words / sizeof words[0] };
_Static_assert((int)N_CITIES >= (int)MAX_QUESTIONS, "a city for each question");

/* ---- random numbers: splitmix64 ----------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

static size_t below(uint64_t *state, size_t n) {
  *state += 0x9e3779b97f4a7c15u;
  return (size_t)(mix(*state) % n);
}

/* The first k of a random order of 0 .. n - 1, n <= 256. */
static void draw(uint64_t *state, uint8_t *out, size_t k, size_t n) {
  uint8_t all[256];
  for (size_t i = 0; i < n; i++) all[i] = (uint8_t)i;
  for (size_t i = 0; i < k; i++) {
    size_t j = i + below(state, n - i);
    uint8_t x = all[j];
    all[j] = all[i];
    out[i] = all[i] = x;
  }
}

static unsigned number(uint64_t *state, unsigned first) { return first + (unsigned)below(state, 9 * (size_t)first); }

/* ---- filler ------------------------------------------------------------------------------------------------- */

enum { LONG_SENTENCE = 400 };   /* bytes after which any blank ends one: text without stops can be cut too */

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Whether the words s[0..len) end a sentence: a stop, and quotes or brackets behind it. */
static bool ends_sentence(const char *s, size_t len) {
  static const char *const closing[] = {"\"", "'", ")", "]", "\xe2\x80\x9d", "\xe2\x80\x99", "\xc2\xbb"};
  for (size_t i = 0; i < sizeof closing / sizeof closing[0];) {
    size_t n = strlen(closing[i]);
    bool cut = len >= n && !memcmp(s + len - n, closing[i], n);
    if (cut) len -= n;
    i = cut ? 0 : i + 1;
  }
  return len && strchr(".!?", s[len - 1]);
}

bool filler_split(struct filler *f, const char *s, size_t len) {
  size_t cap = 0, from = 0;
  *f = (struct filler){0};
  for (size_t i = 0; i < len;) {
    while (i < len && is_blank(s[i])) i++;
    size_t start = i;
    while (i < len && !is_blank(s[i])) i++;
    if (i == start) break;
    if (f->text.len > from) text_add(&f->text, " ", 1);
    text_add(&f->text, s + start, i - start);
    if (f->text.failed) return false;
    while (i < len && is_blank(s[i])) i++;
    if (i < len && f->text.len - from < LONG_SENTENCE && !ends_sentence(f->text.s + from, f->text.len - from)) continue;
    if (f->n + 2 > cap) {
      cap = cap ? 2 * cap : 256;
      size_t *at = realloc(f->at, cap * sizeof *at);
      if (!at) return false;
      f->at = at;
      f->at[0] = 0;
    }
    f->at[++f->n] = from = f->text.len;
  }
  return true;
}

void filler_free(struct filler *f) {
  text_free(&f->text);
  free(f->at);
  *f = (struct filler){0};
}

/* Sentence i from `start` on, round and round. */
static void sentence(struct prompt *p, const struct filler *f, size_t start, size_t i) {
  size_t k = (start % f->n + i % f->n) % f->n;
  text_add(&p->body, f->text.s + f->at[k], f->at[k + 1] - f->at[k]);
}

/* The filler's sentences with lines among them, line j at depth (j + 0.5) / n. */
static void hide(struct prompt *p, const struct recipe *r, size_t start, char (*line)[64], size_t n) {
  for (size_t i = 0, j = 0; i <= r->units; i++) {
    for (; j < n && (2 * j + 1) * r->units / (2 * n) == i; j++) text_printf(&p->body, "%s%s", i + j ? " " : "", line[j]);
    if (i == r->units) break;
    if (i + j) text_add(&p->body, " ", 1);
    sentence(p, r->filler, start, i);
  }
}

/* ---- the tasks ---------------------------------------------------------------------------------------------- */

static void ask_number(struct question *q, const char *key, unsigned value, double depth) {
  snprintf(q->ask, sizeof q->ask, "\nWhat is the special magic number for %s mentioned in the provided text?", key);
  snprintf(q->lead, sizeof q->lead, "The special magic number for %s is", key);
  snprintf(q->expect, sizeof q->expect, "%u", value);
  q->depth = depth;
}

static void needle(struct prompt *p, const struct recipe *r, uint64_t random) {
  uint8_t city[MAX_QUESTIONS];
  char line[MAX_QUESTIONS][64];
  size_t n = r->depths;
  draw(&random, city, n, N_CITIES);
  for (size_t j = 0; j < n; j++) {
    unsigned value = number(&random, 1000000);
    snprintf(line[j], sizeof line[j], "The special magic number for %s is %u.", cities[city[j]], value);
    ask_number(&p->q[j], cities[city[j]], value, ((double)j + 0.5) / (double)n);
  }
  p->n_q = n;
  text_printf(&p->body, "A special magic number is hidden within the following text. Make sure to memorize it. "
              "I will quiz you about the number afterwards.\n");
  hide(p, r, below(&random, r->filler->n), line, n);
}

static void multikey(struct prompt *p, const struct recipe *r, uint64_t random) {
  enum { PAIRS = N_WORDS * N_WORDS };
  uint8_t used[PAIRS / 8 + 1] = {0};
  if (r->units > PAIRS / 2) {
    p->body.failed = true;
    return;
  }
  p->n_q = r->depths;
  text_printf(&p->body, "Some special magic numbers are hidden within the following text. Make sure to memorize them. "
              "I will quiz you about the numbers afterwards.");
  for (size_t i = 0, j = 0; i < r->units; i++) {
    size_t pair;
    do pair = below(&random, PAIRS);
    while (pair / N_WORDS == pair % N_WORDS || used[pair / 8] >> pair % 8 & 1);
    used[pair / 8] |= (uint8_t)(1u << pair % 8);
    char key[64];
    unsigned value = number(&random, 1000000);
    snprintf(key, sizeof key, "%s-%s", words[pair / N_WORDS], words[pair % N_WORDS]);
    text_printf(&p->body, "\nThe special magic number for %s is %u.", key, value);
    if (j < p->n_q && (2 * j + 1) * r->units / (2 * p->n_q) == i) {
      ask_number(&p->q[j], key, value, ((double)i + 0.5) / (double)r->units);
      j++;
    }
  }
}

/* Ten words make up half of the list; the others come a tenth as often, at least once. */
static void common_words(struct prompt *p, const struct recipe *r, uint64_t random) {
  uint8_t order[N_WORDS];
  size_t often = r->units / (2 * MAX_LIST), rare = (often + 5) / 10 ? (often + 5) / 10 : 1;
  size_t others = (r->units - MAX_LIST * often) / rare, n = 0;
  if (others > N_WORDS - MAX_LIST) others = N_WORDS - MAX_LIST;
  size_t total = MAX_LIST * often + others * rare;
  uint8_t *list = malloc(total);
  if (!list) {
    p->body.failed = true;
    return;
  }
  draw(&random, order, N_WORDS, N_WORDS);
  for (size_t i = 0; i < MAX_LIST + others; i++)
    for (size_t k = 0; k < (i < MAX_LIST ? often : rare); k++) list[n++] = order[i];
  text_printf(&p->body, "Below is a numbered list of words. In these words, some appear more often than others. "
              "Memorize the ones that appear most often.\n");
  for (size_t i = 0; i < n; i++) {
    size_t j = i + below(&random, n - i);
    uint8_t x = list[j];
    list[j] = list[i];
    text_printf(&p->body, "%s%zu. %s", i ? " " : "", i + 1, words[x]);
  }
  free(list);
  struct question *q = &p->q[0];
  snprintf(q->ask, sizeof q->ask, "\nWhat are the %d most common words in the above list?", MAX_LIST);
  snprintf(q->lead, sizeof q->lead, "The top %d words that appear most often in the list are:", MAX_LIST);
  for (size_t i = 0, at = 0; i < MAX_LIST; i++)
    at += (size_t)snprintf(q->expect + at, sizeof q->expect - at, "%s%s", i ? " " : "", words[order[i]]);
  q->depth = NAN;
  p->n_q = 1;
}

enum { CHAINS = 2, LINKS = 5, STATEMENTS = CHAINS * LINKS };

/* Five letters; the first differs among the STATEMENTS names of a text. */
static void variable_name(uint64_t *random, size_t i, char out[6]) {
  out[0] = (char)('A' + 2 * i + below(random, 2));
  for (int k = 1; k < 5; k++) out[k] = (char)('A' + below(random, 26));
  out[5] = 0;
}

static void variable_tracking(struct prompt *p, const struct recipe *r, uint64_t random) {
  char name[STATEMENTS][6], line[STATEMENTS][64];
  uint8_t order[STATEMENTS];
  unsigned value[CHAINS];
  size_t next[CHAINS] = {0};
  draw(&random, order, STATEMENTS, STATEMENTS);   /* of the first letters */
  for (size_t i = 0; i < STATEMENTS; i++) variable_name(&random, order[i], name[i]);
  value[0] = number(&random, 10000);
  do value[1] = number(&random, 10000);
  while (value[1] == value[0]);
  for (size_t i = 0; i < STATEMENTS; i++) {
    size_t c = below(&random, STATEMENTS - i) < LINKS - next[0] ? 0 : 1, k = c * LINKS + next[c];
    if (next[c]++) snprintf(line[i], sizeof line[i], "VAR %s = VAR %s.", name[k], name[k - 1]);
    else snprintf(line[i], sizeof line[i], "VAR %s = %u.", name[k], value[c]);
  }
  for (size_t c = 0; c < CHAINS; c++) {
    struct question *q = &p->q[c];
    snprintf(q->ask, sizeof q->ask, "\nFind all variables that are assigned the value %u in the text above.", value[c]);
    snprintf(q->lead, sizeof q->lead, "According to the chain(s) of variable assignment in the text above, %d variables are assigned "
             "the value %u, they are:", LINKS, value[c]);
    for (size_t i = 0, at = 0; i < LINKS; i++)
      at += (size_t)snprintf(q->expect + at, sizeof q->expect - at, "%s%s", i ? " " : "", name[c * LINKS + i]);
    q->depth = NAN;
  }
  p->n_q = CHAINS;
  text_printf(&p->body, "Memorize and track the chain(s) of variable assignment hidden in the following text.\n");
  hide(p, r, below(&random, r->filler->n), line, STATEMENTS);
}

/* A number of seven digits needs a blank, seven tokens and one that ends it; a word of a list up to five with its number
 * and a comma. */
const struct task tasks[] = {
  {"needle", "digits", "sentences", true, true, 1, 16, needle},
  {"multikey", "digits", "keys", false, true, 1, 16, multikey},
  {"common-words", "words", "words", false, false, 60, 64, common_words},
  {"variable-tracking", "names", "sentences", true, false, 1, 48, variable_tracking},
  {NULL, NULL, NULL, false, false, 0, 0, NULL},
};

const struct task *task_find(const char *name) {
  for (const struct task *t = tasks; t->name; t++)
    if (!strcmp(t->name, name)) return t;
  return NULL;
}

void task_build(const struct task *t, const struct recipe *r, struct prompt *p) {
  text_free(&p->body);
  *p = (struct prompt){0};
  t->build(p, r, mix(mix(mix(r->seed) + r->length) + r->sample));
}

/* ---- scores ------------------------------------------------------------------------------------------------- */

static size_t first_number(const char *s, const char **at) {
  size_t n = 0;
  while (*s && !isdigit((unsigned char)*s)) s++;
  *at = s;
  while (isdigit((unsigned char)s[n])) n++;
  return n;
}

bool task_answered(const struct task *t, const struct question *q, const char *answer) {
  const char *at;
  size_t n = t->number ? first_number(answer, &at) : 0;
  return n && (at[n] || n > strlen(q->expect));
}

static bool same_word(const char *a, const char *b, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (tolower((unsigned char)a[i]) != tolower((unsigned char)b[i])) return false;
  return true;
}

static bool part_of_word(char c) { return isalnum((unsigned char)c) || c == '-'; }

static bool has_word(const char *text, const char *word, size_t len) {
  size_t n = strlen(text);
  for (size_t i = 0; i + len <= n; i++)
    if ((!i || !part_of_word(text[i - 1])) && !part_of_word(text[i + len]) && same_word(text + i, word, len)) return true;
  return false;
}

void task_score(const struct task *t, const struct question *q, const char *answer, uint64_t *right, uint64_t *of) {
  *right = *of = 0;
  if (t->number) {
    const char *at;
    size_t n = first_number(answer, &at), len = strlen(q->expect);
    *of = len;
    for (size_t i = 0; i < n && i < len; i++) *right += at[i] == q->expect[i];
    return;
  }
  for (const char *s = q->expect; *s; ++*of) {
    size_t len = strcspn(s, " ");
    *right += has_word(answer, s, len);
    s += len + (s[len] == ' ');
  }
}

bool task_exact(const struct task *t, const struct question *q, const char *answer) {
  const char *at;
  uint64_t right, of;
  task_score(t, q, answer, &right, &of);
  return right == of && (!t->number || first_number(answer, &at) == of);
}
