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
