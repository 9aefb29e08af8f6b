// dialect_cl.h - the kernel dialect as OpenCL C 1.2; the build puts it before the text of each kernel.
#define RK_CL 1

// ---- sections of a kernel, in this order.  Params_ is argument 0, so every buffer can begin with a comma: binding b is
// argument b + 1.

#define SPEC(id, name, number)  // the host passes -D<name>=<value>u: an enum would be int and make min() and max() ambiguous
#define PARAMS_BEGIN            typedef struct {
#define PARAMS_END              } Params_;
#define KERNEL(name)            __kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void name(Params_ p
#define BUF_R(b, T, name)       , __global const T *restrict b_##name
#define LD(name, i)             b_##name[i]
#define BUF_W(b, T, name)       , __global T *restrict name
#define BUF_RW(b, T, name)      , __global T *restrict name
#define LOCALS                  ) {
#define SHARED(T, name, n)      __local T name[n];
#define BODY
#define END                     }

// ---- where a lane is

#define LID                     ((uint)get_local_id(0))
#define WG_X                    ((uint)get_group_id(0))
#define WG_Y                    ((uint)get_group_id(1))
#define WG_Z                    ((uint)get_group_id(2))
#define NWG_X                   ((uint)get_num_groups(0))
#define NWG_Y                   ((uint)get_num_groups(1))
#define NWG_Z                   ((uint)get_num_groups(2))
#define BARRIER()               barrier(CLK_LOCAL_MEM_FENCE)

// ---- constructors, conversions

#define F32(x)                  ((float)(x))
#define U32(x)                  ((uint)(x))
#define I32(x)                  ((int)(x))
#define F2(a, b)                ((float2)(a, b))
#define F4(a, b, c, d)          ((float4)(a, b, c, d))
#define F4S(a)                  ((float4)(a))
#define U2(a, b)                ((uint2)(a, b))
#define U4(a, b, c, d)          ((uint4)(a, b, c, d))
#define U4S(a)                  ((uint4)(a))
#define BITS_U(x)               as_uint(x)
#define BITS_F(x)               as_float(x)
float4 h4f(uint2 u) { return vload_half4(0, (const __private half *)&u); }      // PoCL: an instruction, where vload_half2 is a dozen
float2 h2f(uint u) { return h4f((uint2)(u, 0u)).lo; }
float8 h8f(uint4 u) { return vload_half8(0, (const __private half *)&u); }
#define H4(a, b)                h4f((uint2)(a, b))
#define I8_4(q)                 convert_float4(as_char4(q))                                                 // 4 int8
#define NIB_LO(q)               convert_float4((uint4)(q, (q) >> 8, (q) >> 16, (q) >> 24) & 15u)            // low nibbles
#define NIB_HI(q)               convert_float4((uint4)((q) >> 4, (q) >> 12, (q) >> 20, (q) >> 28) & 15u)    // high nibbles

// ---- functions whose names differ

#define FMA(a, b, c)            mad(a, b, c)
#define RINT(x)                 rint(x)                                 // to nearest, ties to even
#define RK_ABS(x)               fabs(x)
#define POPC(x)                 popcount(x)                             // bits set
#define CTZ(x)                  (31u - clz((x) & (0u - (x))))           // index of the lowest bit set, x != 0
#define ATOMIC_ADD(lv, v)       atomic_add(&(lv), v)
#define ATOMIC_MAX(lv, v)       atomic_max(&(lv), v)
#define ATOMIC_OR(lv, v)        atomic_or(&(lv), v)

// ---- for kernels that have a file of their own for OpenCL

// Asks for the cache line at p, which may lie outside of the buffer, where memory is one address space.
#if defined(__x86_64__) || defined(__aarch64__)
#define PREFETCH(p)             __builtin_prefetch((const void *)(size_t)(p));
#else
#define PREFETCH(p)
#endif
#define ROWS_AHEAD              16u     // of K or V: a row is two lines or more, and a core has some twenty under way

// exp of x <= 88 to 2e-7, 0 below -87.  PoCL's own takes three times as long, and its rint and mad are a dozen instructions
// and two: adding 3 * 2^22 rounds, and leaves the integer in the low bits.
float8 exp8(float8 x) {
  float8 t = x * 1.44269504f + 12582912.0f, n = t - 12582912.0f;
  float8 r = n * 2.12194440e-4f + (n * -0.693359375f + x);
  float8 y = r * 1.9875691500e-4f + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * (r * r) + r + 1.0f;
  return x < -87.0f ? (float8)(0.0f) : as_float8(as_int8(y) + (as_int8(t) << 23));
}

// Sum of four vectors' values each.
float4 sum_each(float4 a, float4 b, float4 c, float4 d) {
  float4 u = (float4)(a.x, b.x, a.y, b.y) + (float4)(a.z, b.z, a.w, b.w);
  float4 v = (float4)(c.x, d.x, c.y, d.y) + (float4)(c.z, d.z, c.w, d.w);
  return (float4)(u.lo, v.lo) + (float4)(u.hi, v.hi);
}
