/* options.c - see options.h. */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum type { FLAG, STRING, OPTIONAL, COUNT, SIZE, REAL, CACHE, CACHE_FLAG };

#define AT(field) offsetof(struct options, field)
#define TALKS (CMD_RUN | CMD_CHAT)
#define TEXTS (TALKS | CMD_TOKENIZE | CMD_LOGITS)
#define CACHED (TALKS | CMD_LOGITS | CMD_PERPLEXITY | CMD_PROFILE | CMD_PLAN)
#define DEVICED (CACHED | CMD_COMPARE | CMD_EVAL | CMD_BENCH)

/* One row is one flag of the commands in `cmds`; a name may stand twice with different commands.  Rows that `run` has
 * are also read from LRQK_ and the long name in capitals. */
static const struct option {
  const char *name, *alias, *brief;   /* --name, --alias, -brief; the last two may be NULL */
  enum type type;
  size_t at;                          /* of the field in struct options; CACHE has none, nor has CACHE_FLAG, which may stand alone: "on";
                                         OPTIONAL is a string that may be left out: "", else --name=VALUE */
  double min, max;                    /* of COUNT and REAL */
  const char *value, *fallback;       /* the value's name in the help; the default as text, NULL: not worth saying */
  const char *help;
  unsigned cmds;
} table[] = {
  {"model", NULL, "m", STRING, AT(model), 0, 0, "FILE", NULL,
   "the GGUF model (the first word without a dash works too)", CMD_ALL & ~(CMD_DEVICES | CMD_DIFF)},
  {"prompt", NULL, "p", STRING, AT(prompt), 0, 0, "TEXT", NULL, "the prompt; goes below the text of --file or of a pipe", CMD_RUN},
  {"prompt", NULL, "p", STRING, AT(prompt), 0, 0, "TEXT", NULL, "the first turn", CMD_CHAT},
  {"prompt", NULL, "p", STRING, AT(prompt), 0, 0, "TEXT", NULL, "the text", CMD_TOKENIZE | CMD_LOGITS},
  {"tokens", NULL, NULL, STRING, AT(tokens), 0, 0, "IDS", NULL, "token ids instead of a text, such as 1,2,3", CMD_LOGITS},
  {"file", NULL, "f", STRING, AT(file), 0, 0, "FILE", NULL, "read the text from FILE, byte for byte (- is the standard input)",
   CMD_RUN | CMD_TOKENIZE | CMD_PERPLEXITY | CMD_COMPARE | CMD_PROFILE},
  {"file", NULL, "f", STRING, AT(file), 0, 0, "FILE", NULL, "a document that opens the conversation: it goes above the first turn", CMD_CHAT},
  {"file", NULL, "f", STRING, AT(file), 0, 0, "FILE", NULL, "the filler text of needle and variable-tracking (- is the standard input)",
   CMD_EVAL},
  {"length", NULL, NULL, STRING, AT(length), 0, 0, "N,N...", "1024", "tokens of prompt and answer together; K and M work: 4K", CMD_EVAL},
  {"samples", NULL, NULL, COUNT, AT(samples), 1, 1e6, "N", "1", "texts of each length", CMD_EVAL},
  {"depths", NULL, NULL, COUNT, AT(depths), 1, 64, "N", "6", "questions about one text of needle or multikey, evenly spread", CMD_EVAL},
  {"n-prompt", NULL, "p", STRING, AT(prompt), 0, 0, "N,N...", "512", "prompts to read, in tokens; ranges work: 512-4K*2, 0-1K+256; 0: none", CMD_BENCH},
  {"n-gen", NULL, "n", STRING, AT(gen), 0, 0, "N,N...", "128", "tokens to decode, 0: none", CMD_BENCH},
  {"n-depth", NULL, "d", STRING, AT(depth), 0, 0, "N,N...", "0", "tokens that are there before", CMD_BENCH},
  {"repetitions", NULL, "r", COUNT, AT(reps), 1, 1e6, "N", "5", "timed runs of each test, after one that is not timed", CMD_BENCH},
  {"attention", "policies", NULL, STRING, AT(policies), 0, 0, "LIST", "full,offload,lrqk",
   "policies, each NAME or NAME:KEY=VALUE,KEY=VALUE...", CMD_BENCH},
  {"fill", NULL, NULL, STRING, AT(fill), 0, 0, "HOW", "prefill", "the tokens before: prefill reads them, random makes synthetic rows of the KV cache,\n"
   "which takes a fraction of the time", CMD_BENCH},
  {"file", NULL, "f", STRING, AT(file), 0, 0, "FILE", "random tokens", "the text that tokens are taken from (- is the standard input)", CMD_BENCH},
  {"layers", NULL, NULL, COUNT, AT(layers), 1, UINT32_MAX, "N", "all", "only the first N layers of the model", CMD_BENCH},
  {"seed", NULL, "s", COUNT, AT(seed), 0, 9e18, "N", "0", "what random tokens and rows are made from", CMD_BENCH},
  {"kernels", NULL, NULL, OPTIONAL, AT(kernels), 0, 0, "[=NAME,NAME...]", NULL,
   "time each kernel alone, in its place in a prompt and in a token, instead of prompts and tokens;\n"
   "NAME: only kernels whose names begin so; -n is 8 then, -r 3, --attention lrqk", CMD_BENCH},
  {"output", NULL, "o", STRING, AT(output), 0, 0, "FORM", "table", "table, md, csv or json", CMD_BENCH},
  {"system", NULL, "sys", STRING, AT(system), 0, 0, "TEXT", NULL, "system message", TALKS},
  {"chat-template", NULL, NULL, STRING, AT(chat_template), 0, 0, "NAME|FILE", NULL,
   "chat template instead of the model's: chatml, qwen, llama2, llama3,\nmistral, phi3, gemma, zephyr, or a file with Jinja text", TALKS},
  {"session", NULL, NULL, STRING, AT(session), 0, 0, "FILE", NULL,
   "go on from the session in FILE as far as the prompt begins like it (without a\nprompt: from its end), and save it there", CMD_RUN},
  {"session", NULL, NULL, STRING, AT(session), 0, 0, "FILE", NULL,
   "go on with the conversation in FILE, if it is there, and save it there at the end", CMD_CHAT},
  {"no-history", NULL, NULL, FLAG, AT(no_history), 0, 0, NULL, NULL, "keep no history of lines in ~/.local/state/lrqk/history", CMD_CHAT},
  {"predict", "n-predict", "n", COUNT, AT(predict), -1, INT32_MAX, "N", "-1",
   "most tokens to generate; -1: until the end token or the context is full", CMD_RUN},
  {"predict", "n-predict", "n", COUNT, AT(predict), -1, INT32_MAX, "N", "-1",
   "most tokens of an answer; -1: until the end token or the context is full", CMD_CHAT},
  {"ctx-size", NULL, "c", COUNT, AT(ctx), 0, UINT32_MAX, "N", "what is needed",
   "context in tokens, 0: the model's; K and M work: 32K", CMD_RUN | CMD_LOGITS},
  {"ctx-size", NULL, "c", COUNT, AT(ctx), 0, UINT32_MAX, "N", "the model's", "context in tokens, for all turns; K and M work: 32K", CMD_CHAT},
  {"ctx-size", NULL, "c", COUNT, AT(ctx), 4, UINT32_MAX, "N", "512", "tokens of a chunk", CMD_PERPLEXITY},
  {"ctx-size", NULL, "c", COUNT, AT(ctx), 0, UINT32_MAX, "N", "the model's", "context in tokens; K and M work: 32K", CMD_PLAN},
  {"chunks", NULL, NULL, COUNT, AT(chunks), 1, INT32_MAX, "N", "all", "chunks to evaluate", CMD_PERPLEXITY},
  {"prefill", NULL, NULL, COUNT, AT(prefill), 1, UINT32_MAX, "N", "1024", "tokens to read before the measured steps", CMD_COMPARE},
  {"decode", NULL, NULL, COUNT, AT(decode), 1, UINT32_MAX, "N", "128", "steps to measure, fed with the true next tokens", CMD_COMPARE},
  {"prefill", NULL, NULL, COUNT, AT(prefill), 1, 1e6, "N", "512", "tokens to read", CMD_PROFILE},
  {"decode", NULL, NULL, COUNT, AT(decode), 1, 1e6, "N", "32", "tokens to decode after them", CMD_PROFILE},
  {"every", NULL, NULL, COUNT, AT(every), 1, 1e6, "N", "8", "time the kernels of every so manieth decoded token, from the first on", CMD_PROFILE},
  {"serial", NULL, NULL, FLAG, AT(serial), 0, 0, NULL, NULL,
   "mode gpu-serial: a barrier after every kernel, so that none overlap; another program\nthan the one that runs otherwise", CMD_PROFILE},
  {"whole", NULL, NULL, FLAG, AT(whole), 0, 0, NULL, NULL, "mode submit: two timestamps for all of a submit, which cost next to nothing, and no kernels", CMD_PROFILE},
  {"per-layer", NULL, NULL, FLAG, AT(by_layer), 0, 0, NULL, NULL, "a row for every layer", CMD_PROFILE},
  {"per-head", NULL, NULL, FLAG, AT(by_head), 0, 0, NULL, NULL,
   "hits, misses and bytes over the bus of every KV head in every layer (JSON: over time,\nand where in the text the chosen tokens lie)", CMD_PROFILE},
  {"quality", NULL, NULL, COUNT, AT(quality), 0, 1e6, "N", "0",
   "after every so manieth decoded token compute exact attention on the host: what share of\nit the active tokens hold, head by head; 0: never", CMD_PROFILE},
  {"trace", NULL, NULL, STRING, AT(trace), 0, 0, "FILE", NULL, "write a timeline as Chrome trace JSON, for ui.perfetto.dev", CMD_PROFILE},
  {"html", NULL, NULL, STRING, AT(html), 0, 0, "FILE", NULL, "write a page for a browser: timeline, bars, roofline, hits of every head; needs no network", CMD_PROFILE},
  {"capture", NULL, NULL, STRING, AT(capture), 0, 0, "NAME", NULL,
   "Vulkan: labels (of calls, layers, stages and kernels, for RenderDoc or Nsight) or rgp\n(every token a frame of the Radeon GPU Profiler too)", CMD_PROFILE},
  {"counters", NULL, NULL, STRING, AT(counters), 0, 0, "LIST", NULL,
   "hardware counters to read as well: names or categories of the driver, or all, where it\nhas VK_KHR_performance_query (devices -v says how many)", CMD_PROFILE},
  {"csv", NULL, NULL, FLAG, AT(csv), 0, 0, NULL, NULL, "the table as CSV", CMD_PROFILE},
  {"folded", NULL, NULL, FLAG, AT(folded), 0, 0, NULL, NULL, "microseconds of each phase;stage;kernel, as flame graphs are made from", CMD_PROFILE},
  {"threshold", NULL, NULL, REAL, AT(threshold), 0, 1e6, "PCT", "10", "exit 8 if something is slower by more than this, in percent, and its spread", CMD_DIFF},
  {"policies", NULL, NULL, STRING, AT(policies), 0, 0, "LIST", "full,offload,lrqk",
   "policies, each NAME or NAME:KEY=VALUE,KEY=VALUE...", CMD_COMPARE},
  {"policies", NULL, NULL, STRING, AT(policies), 0, 0, "LIST", "full,lrqk", "policies, each NAME or NAME:KEY=VALUE,KEY=VALUE...", CMD_EVAL},
  {"temp", "temperature", NULL, REAL, AT(temp), 0, 1e6, "T", "0.8", "temperature of sampling, 0: always the most likely token", TALKS},
  {"top-k", NULL, NULL, COUNT, AT(top_k), 0, INT32_MAX, "N", "40", "sample among the N most likely tokens, 0: all", TALKS},
  {"top-p", NULL, NULL, REAL, AT(top_p), 0, 1, "P", "0.95", "sample among the tokens that make up this probability, 1: all", TALKS},
  {"min-p", NULL, NULL, REAL, AT(min_p), 0, 1, "P", "0.05", "leave out tokens below this part of the likeliest, 0: none", TALKS},
  {"repeat-penalty", NULL, NULL, REAL, AT(repeat_penalty), 1e-3, 1e3, "X", "1",
   "penalty of tokens that were there before, 1: none", TALKS},
  {"repeat-last-n", NULL, NULL, COUNT, AT(repeat_last), 0, INT32_MAX, "N", "64", "tokens that the penalty looks back", TALKS},
  {"seed", NULL, "s", COUNT, AT(seed), -1, 9e18, "N", "-1", "seed of sampling, -1: a random one (-v shows it)", TALKS},
  {"seed", NULL, "s", COUNT, AT(seed), 0, 9e18, "N", "0", "what texts and questions are made from", CMD_EVAL},
  {"out", NULL, "o", STRING, AT(out), 0, 0, "FILE", NULL, "append results to FILE, and take those that it has", CMD_EVAL},
  {"print", NULL, NULL, FLAG, AT(print), 0, 0, NULL, NULL,
   "only show the prompts and what is expected; without -m four bytes count as a token", CMD_EVAL},
  {"attention", NULL, NULL, CACHE, 0, 0, 0, "NAME", "lrqk", "full: KV on the device; offload: in host memory, copied for every token;\n"
   "lrqk: in host memory, a low-rank proxy chooses what is fetched", CACHED},
  {"proxy", NULL, NULL, CACHE, 0, 0, 0, "NAME", "gram",
   "how keys are compressed for choosing: gram (joint factors of\nqueries and keys), pairs (rotary pairs) or paper (LRQK as published)", CACHED},
  {"preset", NULL, NULL, CACHE, 0, 0, 0, "NAME", NULL,
   "paper: all options of the cache as LRQK publishes them; those that follow\nchange them", CACHED},
  {"rank", NULL, NULL, CACHE, 0, 0, 0, "N", "a quarter of the head size (pairs: half)", "numbers of the proxy per token and KV head", CACHED},
  {"mean-key", NULL, NULL, CACHE, 0, 0, 0, "NAME", "slow",
   "gram: what of a head's mean key is scored by position, apart: on (all),\nslow (pairs that RoPE turns slowly) or off", CACHED},
  {"horizon", NULL, NULL, CACHE, 0, 0, 0, "N", "1024", "gram: positions after the prompt that the factors are made for", CACHED},
  {"refresh", NULL, NULL, CACHE, 0, 0, 0, "N", "0", "gram, pairs: solve every layer again every N tokens, 0: never", CACHED},
  {"iters", NULL, NULL, CACHE, 0, 0, 0, "N", "16 (gram), 2 (paper)", "most iterations of the solver", CACHED},
  {"tol", NULL, NULL, CACHE, 0, 0, 0, "X", "0 (gram), 0.01 (paper)", "it stops when factors change less than this (mean square)", CACHED},
  {"lambda-q", NULL, NULL, CACHE, 0, 0, 0, "X", "1", "gram, paper: weight of the fit to the queries in the factors", CACHED},
  {"lambda-k", NULL, NULL, CACHE, 0, 0, 0, "X", "1", "gram, paper: weight of the fit to the keys in the factors", CACHED},
  {"lambda", NULL, NULL, CACHE, 0, 0, 0, "X", "1", "paper: weight of the tokens attended to last in a decode step", CACHED},
  {"freeze-basis", NULL, NULL, CACHE_FLAG, 0, 0, 0, "on|off", "off", "paper: a decode step leaves the bases of the factors alone", CACHED},
  {"overlap", NULL, NULL, CACHE, 0, 0, 0, "on|off", "on",
   "on devices with a second queue: rows of the host are copied on it while the\nfirst one works; results are the same", CACHED},
  {"share", NULL, NULL, CACHE, 0, 0, 0, "NAME", "group", "paper: proxies for a group of heads or for each query head: group or head", CACHED},
  {"active", NULL, NULL, CACHE, 0, 0, 0, "N", "2048", "tokens chosen by score for each step", CACHED},
  {"lite", NULL, NULL, CACHE, 0, 0, 0, "N", "64", "newest tokens, always on the device", CACHED},
  {"sinks", NULL, NULL, CACHE, 0, 0, 0, "N", "4", "first tokens, always chosen", CACHED},
  {"dense-layers", NULL, NULL, CACHE, 0, 0, 0, "LIST", "0", "layers that keep all their KV on the device: 0,3-5 or none", CACHED},
  {"group", NULL, NULL, CACHE, 0, 0, 0, "NAME", "sum", "how the heads of a group choose together: sum, max or none", CACHED},
  {"tail", NULL, NULL, CACHE, 0, 0, 0, "NAME", "mean", "attention mass of tokens not chosen: mean gives it to the mean value, none drops it",
   CACHED},
  {"proxy-type", NULL, NULL, CACHE, 0, 0, 0, "NAME", "int8", "numbers of the proxy: int8 or fp16", CACHED},
  {"device", NULL, "dev", STRING, AT(device), 0, 0, "D", "the best one",
   "index, part of a name, vulkan:..., opencl:... or host; see `lrqk devices`", DEVICED},
  {"form", NULL, NULL, STRING, AT(form), 0, 0, "F", "auto", "kernels for CPU drivers (register), for GPUs (tile) or CLBlast's (clblast) wherever\n"
   "there are such, or a list matvec=tile,matmul=clblast; auto: by device, or measured", DEVICED},
  {"measure", NULL, NULL, FLAG, AT(measure), 0, 0, NULL, NULL,
   "time the forms of kernels on each device and keep the times; `--form auto` goes by them", CMD_DEVICES},
  {"vram", NULL, NULL, SIZE, AT(vram), 0, 0, "SIZE", "what is free",
   "device memory to use, such as 8G or 900M; what was not asked for\notherwise is lowered until that is enough, see `lrqk help plan`", TALKS | CMD_PLAN},
  {"vram", NULL, NULL, SIZE, AT(vram), 0, 0, "SIZE", "all", "device memory to use, such as 8G or 900M",
   DEVICED & ~(TALKS | CMD_PLAN)},
  {"bandwidth", NULL, NULL, REAL, AT(bandwidth), 1e-3, 1e6, "GB/s", NULL, "of the device's memory, for the roof of tokens/s", CMD_PLAN},
  {"bus-bandwidth", NULL, NULL, REAL, AT(bus), 1e-3, 1e6, "GB/s", NULL, "of the bus between host and device", CMD_PLAN},
  {"hit-rate", NULL, NULL, REAL, AT(hit_rate), 0, 1, "P", "0.7", "part of the chosen rows that is on the device already", CMD_PLAN},
  {"top", NULL, NULL, COUNT, AT(top), 1, INT32_MAX, "N", NULL, "only the N largest logits", CMD_LOGITS},
  {"raw", NULL, NULL, FLAG, AT(raw), 0, 0, NULL, NULL, "the prompt as it is, without the model's chat template", CMD_RUN},
  {"special", NULL, NULL, FLAG, AT(special), 0, 0, NULL, NULL,
   "read names of special tokens in a raw prompt as tokens, and show them in the answer", CMD_RUN},
  {"special", NULL, NULL, FLAG, AT(special), 0, 0, NULL, NULL,
   "read names of special tokens as tokens, and show them when decoding", CMD_TOKENIZE},
  {"special", NULL, NULL, FLAG, AT(special), 0, 0, NULL, NULL, "read names of special tokens in the text as tokens", CMD_LOGITS},
  {"no-bos", NULL, NULL, FLAG, AT(no_bos), 0, 0, NULL, NULL, "leave out the BOS token that the model asks for", CMD_TOKENIZE},
  {"decode", NULL, NULL, FLAG, AT(to_text), 0, 0, NULL, NULL, "the other way: read ids, write their text", CMD_TOKENIZE},
  {"ignore-eos", NULL, NULL, FLAG, AT(ignore_eos), 0, 0, NULL, NULL, "go on after the end token", CMD_RUN},
  {"truncate", NULL, NULL, FLAG, AT(truncate), 0, 0, NULL, NULL, "cut the beginning of a prompt that does not fit", CMD_RUN},
  {"json", NULL, NULL, FLAG, AT(json), 0, 0, NULL, NULL, "one JSON object on the standard output, errors included", CMD_ALL & ~CMD_CHAT},
  {"verbose", NULL, "v", FLAG, AT(verbose), 0, 0, NULL, NULL, "say more", CMD_ALL},
  {"debug", NULL, "vv", FLAG, AT(debug), 0, 0, NULL, NULL, "say everything", CMD_ALL},
  {"quiet", NULL, "q", FLAG, AT(quiet), 0, 0, NULL, NULL, "nothing on the standard error but errors", CMD_ALL},
  {"help", NULL, "h", FLAG, AT(help), 0, 0, NULL, NULL, "this text", CMD_ALL},
};

