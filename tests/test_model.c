/* Loading: what lies on the device after model_load is the file's weights, bit for bit, whatever their type, shape and
 * the device's limits.  Runs on the host back end. */
#include "log_capture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/half.h"
#include "gguf_writer.h"
#include "model/model.h"
#include "model/repack.h"
#include "suite.h"

static struct log_capture captured;

struct opened { unsigned char *data; struct gguf *gguf; struct device *dev; struct hparams hp; };

static void open_tiny(struct opened *o, const struct tiny_model *tiny, uint64_t max_binding, bool mapped) {
  struct log log = log_capture(&captured);
  size_t n;
  o->data = tiny_model_file(tiny, &n);
  ck_assert_int_eq(gguf_open_memory(&o->gguf, &log, "FILE", o->data, n, false), LRQK_OK);
  ck_assert_msg(hparams_read(&o->hp, o->gguf) == LRQK_OK, "%s", captured.text);
  ck_assert_int_eq(device_open(&o->dev, &log, &(struct device_options){ .select = "host", .max_binding = max_binding }), LRQK_OK);
  o->dev->caps.mapped = mapped;
}

static void close_tiny(struct opened *o) {
  ck_assert_uint_eq(o->dev->placed[PLACE_DEVICE], 0);
  device_close(o->dev);
  gguf_close(o->gguf);
  free(o->data);
}

/* ---- planes back to floats: row j of a part.  The layouts of struct linear_part, written down a second time. */

static unsigned char *download(struct device *d, struct view v) {
  unsigned char *p = malloc(v.size + !v.size);
  ck_assert_ptr_nonnull(p);
  if (v.size) ck_assert_int_eq(device_read(d, p, v, v.size), LRQK_OK);
  return p;
}

static uint16_t u16_at(const unsigned char *p) { return (uint16_t)(p[0] | p[1] << 8); }

/* Value i of a row whose blocks of 32 have nibbles. */
static unsigned nibble_at(const unsigned char *q, size_t rows, uint32_t row, uint32_t i) {
  unsigned byte = q[(i / 32 * rows + row) * 16 + i % 32 / 8 * 4 + i % 4];
  return i % 8 < 4 ? byte & 15 : byte >> 4;
}

/* Value i of a row whose blocks of 64 have two bits each. */
static unsigned two_at(const unsigned char *q, size_t rows, uint32_t row, uint32_t i) {
  return q[(i / 64 * rows + row) * 16 + i % 64 / 16 * 4 + i % 4] >> i % 16 / 4 * 2 & 3;
}

/* Bit i % 32 of a word. */
static unsigned bit_at(const unsigned char *word, uint32_t i) { return word[i % 32 / 8] >> i % 8 & 1; }

