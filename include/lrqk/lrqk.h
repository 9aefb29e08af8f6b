/* lrqk.h - the public interface of liblrqk: long-context inference of GGUF language models on any vendor's GPU,
 * with the exact KV cache in host memory and a low-rank proxy of its keys on the device (LRQK, arXiv 2510.23649).
 *
 * Three objects: a model (the file: metadata and tokenizer), an engine (its weights on one device), a session (one
 * text with its KV cache and its attention policy).  An engine borrows its model, a session its engine: close them
 * in the order session, engine, model.  Three more headers stand on this one: chat.h (messages in a chat template), plan.h (what
 * will be allocated), profile.h (times of kernels, counters of heads).
 *
 * Errors: functions that can fail return enum lrqk_status, LRQK_OK being 0; the text goes to the log callback before
 * the function returns (one LRQK_LOG_ERROR message, and often one LRQK_LOG_HINT that says what would help).  An out
 * parameter is written only on success.  Nothing here ends the process or prints.
 * Threads: an object and everything opened from it belong to one thread at a time; different models with their
 * engines may be used from different threads.  The library has no global state.
 * Strings are UTF-8 and end with NUL unless a length stands beside them.  Sizes are bytes, times milliseconds. */
#ifndef LRQK_H
#define LRQK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)   /* a shared library shows what is declared here and nothing else */
#endif

#define LRQK_VERSION "0.1.0"

/* ---- status ------------------------------------------------------------------------------------------------- */

/* X(name, value, kind, meaning).  The value is also the exit code of the command line; kind is the word in its JSON. */
#define LRQK_STATUS_MAP(X)                                                        \
  X(OK,          0,   "ok",          "success")                                   \
  X(RUNTIME,     1,   "runtime",     "a call of the system or the driver failed") \
  X(USAGE,       2,   "usage",       "an argument or an option is wrong")         \
  X(MODEL,       3,   "model",       "the model file cannot be used")             \
  X(DEVICE,      4,   "device",      "no usable device")                          \
  X(MEMORY,      5,   "memory",      "out of memory, on the host or the device")  \
  X(PROMPT,      6,   "prompt",      "the prompt does not fit into the context")  \
  X(DEVICE_LOST, 7,   "device_lost", "the device stopped answering")              \
  X(CHECK,       8,   "check",       "a result failed its check")                 \
  X(INTERRUPTED, 130, "interrupted", "a progress callback asked to stop")

enum lrqk_status {
#define X(name, value, kind, meaning) LRQK_##name = value,
  LRQK_STATUS_MAP(X)
#undef X
};

/* The kind word of a status ("model", "memory", ...); never NULL. */
const char *lrqk_status_kind(enum lrqk_status s);

/* ---- log and progress --------------------------------------------------------------------------------------- */

enum lrqk_log_level { LRQK_LOG_ERROR, LRQK_LOG_HINT, LRQK_LOG_WARN, LRQK_LOG_INFO, LRQK_LOG_DEBUG };

/* Receives one message without a newline.  It must not call back into the library. */
typedef void (*lrqk_log_fn)(void *ud, enum lrqk_log_level level, const char *text);

enum lrqk_phase { LRQK_PHASE_LOAD, LRQK_PHASE_PREFILL, LRQK_PHASE_DECODE };

/* done of total (bytes in LOAD, tokens in PREFILL; DECODE reports nothing).  Called at least every 0.2 s or so; false stops the call in
 * progress, which then returns LRQK_INTERRUPTED. */
typedef bool (*lrqk_progress_fn)(void *ud, enum lrqk_phase phase, uint64_t done, uint64_t total);

/* ---- devices ------------------------------------------------------------------------------------------------ */

enum lrqk_device_type { LRQK_DEVICE_DISCRETE, LRQK_DEVICE_INTEGRATED, LRQK_DEVICE_SOFTWARE, LRQK_DEVICE_OTHER };

struct lrqk_memory_info {
  uint64_t bytes;         /* size of the heap (software drivers: RAM that is available) */
  uint64_t free;          /* bytes free now, 0 = not known */
  char flags[64];         /* "device", "host", "device,host,cached" ... */
};

/* Capabilities are plain data with units; 0 means not supported. */
enum { LRQK_N_FORMS = 3, LRQK_MAX_FORMS = 12 };