enum { N_OPTIONS = sizeof table / sizeof table[0] };

/* Flags of other programs that need no counterpart here, and what to say to who types them. */
static const struct { const char *name, *text; } foreign[] = {
  {"-ngl", "the weights of all layers are always on the device"},
  {"--gpu-layers", "the weights of all layers are always on the device"},
  {"--n-gpu-layers", "the weights of all layers are always on the device"},
  {"-nkvo", "the KV cache is in host memory unless --attention full is given"},
  {"--no-kv-offload", "the KV cache is in host memory unless --attention full is given"},
  {"-fa", "there is no switch for it"},
  {"-t", "the work is done on the device; the host uses one thread"},
  {"--threads", "the work is done on the device; the host uses one thread"},
  {"-no-cnv", "`lrqk run` always answers once; --raw leaves out the chat template"},
};

/* ---- names that are nearly right ---------------------------------------------------------------------------- */

/* Edits (insert, delete, replace, swap neighbours) from a to b; both shorter than 64, else NEAREST_NONE. */
static unsigned distance(const char *a, const char *b) {
  size_t n = strlen(a), m = strlen(b);
  if (n >= 64 || m >= 64) return NEAREST_NONE;
  unsigned d[3][65];   /* the last three rows of the table; row i is d[i % 3] */
  for (size_t j = 0; j <= m; j++) d[0][j] = (unsigned)j;
  for (size_t i = 1; i <= n; i++) {
    unsigned *row = d[i % 3], *up = d[(i + 2) % 3], *up2 = d[(i + 1) % 3];
    row[0] = (unsigned)i;
    for (size_t j = 1; j <= m; j++) {
      unsigned best = up[j - 1] + (a[i - 1] != b[j - 1]);
      if (up[j] + 1 < best) best = up[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < best) best = up2[j - 2] + 1;
      row[j] = best;
    }
  }
  return d[n % 3][m];
}

