/* kernels.h - the closed set of kernels.  kernels.def lists them; the build generates, from each shaders/NAME.k, its
 * bindings, specialisation constants, `struct NAME_params` (kernels_gen.h) and the texts for the back ends. */
#ifndef DEVICE_KERNELS_H
#define DEVICE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels_gen.h"   /* struct NAME_params for every shaders/NAME.k */

enum {
  KERNEL_MAX_BINDINGS = 16, /* storage buffers that any desktop driver offers one kernel */
  KERNEL_MAX_SPEC = 8
};

enum kernel_id {
#define KERNEL(ID, file, defines) KERNEL_##ID,
#include "device/kernels.def"
#undef KERNEL
  N_KERNELS
};

enum access { ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_READ_WRITE = 3 };

struct kernel_binding { const char *name; uint8_t access, element; };          /* element: bytes of one, 4 or 16 */

struct kernel_info {
  const char *id, *file;                       /* "MATMUL_Q8", "matmul" (also the OpenCL entry point) */
  uint32_t n_bindings, n_spec, params_size;
  struct kernel_binding binding[KERNEL_MAX_BINDINGS];
  const char *spec_name[KERNEL_MAX_SPEC];
  uint32_t spec_default[KERNEL_MAX_SPEC];
  const uint32_t *spirv[2];                    /* [0] storage-buffer loads, [1] texel loads; NULL without Vulkan */
  size_t spirv_bytes[2];
  const char *opencl;                          /* the whole program text; NULL without OpenCL */
  char element_class[KERNEL_MAX_BINDINGS];     /* per binding: 'f' float, 'F' float4, 'u' uint, 'U' uint4 */
};

extern const struct kernel_info kernel_info[N_KERNELS];

/* The host back end: one plain C function per shaders/NAME.k, `void host_NAME(const struct host_call *c)`. */
struct host_call {
  enum kernel_id id;                           /* tells the variants of one file apart */
  const uint32_t *spec;                        /* all of the kernel's specialisation constants, [0] is WG */
  uint32_t groups[3];
  void *buf[KERNEL_MAX_BINDINGS];              /* host address of each view */
  uint64_t size[KERNEL_MAX_BINDINGS];          /* bytes of each view */
  const void *params;                          /* struct NAME_params */
};

#endif