/* An operation that has several forms of kernel, and the one that runs on a device: `register` suits CPU drivers, `tile` GPUs,
 * `clblast` is the CLBlast library.  Equal forms give equal bits. */
struct lrqk_form_info {
  const char *op, *shape;             /* "matvec", "wide": static strings; shape may be "" */
  const char *form, *why;             /* "tile", and why: "type of device", "measured", "asked for" */
  const char *choice[LRQK_N_FORMS];   /* the forms that there are, NULL: not on this device */
  double us[LRQK_N_FORMS];            /* microseconds that each took on a fixed shape when it was measured, 0: it was not */
};

struct lrqk_device_info {
  int index;                          /* what --device takes */
  char backend[16];                   /* "vulkan", "opencl", "host" */
  char name[256];
  char driver[256];
  enum lrqk_device_type type;
  bool unified;                       /* host and device memory are the same */
  uint32_t n_memory;
  struct lrqk_memory_info memory[16];
  uint64_t max_allocation;            /* bytes of one allocation */
  uint64_t max_binding;               /* bytes of one storage binding */
  uint64_t max_texels;                /* elements of one texel binding */
  uint32_t max_workgroup;             /* invocations of a workgroup */
  uint32_t max_shared;                /* bytes of shared memory of a workgroup */
  uint32_t max_storage_bindings;      /* storage buffers of one kernel */
  uint32_t subgroup;                  /* lanes of a subgroup */
  uint32_t queues;                    /* 2: copies and kernels of a second queue run beside those of the first; else 1 */
  double timestamp_period_ns;         /* 0: no timestamps */
  bool clblast;                       /* dense products can go to CLBlast */
  uint32_t n_forms;
  struct lrqk_form_info forms[LRQK_MAX_FORMS];
  bool statistics, calibrated;        /* lrqk_engine_kernels knows something; the driver compares its clock with the host's */
  uint32_t counters;                  /* hardware counters that a profile can read (lrqk_engine_options.counters) */
};

/* Calls fn once for each device of every back end that was built in, in the order in which they are preferred:
 * discrete, integrated, software, host.  A back end without a driver contributes nothing. */
enum lrqk_status lrqk_devices(lrqk_log_fn log, void *log_ud, void (*fn)(void *ud, const struct lrqk_device_info *d), void *ud);

/* Times the forms of every operation on a device (as lrqk_engine_options.device; seconds on a software driver) and stores the
 * times in the cache directory, from where later engines take the fastest.  An engine does so by itself on a GPU that has
 * no times yet. */
enum lrqk_status lrqk_device_measure(const char *device, lrqk_log_fn log, void *log_ud);

/* ---- model: the file ---------------------------------------------------------------------------------------- */

typedef struct lrqk_model lrqk_model;

struct lrqk_model_options {
  lrqk_log_fn log;        /* NULL: silent */
  void *log_ud;
  bool vocab_only;        /* only metadata and tokenizer are read and checked; no engine can be opened on it */
  bool directory_only;    /* only keys and tensors: any GGUF file will do; nothing but lrqk_model_info, _key and _tensor works */
};

/* Maps a GGUF file (version 2 or 3) read-only and checks its directory, hyper-parameters, tensor shapes and
 * tokenizer: LRQK_MODEL names what is wrong.  opt may be NULL.  The file must stay unchanged while it is open. */
enum lrqk_status lrqk_model_open(lrqk_model **out, const char *path, const struct lrqk_model_options *opt);
void lrqk_model_close(lrqk_model *m);   /* NULL is fine */

struct lrqk_model_info {
  const char *architecture, *name;   /* valid while the model is open; name may be "" */
  uint64_t file_bytes, weight_bytes, parameters;
  uint32_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_size, n_vocab, n_ctx;   /* n_ctx: what it was trained for */
  uint32_t n_keys, n_tensors;
  const char *chat_template;          /* the family of the file's template, "custom" if it is none that is known, "" without one */
  int32_t bos, eos;                   /* -1: none */
};
void lrqk_model_info(const lrqk_model *m, struct lrqk_model_info *out);

/* Key i of n_keys, in file order: its name, the name of its type and its value as text ("[3 of 49152] a, b, c" for
 * long arrays), NUL-terminated within value[0..cap). */
void lrqk_model_key(const lrqk_model *m, uint32_t i, const char **name, const char **type, char *value, size_t cap);