/* Further away than a third of the word is no candidate. */
void name_nearer(const char *word, const char *name, const char **best, unsigned *best_d) {
  unsigned d = distance(word, name), limit = (unsigned)strlen(word) / 3 + 1;
  size_t n = strlen(word);
  if (n > 2 && n < strlen(name) && !strncmp(word, name, n)) d = 1;   /* the beginning of a name */
  if (d <= limit && d < *best_d) {
    *best = name;
    *best_d = d;
  }
}

const struct command *command_find(const char *name) {
  for (const struct command *c = commands; c->name; c++)
    if (!strcmp(c->name, name)) return c;
  return NULL;
}

const char *command_nearest(const char *name) {
  const char *best = NULL;
  unsigned d = NEAREST_NONE;
  for (const struct command *c = commands; c->name; c++) name_nearer(name, c->name, &best, &d);
  return best;
}

static bool same_name(const struct option *p, const char *word, size_t len) {
  const char *names[2] = {p->name, p->alias};
  if (len > 2 && word[0] == '-' && word[1] == '-') {
    for (int i = 0; i < 2; i++)
      if (names[i] && strlen(names[i]) == len - 2 && !memcmp(names[i], word + 2, len - 2)) return true;
    return false;
  }
  return p->brief && strlen(p->brief) == len - 1 && !memcmp(p->brief, word + 1, len - 1);
}

