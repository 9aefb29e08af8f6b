/* kernel_info against the kernels it is made of: one that is known by heart, and what must hold for all of them. */
#include "suite.h"   /* last: it has a macro named fail */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/kernels.h"

START_TEST(add_is_as_declared) {
  const struct kernel_info *k = &kernel_info[KERNEL_ADD];
  ck_assert_uint_eq(sizeof(struct add_params), 4);
  ck_assert_uint_eq(((struct add_params){ .n4 = 7 }).n4, 7);
  ck_assert_str_eq(k->id, "ADD");
  ck_assert_str_eq(k->file, "add");
  ck_assert_uint_eq(k->params_size, 4);
  ck_assert_uint_eq(k->n_spec, 1);
  ck_assert_str_eq(k->spec_name[0], "WG");
  ck_assert_uint_eq(k->spec_default[0], 64);
  ck_assert_uint_eq(k->n_bindings, 3);
  ck_assert_str_eq(k->binding[0].name, "x");
  ck_assert_uint_eq(k->binding[0].access, ACCESS_READ);
  ck_assert_str_eq(k->binding[2].name, "z");
  ck_assert_uint_eq(k->binding[2].access, ACCESS_WRITE);
  ck_assert_uint_eq(k->binding[2].element, 16);
  ck_assert_int_eq(k->element_class[2], 'F');
}
END_TEST

START_TEST(every_kernel_is_whole) {
  const struct kernel_info *k = &kernel_info[_i];
  ck_assert_ptr_nonnull(k->id);
  ck_assert_msg(k->n_bindings >= 1 && k->n_bindings <= KERNEL_MAX_BINDINGS, "%s: %u bindings", k->id, k->n_bindings);
  ck_assert_msg(k->n_spec >= 1 && k->n_spec <= KERNEL_MAX_SPEC && !strcmp(k->spec_name[0], "WG"), "%s: constants", k->id);
  ck_assert_msg(k->params_size >= 4 && k->params_size <= 128 && k->params_size % 4 == 0, "%s: %u bytes of parameters", k->id, k->params_size);
  int written = 0;
  for (uint32_t i = 0; i < k->n_bindings; i++) {
    const char *bytes = strchr("fuFU", k->element_class[i]);
    ck_assert_msg(bytes && *bytes, "%s: element class of %s", k->id, k->binding[i].name);
    ck_assert_uint_eq(k->binding[i].element, strchr("FU", *bytes) ? 16 : 4);
    written |= k->binding[i].access & ACCESS_WRITE;
  }
  ck_assert_msg(written, "%s writes nothing", k->id);
  for (int texel = 0; texel < 2 && kernel_info[KERNEL_ADD].spirv[0]; texel++) {
    ck_assert_msg(k->spirv[texel] && k->spirv_bytes[texel] > 20, "%s: no SPIR-V", k->id);
    ck_assert_uint_eq(k->spirv[texel][0], 0x07230203);
  }
  if (kernel_info[KERNEL_ADD].opencl) {
    ck_assert_ptr_nonnull(k->opencl);
    char entry[64];
    snprintf(entry, sizeof entry, "KERNEL(%s)", k->file);
    ck_assert_msg(strstr(k->opencl, entry), "%s: no entry point in the OpenCL text", k->id);
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("kernels_gen");
  TCase *c = tcase_create("kernel_info");
  tcase_add_test(c, add_is_as_declared);
  tcase_add_loop_test(c, every_kernel_is_whole, 0, N_KERNELS);
  suite_add_tcase(s, c);
  return suite_run(s, CK_FORK_GETENV);
}