struct lrqk_tensor_info {
  const char *name, *type;
  uint32_t n_dims;
  uint64_t dims[4];       /* dims[0] is the row length, as GGUF counts */
  uint64_t offset, bytes; /* from the start of the file */
};
void lrqk_model_tensor(const lrqk_model *m, uint32_t i, struct lrqk_tensor_info *out);   /* tensor i of n_tensors */

/* ---- tokens ------------------------------------------------------------------------------------------------- */

enum { LRQK_TOKENIZE_SPECIAL = 1,   /* names of special tokens in the text become those tokens */
       LRQK_TOKENIZE_NO_BOS = 2,    /* leave out the BOS token that the model asks for */
       LRQK_TOKENIZE_EOS = 4 };     /* append the EOS token, if the model asks for one (tokenizer.ggml.add_eos_token) */

/* Text of len bytes to ids.  *ids is allocated for the caller (free it with lrqk_free), *n its length; len 0 gives
 * n = 0 (or BOS).  Invalid UTF-8 is read as U+FFFD, with one warning. */
enum lrqk_status lrqk_tokenize(const lrqk_model *m, const char *text, size_t len, unsigned flags, int32_t **ids, size_t *n);

/* The bytes of one token (*len of them; not always whole UTF-8).  Special tokens have none unless special is true.
 * Valid while the model is open.  LRQK_USAGE for an id outside the vocabulary. */
enum lrqk_status lrqk_token_text(const lrqk_model *m, int32_t id, bool special, const char **text, size_t *len);

/* Bytes (0 or 1) at the start of that text which are no part of what was tokenized: SentencePiece vocabularies put a
 * space in front of a text and of what follows a special token.  prev: the token before it, -1 at the start of a text. */
size_t lrqk_token_lead(const lrqk_model *m, int32_t prev, int32_t id);

/* Whether the id ends a generation: EOS or the end of a turn. */
bool lrqk_token_is_end(const lrqk_model *m, int32_t id);

/* Whole characters out of a stream of tokens: holds back the bytes of a character that is not complete. */
struct lrqk_utf8_stream { char pending[4]; uint8_t n; };
/* Appends bytes and writes what is complete (and U+FFFD for what never can be) to out, which has room for
 * 3 * (len + 4) bytes.  Returns the number of bytes written.  text NULL: the end, pending bytes become U+FFFD. */
size_t lrqk_utf8_push(struct lrqk_utf8_stream *u, const char *text, size_t len, char *out);

void lrqk_free(void *p);   /* what a function here allocated for the caller; NULL is fine */

/* ---- engine: weights on a device ---------------------------------------------------------------------------- */

typedef struct lrqk_engine lrqk_engine;

/* Names and labels of call, layer, stage and kernel for RenderDoc, Nsight or RGP: where such a tool shows itself (VK_EXT_tooling_info),
 * or always; RGP: every decoded token is a frame too.  They cost a little of the time of every command, and nothing where there are none. */
enum lrqk_capture { LRQK_CAPTURE_AUTO, LRQK_CAPTURE_LABELS, LRQK_CAPTURE_RGP };

struct lrqk_engine_options {
  const char *device;     /* index, part of a name, "vulkan:...", "opencl:...", "host"; NULL: the best one */
  lrqk_progress_fn progress;   /* NULL: none */
  void *progress_ud;
  bool timing;            /* sessions can be profiled */
  enum lrqk_capture capture;   /* Vulkan: LRQK_USAGE elsewhere unless AUTO */
  const char *counters;   /* hardware counters that profiles read, by VK_KHR_performance_query: names or categories as the driver has them,
                             separated by commas, or "all"; NULL: none.  With `timing`; LRQK_DEVICE where the device gives none (or another
                             program has them), LRQK_USAGE for a name that it lacks */
  bool validate;          /* Vulkan: run under the Khronos validation layer; its messages become errors */
  const char *form;       /* NULL or "auto": by the type of the device, or what was measured on it; a form ("register", "tile", "clblast") for
                             every operation that has it, or a list "matvec=tile,matmul=register" */
  uint32_t n_layers;      /* only the first n layers, for measuring (the text makes no sense then); 0: all of them */
  uint64_t vram;          /* bytes of device memory that weights and sessions may take: what would be beyond is refused with LRQK_MEMORY
                             before anything of it is allocated; 0: the device is the limit */
};