static int unknown_flag(struct ui *u, const struct command *c, const char *word, size_t len) {
  int code = ui_fail(u, LRQK_USAGE, "unknown flag %.*s", (int)len, word);
  for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
    if (strlen(foreign[i].name) == len && !memcmp(foreign[i].name, word, len)) {
      ui_hint(u, "leave it out: %s", foreign[i].text);
      return code;
    }
  for (int i = 0; i < N_OPTIONS; i++)
    if (same_name(&table[i], word, len))
      for (const struct command *k = commands; k->name; k++)
        if (table[i].cmds & k->bit) {
          ui_hint(u, "%.*s is a flag of `lrqk %s`, not of `lrqk %s`", (int)len, word, k->name, c->name);
          return code;
        }
  char bare[64];
  size_t dashes = strspn(word, "-");
  snprintf(bare, sizeof bare, "%.*s", (int)(len - dashes), word + dashes);
  const char *best = NULL;
  unsigned d = NEAREST_NONE;
  for (int i = 0; i < N_OPTIONS; i++) {
    if (!(table[i].cmds & c->bit)) continue;
    name_nearer(bare, table[i].name, &best, &d);
    if (table[i].alias) name_nearer(bare, table[i].alias, &best, &d);
  }
  if (best) ui_hint(u, "did you mean --%s?", best);
  else ui_hint(u, "`lrqk %s --help` lists the flags", c->name);
  return code;
}