static const int8_t iq4[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

static float int8_at(const unsigned char *q, size_t rows, uint32_t row, uint32_t i) {
  return (float)(int8_t)q[(i / 16 * rows + row) * 16 + i % 16];
}

static float value_at(const struct linear_part *part, const unsigned char *q, const unsigned char *scale, uint32_t row, uint32_t i) {
  size_t rows = part->rows, block = i / 32;
  const unsigned char *pair = scale + (block / 2 * rows + row) * 4 + block % 2 * 2;      /* a word for two blocks */
  const unsigned char *word = scale + (i / 256 * 5 * rows + row) * 4;                    /* five words for 256 values */
  const unsigned char *of64 = word + (1 + i % 256 / 64) * rows * 4;
  uint32_t u;
  float f;
  switch (part->kernel) {
    case KERNEL_MATMUL_F32:
      memcpy(&f, q + (i / 4 * rows + row) * 16 + i % 4 * 4, 4);
      return f;
    case KERNEL_MATMUL_F16: return half_to_float(u16_at(q + (i / 8 * rows + row) * 16 + i % 8 * 2));
    case KERNEL_MATMUL_BF16:
      u = (uint32_t)u16_at(q + (i / 8 * rows + row) * 16 + i % 8 * 2) << 16;
      memcpy(&f, &u, 4);
      return f;
    case KERNEL_MATMUL_Q8_0: return half_to_float(u16_at(pair)) * int8_at(q, rows, row, i);
    case KERNEL_MATMUL_Q6_K: return half_to_float(u16_at(word)) * (float)(int8_t)of64[i % 64 / 16] * int8_at(q, rows, row, i);
    case KERNEL_MATMUL_Q4_0: return half_to_float(u16_at(pair)) * ((float)nibble_at(q, rows, row, i) - 8);
    case KERNEL_MATMUL_Q4_1:
      word = scale + (block * rows + row) * 4;
      return half_to_float(u16_at(word)) * (float)nibble_at(q, rows, row, i) + half_to_float(u16_at(word + 2));
    case KERNEL_MATMUL_Q4_K:
      of64 += i % 64 / 32 * 2;
      return half_to_float(u16_at(word)) * (float)of64[0] * (float)nibble_at(q, rows, row, i) -
             half_to_float(u16_at(word + 2)) * (float)of64[1];
    case KERNEL_MATMUL_Q5_0:
    case KERNEL_MATMUL_Q5_1:
      word = scale + (block * 2 * rows + row) * 4;
      f = (float)(nibble_at(q, rows, row, i) + 16 * bit_at(word + rows * 4, i));
      return part->kernel == KERNEL_MATMUL_Q5_0 ? half_to_float(u16_at(word)) * (f - 16)
                                                : half_to_float(u16_at(word)) * f + half_to_float(u16_at(word + 2));
    case KERNEL_MATMUL_Q2_K:
      of64 += i % 64 / 16;
      return half_to_float(u16_at(word)) * (float)(of64[0] & 15) * (float)two_at(q, rows, row, i) -
             half_to_float(u16_at(word + 2)) * (float)(of64[0] >> 4);
    case KERNEL_MATMUL_Q3_K:
      word = scale + (i / 256 * 13 * rows + row) * 4;                                     /* thirteen words for 256 values */
      f = (float)two_at(q, rows, row, i) + 4 * (float)bit_at(word + (5 + i % 256 / 32) * rows * 4, i) - 4;
      return half_to_float(u16_at(word)) * (float)(int8_t)word[(1 + i % 256 / 64) * rows * 4 + i % 64 / 16] * f;
    case KERNEL_MATMUL_Q5_K:
      word = scale + (i / 256 * 13 * rows + row) * 4;
      of64 = word + (1 + i % 256 / 64) * rows * 4 + i % 64 / 32 * 2;
      f = (float)(nibble_at(q, rows, row, i) + 16 * bit_at(word + (5 + i % 256 / 32) * rows * 4, i));
      return half_to_float(u16_at(word)) * (float)of64[0] * f - half_to_float(u16_at(word + 2)) * (float)of64[1];
    case KERNEL_MATMUL_IQ4_NL: return half_to_float(u16_at(pair)) * (float)iq4[nibble_at(q, rows, row, i)];
    case KERNEL_MATMUL_IQ4_XS:
      word = scale + (i / 256 * 3 * rows + row) * 4;                                      /* three words */
      return half_to_float(u16_at(word)) * (float)(int8_t)word[(1 + i % 256 / 128) * rows * 4 + i % 128 / 32] *
             (float)iq4[nibble_at(q, rows, row, i)];
    default: ck_abort_msg("kernel %d is no matmul", part->kernel);
  }
}

/* w holds the n tensors named, stacked, in parts that follow each other and keep within the limit. */
static void check_linear(const struct opened *o, const struct linear *w, const char *const *names, uint32_t n, uint64_t limit) {
  uint32_t row = 0, in_tensor = 0, tensor = 0;
  const struct gguf_tensor *t = gguf_find_tensor(o->gguf, names[0]);
  float *want = malloc(w->k * sizeof *want);
  ck_assert_uint_eq(w->k, t->dims[0]);
  for (uint32_t p = 0; p < w->n_parts; p++) {
    const struct linear_part *part = &w->part[p];
    ck_assert_uint_eq(part->row0, row);
    ck_assert(part->rows > 0 && part->q.size <= limit && part->scale.size <= limit);
    ck_assert(part->kernel == KERNEL_MATMUL_F32 || part->kernel == KERNEL_MATMUL_F16 || part->kernel == KERNEL_MATMUL_BF16
                ? part->block < 32 && !part->scale.buf : part->block >= 32 && part->scale.buf);
    unsigned char *q = download(o->dev, part->q), *scale = download(o->dev, part->scale);
    for (uint32_t j = 0; j < part->rows; j++, row++, in_tensor++) {
      while (in_tensor == t->rows) {
        ck_assert_uint_lt(++tensor, n);
        t = gguf_find_tensor(o->gguf, names[tensor]);
        in_tensor = 0;
      }
      t->type->dequantise(t->data + in_tensor * (t->bytes / t->rows), want, w->k);
      for (uint32_t i = 0; i < w->k; i++) {
        float got = value_at(part, q, scale, j, i);
        if (memcmp(&got, &want[i], 4)) {
          ck_abort_msg("%s row %u value %u: %a, expected %a", names[tensor], in_tensor, i, got, want[i]);
        }
      }
    }
    free(q);
    free(scale);
  }
  ck_assert(row == w->n && tensor == n - 1 && in_tensor == t->rows);
  free(want);
}

static void check_vector(const struct opened *o, struct view v, const char *name) {
  const struct gguf_tensor *t = gguf_find_tensor(o->gguf, name);
  unsigned char *got = download(o->dev, v);
  ck_assert_msg(!memcmp(got, t->data, t->bytes), "%s differs", name);
  free(got);
}

static void check_model(const struct opened *o, const struct model *m, bool untied, uint64_t limit) {
  char name[9][64];
  static const char *const kinds[9] = { "attn_q", "attn_k",   "attn_v",    "attn_output", "ffn_gate",
                                        "ffn_up", "ffn_down", "attn_norm", "ffn_norm" };
  for (uint32_t i = 0; i < o->hp.n_layers; i++) {
    for (int k = 0; k < 9; k++) snprintf(name[k], sizeof name[k], "blk.%u.%s.weight", i, kinds[k]);
    const struct layer *l = &m->layers[i];
    check_linear(o, &l->qkv, (const char *const[]){ name[0], name[1], name[2] }, 3, limit);
    check_linear(o, &l->out, (const char *const[]){ name[3] }, 1, limit);
    check_linear(o, &l->gate_up, (const char *const[]){ name[4], name[5] }, 2, limit);
    check_linear(o, &l->down, (const char *const[]){ name[6] }, 1, limit);
    check_vector(o, l->attn_norm, name[7]);
    check_vector(o, l->ffn_norm, name[8]);
  }
  check_vector(o, m->output_norm, "output_norm.weight");
  check_linear(o, &m->head, (const char *const[]){ untied ? "output.weight" : "token_embd.weight" }, 1, limit);
}

/* ---- shapes: odd numbers of blocks and rows, types mixed in one linear, slabs of every size */

static const struct { struct tiny_model tiny; uint64_t max_binding; uint32_t qkv_parts; } shapes[] = {
  { { .type = TYPE_F32 }, 0, 1 },
  { { .type = TYPE_Q8_0, .untied = true }, 0, 1 },
  { { .type = TYPE_Q4_1 }, 0, 1 },
  { { .type = TYPE_Q4_1, .embd_type = TYPE_Q8_0 + 1 }, 0, 1 },
  { { .type = TYPE_Q4_1, .v_type = TYPE_Q8_0 + 1 }, 0, 2 },
  { { .type = TYPE_F16, .embd = 40, .heads = 5, .ff = 24, .vocab = 261 }, 0, 1 },
  { { .type = TYPE_BF16, .head_size = 24, .untied = true }, 0, 1 },
  { { .type = TYPE_Q4_0, .embd = 96, .heads = 3, .kv_heads = 1, .ff = 160, .vocab = 263 }, 0, 1 },
  { { .type = TYPE_Q4_K, .v_type = TYPE_Q6_K + 1, .embd_type = TYPE_Q6_K + 1, .embd = 256, .kv_heads = 1, .ff = 512, .layers = 1,
      .vocab = 261 }, 0, 2 },
  { { .type = TYPE_Q6_K, .embd_type = TYPE_Q4_K + 1, .embd = 768, .heads = 4, .head_size = 64, .ff = 256, .layers = 1, .vocab = 37,
      .no_vocabulary = true, .untied = true }, 0, 1 },
  { { .type = TYPE_Q8_0, .embd = 96, .heads = 3, .kv_heads = 1, .ff = 160, .vocab = 263 }, 0, 1 },
  { { .type = TYPE_Q4_1, .embd = 96, .heads = 4, .head_size = 40, .kv_heads = 1, .ff = 32, .vocab = 261, .untied = true }, 0, 1 },
  { { .type = TYPE_F32, .embd = 20, .heads = 1, .head_size = 8, .ff = 12, .vocab = 7, .no_vocabulary = true }, 0, 1 },
  { { .type = TYPE_F32, .layers = 1 }, 4096, 8 },                   /* 16 rows of 256 bytes each */
  { { .type = TYPE_Q8_0, .layers = 1 }, 4096, 2 },                  /* 64 rows of 64 bytes */
  { { .type = TYPE_Q4_1, .layers = 1, .vocab = 519 }, 4096, 1 },    /* 128 rows of 32 bytes */
  { { .type = TYPE_Q4_1, .layers = 1, .vocab = 300 }, 5632, 1 },    /* 176, rounded to 128 */
  { { .type = TYPE_F32, .layers = 1 }, 512, 64 },                   /* 2 rows */
  { { .type = TYPE_Q4_0, .layers = 1 }, 2048, 2 },                  /* 64 rows of 32 bytes */
  { { .type = TYPE_Q4_K, .embd = 256, .ff = 256, .layers = 1, .vocab = 270 }, 16384, 4 },   /* 128 rows of 128 bytes */
  { { .type = TYPE_Q6_K, .embd = 256, .ff = 256, .layers = 1, .vocab = 270 }, 9728, 14 },   /* 38 rows of 256 bytes */
  { { .type = TYPE_Q3_K, .v_type = TYPE_Q5_K + 1, .embd_type = TYPE_Q6_K + 1, .embd = 256, .ff = 512, .layers = 1, .vocab = 270 }, 0, 2 },
  { { .type = TYPE_IQ4_XS, .v_type = TYPE_Q2_K + 1, .embd_type = TYPE_Q5_K + 1, .embd = 256, .ff = 256, .layers = 1, .vocab = 270 }, 0, 2 },
  { { .type = TYPE_IQ4_NL, .v_type = TYPE_Q5_1 + 1, .embd_type = TYPE_Q5_0 + 1, .embd = 96, .heads = 3, .kv_heads = 1, .ff = 160,
      .vocab = 263 }, 0, 2 },
  { { .type = TYPE_Q3_K, .embd = 256, .ff = 256, .layers = 1, .vocab = 270 }, 8192, 4 },    /* 128 rows of 64 bytes */
};

/* ---- any bits that a file may hold, packed in pieces */

static const struct any_bits { uint32_t type, k, high[2]; } any_bits[] = {   /* high: bytes that decide what is finite */
  { TYPE_F32, 12, { 3, 3 } },    { TYPE_F16, 24, { 1, 1 } },  { TYPE_BF16, 24, { 1, 1 } }, { TYPE_Q8_0, 224, { 1, 1 } },
  { TYPE_Q4_0, 224, { 1, 1 } },  { TYPE_Q4_1, 96, { 1, 3 } }, { TYPE_Q4_K, 768, { 1, 3 } }, { TYPE_Q6_K, 768, { 209, 209 } },
  { TYPE_Q5_0, 96, { 1, 1 } },   { TYPE_Q5_1, 96, { 1, 3 } }, { TYPE_IQ4_NL, 224, { 1, 1 } }, { TYPE_IQ4_XS, 768, { 1, 1 } },
  { TYPE_Q2_K, 768, { 81, 83 } }, { TYPE_Q3_K, 768, { 109, 109 } }, { TYPE_Q5_K, 768, { 1, 3 } },
};

START_TEST(any_bits_are_kept) {
  enum { ROWS = 41, SKIP = 3, N = 35 };   /* rows of a part, those before and those of one tensor */
  const struct any_bits *a = &any_bits[_i];
  const struct repack_type *t = repack_find(a->type);
  const struct tensor_type *in = tensor_type_find(a->type);
  uint32_t groups = repack_groups(t, a->k);
  size_t row_bytes = (size_t)a->k / in->block * in->bytes, q_bytes = repack_q_bytes(t, ROWS, a->k, groups);
  unsigned char *file = malloc(row_bytes * N), *q = calloc(q_bytes, 1), *scale = calloc(repack_scale_bytes(t, ROWS, groups) + 1, 1);
  float *want = malloc(a->k * sizeof *want);
  uint64_t seed = 1;
  for (size_t i = 0; i < row_bytes * N; i++) file[i] = (unsigned char)writer_random(&seed);
  for (size_t b = 0; b < row_bytes * N; b += in->bytes)
    for (int i = 0; i < 2; i++) file[b + a->high[i]] &= 0xbf;
  for (uint32_t g = 0, step = 1; g < groups; g += step, step = 2) {     /* as load_part does, a piece begins with its group */
    uint32_t n = groups - g < step ? groups - g : step;
    const struct repack_planes piece = { q + repack_q_bytes(t, ROWS, a->k, g), scale + repack_scale_bytes(t, ROWS, g), ROWS };
    repack_rows(t, &piece, SKIP, file + g * (t->group / in->block * in->bytes), row_bytes, N, a->k, g, n);
  }
  const struct linear_part part = { .kernel = t->kernel, .rows = ROWS };
  for (uint32_t r = 0; r < ROWS; r++) {
    bool empty = r < SKIP || r >= SKIP + N;
    if (!empty) in->dequantise(file + (r - SKIP) * row_bytes, want, a->k);
    for (uint32_t i = 0; i < a->k; i++) {
      float got = value_at(&part, q, scale, r, i), expected = empty ? 0 : want[i];
      if (!(got <= expected && got >= expected)) {     /* zeros of either sign */
        ck_abort_msg("%s row %u value %u: %a, expected %a", in->name, r, i, got, expected);
      }
    }
  }
  free(file);
  free(q);
  free(scale);
  free(want);
}
END_TEST

static uint64_t last_done, last_total;
static int calls, stop_at;

static bool on_progress(void *ud, uint64_t done, uint64_t total) {
  ck_assert_ptr_eq(ud, &calls);
  ck_assert(done >= last_done && done <= total && (!calls || total == last_total));
  last_done = done;
  last_total = total;
  return ++calls != stop_at;
}

START_TEST(device_holds_the_file) {
  for (int mapped = 0; mapped < 2; mapped++) {
    struct opened o;
    struct model *m;
    open_tiny(&o, &shapes[_i].tiny, shapes[_i].max_binding, mapped);
    last_done = 0;
    calls = stop_at = 0;
    ck_assert_msg(model_load(&m, &o.hp, o.gguf, o.dev, on_progress, &calls) == LRQK_OK, "%s", captured.text);
    ck_assert(calls > 1 && last_done == last_total && m->weight_bytes == o.dev->placed[PLACE_DEVICE] && m->weight_bytes >= last_total);
    ck_assert_uint_eq(m->layers[0].qkv.n_parts, shapes[_i].qkv_parts);
    check_model(&o, m, shapes[_i].tiny.untied, shapes[_i].max_binding ? shapes[_i].max_binding : UINT64_MAX);

    float *row = malloc(o.hp.n_embd * sizeof *row), *want = malloc(o.hp.n_embd * sizeof *want);
    const struct gguf_tensor *t = gguf_find_tensor(o.gguf, "token_embd.weight");
    for (uint32_t id = 0; id < o.hp.n_vocab; id++) {
      model_embed(m, (int32_t)id, row);
      t->type->dequantise(t->data + id * (t->bytes / t->rows), want, o.hp.n_embd);
      ck_assert(!memcmp(row, want, o.hp.n_embd * sizeof *row));
    }
    free(row);
    free(want);
    model_free(m);
    close_tiny(&o);
  }
}
END_TEST

START_TEST(progress_stops_the_load) {
  struct opened o;
  struct model *m = NULL;
  open_tiny(&o, &(struct tiny_model){ .type = TYPE_Q4_1 }, 0, _i % 2);
  last_done = 0;
  calls = 0;
  stop_at = 1 + 3 * _i;
  ck_assert_int_eq(model_load(&m, &o.hp, o.gguf, o.dev, on_progress, &calls), LRQK_INTERRUPTED);
  ck_assert(calls == stop_at && !m);
  close_tiny(&o);
}
END_TEST

START_TEST(a_row_that_no_binding_holds) {
  struct opened o;
  struct model *m = NULL;
  open_tiny(&o, &(struct tiny_model){ .embd = 256, .layers = 1 }, 512, true);
  log_capture(&captured);
  ck_assert_int_eq(model_load(&m, &o.hp, o.gguf, o.dev, NULL, NULL), LRQK_DEVICE);
  log_capture_expect(&captured, "a row of 256 values", "one binding");
  ck_assert_ptr_null(m);
  close_tiny(&o);
}
END_TEST

START_TEST(load_checks_the_file) {
  struct opened o;
  struct model *m = NULL;
  open_tiny(&o, &(struct tiny_model){ .layers = 2 }, 0, true);
  o.hp.n_layers = 3;
  ck_assert_int_eq(model_load(&m, &o.hp, o.gguf, o.dev, NULL, NULL), LRQK_MODEL);
  log_capture_expect(&captured, "blk.2.", "is missing");
  close_tiny(&o);
}
END_TEST

int main(void) {
  Suite *s = suite_create("model");
  TCase *c = tcase_create("load");
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, any_bits_are_kept, 0, sizeof any_bits / sizeof any_bits[0]);
  tcase_add_loop_test(c, device_holds_the_file, 0, sizeof shapes / sizeof shapes[0]);
  tcase_add_loop_test(c, progress_stops_the_load, 0, 4);
  tcase_add_test(c, a_row_that_no_binding_holds);
  tcase_add_test(c, load_checks_the_file);
  suite_add_tcase(s, c);
  return suite_run(s, CK_FORK_GETENV);
}