/* Uploads the weights, quantised as they are in the file.  opt may be NULL.  The model must not be vocab_only. */
enum lrqk_status lrqk_engine_open(lrqk_engine **out, lrqk_model *m, const struct lrqk_engine_options *opt);
void lrqk_engine_close(lrqk_engine *e);   /* NULL is fine */
void lrqk_engine_device(const lrqk_engine *e, struct lrqk_device_info *out);

/* Bytes allocated through the device: in its memory, in host memory that kernels read, in host memory for transfers. */
struct lrqk_memory { uint64_t device, host, staging; };
void lrqk_engine_memory(const lrqk_engine *e, struct lrqk_memory *out);   /* by the engine and its sessions, now */

/* ---- session: one text, its KV cache, its attention policy -------------------------------------------------- */

enum lrqk_policy { LRQK_POLICY_FULL, LRQK_POLICY_OFFLOAD, LRQK_POLICY_LRQK };
enum lrqk_group { LRQK_GROUP_SUM, LRQK_GROUP_MAX, LRQK_GROUP_NONE };
enum lrqk_proxy { LRQK_PROXY_PAIRS, LRQK_PROXY_GRAM, LRQK_PROXY_PAPER };
/* Of a head's mean key: nothing, the pairs of coordinates that RoPE turns slowly, or all pairs. */
enum lrqk_mean_key { LRQK_MEAN_KEY_OFF, LRQK_MEAN_KEY_SLOW, LRQK_MEAN_KEY_ON };
enum lrqk_proxy_type { LRQK_PROXY_INT8, LRQK_PROXY_FP16 };
enum lrqk_share { LRQK_SHARE_GROUP, LRQK_SHARE_HEAD };

/* Where the KV cache lies and which of it a decode step reads.  Symbols as in the paper: r, k, w. */
struct lrqk_cache_options {
  enum lrqk_policy policy;
  enum lrqk_proxy proxy;
  enum lrqk_proxy_type proxy_type;
  enum lrqk_group group;
  enum lrqk_share share;  /* paper: whose keys get proxies of their own, those of a KV head or those of a query head (as published) */
  uint32_t rank;          /* r: numbers per token and KV head, a multiple of 4; 0 = half the head size (pairs), a quarter of it (gram, paper) */
  uint32_t active;        /* k: tokens chosen by score per KV head, sinks among them */
  uint32_t lite;          /* w: the newest tokens, always on the device */
  bool tail;              /* the attention mass of tokens that were not chosen, as the proxies estimate it, goes to the mean
                             value row (SparQ Attention, arXiv 2312.04985); false: it is dropped, as LRQK publishes */
  uint32_t sinks;         /* first tokens of the text that are always chosen */
  enum lrqk_mean_key mean_key;   /* gram: what of the mean key's score, by position, is taken apart; the rest is factored */
  uint32_t horizon;       /* gram: positions after the prompt that the factors are made for */
  uint32_t iters;         /* gram, paper: the most iterations of the solver; 0 = 16 (gram), 2 (paper) */
  double tol;             /* ... which stops when the mean squared change of a factor falls below this; 0: never; negative = 0 (gram),
                             1e-2 (paper) */
  double lambda_q, lambda_k;   /* gram, paper: weight of |Q - A_Q B_Q|^2 and of |K - A_K B_K|^2 beside |QK' - A_Q A_K'|^2 */
  double lambda;          /* paper: weight of the rows attended to last beside the bases, in a decode step */
  bool freeze_basis;      /* paper: a decode step leaves the bases alone */
  uint32_t refresh;       /* pairs, gram: every layer is solved again every so many positions, its proxies made anew; 0: never */
  bool overlap;           /* where the device has a second queue, rows are copied on it while the first works; results are the same */
  bool lend;              /* keeps the sums of every proxy, so that the session can be copied to one with another proxy */
  uint64_t dense[8];      /* bit i: layer i keeps all its KV on the device and attends to all of it */
};

/* policy lrqk, proxy gram, int8, group sum, share group, rank 0, mean key slow, horizon 1024, iters 0, tol -1, lambdas 1, refresh 0,
 * active 2048, lite 64, sinks 4, tail, overlap, layer 0 dense */
struct lrqk_cache_options lrqk_cache_defaults(void);