/* ---- values ------------------------------------------------------------------------------------------------- */

bool number_parse(const char *text, int64_t *out) {
  if (!isdigit((unsigned char)text[*text == '-'])) return false;   /* strtoll would skip blanks and accept a plus */
  char *end;
  errno = 0;
  long long v = strtoll(text, &end, 10), unit = 1;
  if (errno) return false;
  if (*end == 'K' || *end == 'k') unit = 1 << 10;
  else if (*end == 'M') unit = 1 << 20;
  if (end[unit > 1]) return false;
  if (v > LLONG_MAX / unit || v < LLONG_MIN / unit) return false;
  *out = v * unit;
  return true;
}

/* Bytes: a number, perhaps with a point, and K, M, G or T (1024 of the one before), which iB may follow. */
static bool size_parse(const char *text, int64_t *out) {
  static const char units[] = "KMGT";
  size_t digits = strspn(text, "0123456789"), n = digits;
  if (!digits) return false;
  if (text[n] == '.') n += 1 + strspn(text + n + 1, "0123456789");
  const char *unit = text[n] ? strchr(units, toupper((unsigned char)text[n])) : NULL, *rest = text + n + (unit != NULL);
  int shift = unit ? 10 * (int)(unit - units + 1) : 0;
  if (*rest && !(unit && (!strcmp(rest, "iB") || !strcmp(rest, "ib"))) && strcmp(rest, "B")) return false;
  if (text[digits] == '.' && (n == digits + 1 || !unit)) return false;
  errno = 0;
  unsigned long long whole = strtoull(text, NULL, 10);
  if (errno || whole > (unsigned long long)INT64_MAX >> shift) return false;
  double part = text[digits] == '.' ? strtod(text + digits, NULL) : 0;
  *out = (int64_t)(whole << shift) + (int64_t)(part * (double)(1ull << shift));
  return *out > 0;
}

static bool real_parse(const char *text, double *out) {
  if (!isdigit((unsigned char)text[*text == '-']) && *text != '.') return false;
  if (text[strcspn(text, "xX")]) return false;
  char *end;
  *out = strtod(text, &end);
  return end != text && !*end && isfinite(*out);
}

/* label: how the flag was given, "--temp" or "LRQK_TEMP". */
static int set_value(struct options *o, const struct option *p, const char *label, const char *text, struct ui *u) {
  char *field = (char *)o + p->at;
  int64_t n;
  double x;
  switch (p->type) {
    case FLAG: return 0;
    case STRING:
    case OPTIONAL: *(const char **)(void *)field = text; return 0;
    case COUNT:
      if (!number_parse(text, &n)) return ui_fail(u, LRQK_USAGE, "%s: \"%s\" is not a whole number", label, text);
      if ((double)n < p->min || (double)n > p->max)
        return ui_fail(u, LRQK_USAGE, "%s: %s is out of range, expected %.0f to %.0f", label, text, p->min, p->max);
      *(int64_t *)(void *)field = n;
      return 0;
    case SIZE:
      if (!size_parse(text, (int64_t *)(void *)field))
        return ui_fail(u, LRQK_USAGE, "%s: \"%s\" is no number of bytes, expected such as 8G, 1.5G or 900M", label, text);
      return 0;
    case REAL:
      if (!real_parse(text, &x)) return ui_fail(u, LRQK_USAGE, "%s: \"%s\" is not a number", label, text);
      if (x < p->min || x > p->max)
        return ui_fail(u, LRQK_USAGE, "%s: %s is out of range, expected %g to %g", label, text, p->min, p->max);
      *(double *)(void *)field = x;
      return 0;
    case CACHE:
    case CACHE_FLAG: break;
  }
  if (strlen(text) >= sizeof o->cache[0].value) return ui_fail(u, LRQK_USAGE, "%s: \"%s\" is too long", label, text);
  size_t i = 0;
  while (i < o->n_cache && strcmp(o->cache[i].key, p->name)) i++;
  if (i == MAX_CACHE_OPTIONS) return ui_fail(u, LRQK_USAGE, "%s: too many options of the cache", label);
  if (i == o->n_cache) o->n_cache++;
  else memmove(&o->cache[i], &o->cache[i + 1], (o->n_cache - i - 1) * sizeof o->cache[0]);   /* the last one given holds, there */
  i = o->n_cache - 1;
  o->cache[i].key = p->name;
  if (number_parse(text, &n)) snprintf(o->cache[i].value, sizeof o->cache[i].value, "%lld", (long long)n);
  else snprintf(o->cache[i].value, sizeof o->cache[i].value, "%s", text);
  return 0;
}

/* ---- environment and arguments ------------------------------------------------------------------------------ */

static bool has_env(const struct option *p) { return (p->cmds & TALKS) && strcmp(p->name, "help"); }