/* Sets one option by the name it has on the command line ("rank", "dense-layers", ...) from its text.  "preset" with value
 * "paper" sets all of them to LRQK as published (arXiv 2510.23649): rank 32, active 2048, lite 64, a proxy and a list per query
 * head in fp16, 2 iterations, no sinks, no tail, no dense layers.
 * LRQK_USAGE, with a message through log, for an unknown name or a value out of range. */
enum lrqk_status lrqk_cache_set(struct lrqk_cache_options *o, const char *key, const char *value, lrqk_log_fn log, void *log_ud);

typedef struct lrqk_session lrqk_session;

struct lrqk_session_options {
  struct lrqk_cache_options cache;
  uint32_t n_ctx;              /* tokens that the cache can hold; 0: what the model was trained for */
  lrqk_progress_fn progress;   /* NULL: none */
  void *progress_ud;
  bool beyond;                 /* n_ctx may be beyond what the model was trained for: for measuring */
};

/* Allocates everything that the session will ever need: a failure names the place, the size asked, what is free and
 * the option that would help (LRQK_MEMORY).  LRQK_USAGE: n_ctx is beyond the model, or an option does not suit it. */
enum lrqk_status lrqk_session_open(lrqk_session **out, lrqk_engine *e, const struct lrqk_session_options *opt);
void lrqk_session_close(lrqk_session *s);   /* NULL is fine */

/* Receives the logits [n_vocab] of the token at position pos; valid during the call.  false stops. */
typedef bool (*lrqk_logits_fn)(void *ud, uint64_t pos, const float *logits);

/* Appends n tokens: exact attention over everything so far under every policy (layer by layer, the KV of one layer on
 * the device at a time).  With fn, the logits of every position from `from` on go to it.  After it, lrqk_session_logits
 * has those of the last token.  LRQK_PROMPT: it does not fit.  After LRQK_INTERRUPTED the session holds what it held
 * before the call. */
enum lrqk_status lrqk_session_prefill(lrqk_session *s, const int32_t *ids, size_t n, uint64_t from, lrqk_logits_fn fn, void *ud);

/* Appends one token under the session's policy; then lrqk_session_logits has its logits.  Allocates nothing. */
enum lrqk_status lrqk_session_decode(lrqk_session *s, int32_t id);

/* Appends n synthetic tokens, for measuring long contexts: in every layer their queries, keys and values are random numbers
 * of mean 0 and variance 1 made from the seed, and rows, proxies and sums become what a prefill of such tokens makes them.
 * Nothing is attended to, so the time grows with n alone.  The session has no logits until the next token.  Errors as
 * lrqk_session_prefill. */
enum lrqk_status lrqk_session_fill(lrqk_session *s, size_t n, uint64_t seed);

/* Remembers the state of the session; lrqk_session_rewind goes back to it from wherever decode, prefill or fill have led
 * since, any number of times, after which the same calls give the same bits (nothing is on the device yet, and proxies are
 * made anew for the tokens that are left).  A call of prefill or fill remembers the state before it, in the place of what
 * was remembered.  Counters of lrqk_session_stats go on; logits are those of then.  LRQK_USAGE: nothing was remembered. */
enum lrqk_status lrqk_session_mark(lrqk_session *s);
enum lrqk_status lrqk_session_rewind(lrqk_session *s);

/* Keeps the first n tokens.  At the length that lrqk_session_mark remembered this is lrqk_session_rewind; elsewhere there are
 * no logits until the next token, nothing is remembered any more, and of what policy lrqk sums about queries and keys the
 * part n / length is kept: which proxies it chooses from then on may differ a little from those of a text that never was
 * longer.  LRQK_USAGE: n is beyond the length, or (models with sliding windows) what their windows held of n tokens is gone, which
 * never is so for 0. */
enum lrqk_status lrqk_session_truncate(lrqk_session *s, uint64_t n);

/* Makes `to`, a session without tokens on the same engine, hold the text of `from` as if it had been prefilled there: one
 * prefill for many policies.  LRQK_USAGE unless `from` has policy lrqk without dense layers (its host memory has all rows)
 * and the proxy of `to` or, unless that is paper, lend (its device has the sums), and `to` the room and the same context. */
enum lrqk_status lrqk_session_copy(lrqk_session *to, lrqk_session *from);

const float *lrqk_session_logits(const lrqk_session *s);   /* [n_vocab], of the last token; NULL before the first */
uint64_t lrqk_session_length(const lrqk_session *s);       /* tokens so far ... */
const int32_t *lrqk_session_ids(const lrqk_session *s);    /* ... and which; -1: a synthetic one */

/* Writes everything that the session is into a file (text, logits, exact KV, sums, proxies, maps, what mark remembers), and a
 * note of the caller's.  The file is whole or, whatever happens, not replaced.  LRQK_RUNTIME: it cannot be written. */
enum lrqk_status lrqk_session_save(lrqk_session *s, const char *path, const void *note, size_t note_bytes);

/* Makes s what was saved, in the place of what it holds: the same calls then give the same bits as without stopping, if n_ctx is
 * as it was, else the same up to the order of sums.  *note (NULL: not wanted) is the caller's, lrqk_free.  LRQK_USAGE, naming
 * the reason: the file is none or damaged, of another version, another model or other options of the cache.  LRQK_PROMPT: n_ctx
 * is too small.  s is as it was then, unless the file has the right checksums of wrong contents: then it has no tokens. */
enum lrqk_status lrqk_session_load(lrqk_session *s, const char *path, void **note, size_t *note_bytes);

struct lrqk_session_info { uint32_t n_tokens, n_ctx; uint64_t file_bytes, note_bytes; };
/* What the head of a saved session says: enough to choose n_ctx.  Errors as lrqk_session_load. */
enum lrqk_status lrqk_session_peek(lrqk_model *m, const char *path, struct lrqk_session_info *out);

struct lrqk_cache_stats {
  enum lrqk_policy policy;
  uint64_t device_bytes;      /* for KV on the device, as allocated: rows, proxies, maps, streaming buffers */
  uint64_t host_bytes;        /* for KV in HOST memory, as allocated */
  uint64_t full_bytes;        /* what policy full allocates on the device for the same context */
  uint64_t decoded;           /* tokens since the session was opened that went through lrqk_session_decode */
  uint64_t bus_bytes;         /* moved from and to HOST memory by those */
  uint64_t hidden_bytes;      /* of bus_bytes: moved by the second queue while the first went on (lrqk: misses, in proportion to the
                                 steps that did so); 0 with one queue */
  uint64_t chosen, misses;    /* rows chosen by score, and those of them that had to be fetched (0 where it has no meaning) */
};
/* Reads counters back from the device. */
enum lrqk_status lrqk_session_stats(lrqk_session *s, struct lrqk_cache_stats *out);

/* Bytes of the exact rows that differ between the active set on the device and the host cache, over all layers and
 * heads: 0, always.  A check for tests and for people who suspect their hardware. */
enum lrqk_status lrqk_session_verify(lrqk_session *s, uint64_t *differing);

/* What policy lrqk chose for the last decoded token in the last layer that chooses, against scores in double precision from the
 * same proxies: its candidates and the tokens chosen, over all lists (0: it had no choice); those that rounding cannot excuse (0,
 * always); those that exact arithmetic would have exchanged for others of almost the same score.  A check, as above; seconds at
 * ten million tokens. */
struct lrqk_choice { uint64_t tokens, chosen, wrong, rounded; };
enum lrqk_status lrqk_session_verify_choice(lrqk_session *s, struct lrqk_choice *out);

/* ---- sampling ----------------------------------------------------------------------------------------------- */

typedef struct lrqk_sampler lrqk_sampler;

struct lrqk_sampler_options {
  float temperature;      /* 0: greedy */
  int32_t top_k;          /* 0: off */
  float top_p, min_p;     /* 1 and 0: off */
  float repeat_penalty;   /* 1: off */
  uint32_t repeat_last;   /* tokens that the penalty looks at */
  uint64_t seed;
};
struct lrqk_sampler_options lrqk_sampler_defaults(void);   /* 0.8, 40, 0.95, 0.05, 1.0, 64, seed 0: as llama.cpp's */

enum lrqk_status lrqk_sampler_open(lrqk_sampler **out, const struct lrqk_sampler_options *opt, uint32_t n_vocab);
void lrqk_sampler_close(lrqk_sampler *s);   /* NULL is fine */
void lrqk_sampler_accept(lrqk_sampler *s, int32_t id);   /* a token that is part of the text, for the penalty */
/* Chooses a token: penalty, top-k, top-p, min-p, temperature, in this order.  Ties go to the lowest id.  The same
 * options, history and logits give the same token on every machine. */
int32_t lrqk_sampler_choose(lrqk_sampler *s, const float *logits);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif
#endif