static void env_name(const struct option *p, char out[40]) {
  int n = snprintf(out, 40, "LRQK_%s", p->name);
  for (int i = 0; i < n && i < 39; i++) out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

bool option_info(size_t i, struct option_info *out) {
  if (i >= N_OPTIONS) return false;
  const struct option *p = &table[i];
  *out = (struct option_info){p->name, p->alias, p->brief, p->value, p->fallback, p->help, p->cmds, p->type == OPTIONAL, ""};
  if (has_env(p)) env_name(p, out->env);
  return true;
}

static int from_environment(struct options *o, const struct command *c, struct ui *u) {
  for (int i = 0; i < N_OPTIONS; i++) {
    const struct option *p = &table[i];
    char name[40];
    if (!has_env(p) || !(p->cmds & c->bit)) continue;
    env_name(p, name);
    const char *text = getenv(name);
    if (!text || !*text) continue;
    if (p->type == FLAG) {
      bool on = !strcmp(text, "1") || !strcmp(text, "true") || !strcmp(text, "on") || !strcmp(text, "yes");
      bool off = !strcmp(text, "0") || !strcmp(text, "false") || !strcmp(text, "off") || !strcmp(text, "no");
      if (!on && !off) return ui_fail(u, LRQK_USAGE, "%s: \"%s\" is neither 1 nor 0", name, text);
      *((bool *)o + p->at) = on;
    } else {
      int code = set_value(o, p, name, text, u);
      if (code) return code;
    }
  }
  return 0;
}

/* One flag at argv[*i]; moves *i past its value. */
static int one_flag(struct options *o, const struct command *c, int argc, char **argv, int *i, struct ui *u) {
  const char *word = argv[*i], *equals = word[1] == '-' ? strchr(word, '=') : NULL;
  size_t len = equals ? (size_t)(equals - word) : strlen(word);
  const struct option *p = NULL;
  for (int k = 0; k < N_OPTIONS && !p; k++)
    if ((table[k].cmds & c->bit) && same_name(&table[k], word, len)) p = &table[k];
  if (!p) return unknown_flag(u, c, word, len);
  char label[48];
  snprintf(label, sizeof label, "%.*s", (int)len, word);
  if (p->type == FLAG) {
    if (equals) return ui_fail(u, LRQK_USAGE, "%s takes no value, found \"%s\"", label, equals + 1);
    *((bool *)o + p->at) = true;
    return 0;
  }
  if (p->type == CACHE_FLAG && !equals) return set_value(o, p, label, "on", u);
  if (p->type == OPTIONAL && !equals) return set_value(o, p, label, "", u);
  if (!equals && *i + 1 >= argc) return ui_fail(u, LRQK_USAGE, "%s needs a value: %s %s", label, label, p->value);
  return set_value(o, p, label, equals ? equals + 1 : argv[++*i], u);
}

static void set_defaults(struct options *o, const struct command *c) {
  struct lrqk_sampler_options s = lrqk_sampler_defaults();
  *o = (struct options){.command = c,
                        .predict = -1,
                        .ctx = c->bit == CMD_PERPLEXITY ? 512 : -1,
                        .top_k = s.top_k,
                        .repeat_last = s.repeat_last,
                        .seed = c->bit & (CMD_EVAL | CMD_BENCH) ? 0 : -1,
                        .prefill = c->bit == CMD_PROFILE ? 512 : 1024,
                        .decode = c->bit == CMD_PROFILE ? 32 : 128,
                        .every = 8,
                        .threshold = 10,
                        .policies = c->bit == CMD_EVAL ? "full,lrqk" : c->bit == CMD_BENCH ? NULL : "full,offload,lrqk",
                        .length = "1024",
                        .samples = 1,
                        .depths = 6,
                        .prompt = c->bit == CMD_BENCH ? "512" : NULL,
                        .depth = "0",
                        .fill = "prefill",
                        .output = "table",
                        .hit_rate = 0.7,
                        .temp = (double)s.temperature,
                        .top_p = (double)s.top_p,
                        .min_p = (double)s.min_p,
                        .repeat_penalty = (double)s.repeat_penalty};
}

/* What was not said, where it depends on what was. */
static void bench_defaults(struct options *o) {
  if (!o->policies) o->policies = o->kernels ? "lrqk" : "full,offload,lrqk";
  if (!o->gen) o->gen = o->kernels ? "8" : "128";
  if (!o->reps) o->reps = o->kernels ? 3 : 5;
}

static int parse(struct options *o, const struct command *c, int argc, char **argv, struct ui *u) {
  const char *positional = NULL;
  bool flags = true, model = false;
  int code = from_environment(o, c, u);
  for (int i = 0; i < argc && !code; i++) {
    const char *word = argv[i];
    if (flags && !strcmp(word, "--")) {
      flags = false;
    } else if (flags && word[0] == '-' && word[1]) {
      model = model || same_name(&table[0], word, strcspn(word, "="));
      code = one_flag(o, c, argc, argv, &i, u);
    } else if (c->bit == CMD_EVAL && !o->task) {
      o->task = word;
    } else if (c->bit == CMD_DIFF && !o->after) {
      *(o->before ? &o->after : &o->before) = word;
    } else if (positional || (c->bit & (CMD_DEVICES | CMD_DIFF))) {
      code = ui_fail(u, LRQK_USAGE, "unexpected argument \"%s\"", word);
    } else {
      positional = word;
    }
  }
  if (code || !positional) return code;
  if (model) {
    code = ui_fail(u, LRQK_USAGE, "unexpected argument \"%s\": the model is given by -m already", positional);
    if (c->bit & TEXTS) ui_hint(u, "a prompt follows -p");
    return code;
  }
  o->model = positional;
  return 0;
}

int options_parse(struct options *o, const struct command *c, int argc, char **argv, struct ui *u) {
  set_defaults(o, c);
  int code = parse(o, c, argc, argv, u);
  if (c->bit == CMD_BENCH) bench_defaults(o);
  for (int i = 0; i < argc && strcmp(argv[i], "--"); i++)
    if (code && !strcmp(argv[i], "--json")) o->json = true;
  u->json = o->json;
  u->quiet = o->quiet;
  u->verbose = o->verbose || o->debug;
  u->debug = o->debug;
  if (code || o->help || (c->bit & (CMD_DEVICES | CMD_DIFF)) || (o->print && !o->model)) return code;
  if (!o->model) {
    code = ui_fail(u, LRQK_USAGE, "no model: give one with -m FILE");
    if (c->bit & CMD_RUN) ui_hint(u, "LRQK_MODEL in the environment works too");
  } else if (!*o->model) {
    code = ui_fail(u, LRQK_USAGE, "-m: the name of the model is empty");
  }
  return code;
}

/* ---- help --------------------------------------------------------------------------------------------------- */

enum { COLUMN = 34, WIDTH = 120 };   /* where the texts beside the flags begin, and end if they can */

static void help_option(struct text *t, const struct option *p) {
  char left[96], brief[8] = "";
  if (p->brief) snprintf(brief, sizeof brief, "-%s,", p->brief);
  int n = snprintf(left, sizeof left, "  %-5s --%s%s%s%s%s", brief, p->name, p->alias ? ", --" : "", p->alias ? p->alias : "",
                   p->value && p->type != OPTIONAL ? " " : "", p->value ? p->value : "");
  if (n < COLUMN) text_printf(t, "%-*s", COLUMN, left);
  else text_printf(t, "%s\n%*s", left, COLUMN, "");
}

/* The text beside a flag: its help (a newline in it starts a line), then the default and the variable in brackets, on
 * the same line if there is room. */
static void help_text(struct text *t, const struct option *p) {
  char env[40], extra[96];
  size_t n = 0;
  for (const char *s = p->help; *s; s += n) {
    if (*s == '\n') text_printf(t, "\n%*s", COLUMN, "");
    s += *s == '\n';
    n = strcspn(s, "\n");
    text_add(t, s, n);
  }
  env_name(p, env);
  if (!has_env(p)) env[0] = 0;
  if (p->fallback) snprintf(extra, sizeof extra, "[default: %s%s%s]", p->fallback, *env ? ", " : "", env);
  else snprintf(extra, sizeof extra, *env ? "[%s]" : "%s", env);
  if (*extra && COLUMN + n + strlen(extra) < WIDTH) text_printf(t, " %s", extra);
  else if (*extra) text_printf(t, "\n%*s%s", COLUMN, "", extra);
  text_add(t, "\n", 1);
}

void help_command(struct text *t, const struct command *c) {
  text_printf(t, "lrqk %s - %s\n\nUsage: lrqk %s %s\n", c->name, c->summary, c->name, c->usage);
  if (c->details) text_printf(t, "\n%s\n", c->details);
  text_printf(t, "\nFlags:\n");
  for (int i = 0; i < N_OPTIONS; i++) {
    if (!(table[i].cmds & c->bit)) continue;
    help_option(t, &table[i]);
    help_text(t, &table[i]);
  }
}

static void list_commands(struct text *t) {
  for (const struct command *c = commands; c->name; c++) text_printf(t, "  %-12s %s\n", c->name, c->summary);
}

void help_short(struct text *t) {
  text_printf(t, "Usage: lrqk COMMAND [FLAGS]      lrqk -m MODEL -p TEXT is `lrqk run`\n\n");
  list_commands(t);
  text_printf(t, "\n`lrqk help COMMAND` says more.\n");
}

void help_overview(struct text *t) {
  text_printf(t, "lrqk " LRQK_VERSION " - long-context language models on any GPU, with the exact KV cache in host memory\n\n");
  text_printf(t, "Usage: lrqk COMMAND [FLAGS]      lrqk -m MODEL -p TEXT is `lrqk run`\n\nCommands:\n");
  list_commands(t);
  text_printf(t, "\n`lrqk help COMMAND` or `lrqk COMMAND --help` lists the flags; `lrqk --version` prints the version,\n"
                 "`lrqk completions bash|zsh|fish` completions for a shell.\n");
  text_printf(t, "The answer goes to the standard output, everything else to the standard error.\n\nExit codes:\n");
#define X(name, value, kind, meaning) text_printf(t, "  %3d  %s\n", value, value == LRQK_INTERRUPTED ? "stopped by Ctrl-C" : meaning);
  LRQK_STATUS_MAP(X)
#undef X
  text_printf(t, "  %3d  the reader of the standard output went away\n", EXIT_PIPE);
}
