// dialect_glsl.h - the kernel dialect as Vulkan GLSL; the generated wrapper of each kernel includes it.
// RK_TEXEL 0: BUF_R is a storage buffer.  RK_TEXEL 1: a uniform texel buffer, which CPU drivers read 10 to 20 times faster.
#define RK_GLSL 1

// ---- sections of a kernel, in this order

#define SPEC(id, name, number)  layout(constant_id = id) const uint name = number;
#define PARAMS_BEGIN            layout(push_constant) uniform Params_ {
#define PARAMS_END              } p;
#define KERNEL(name)            layout(local_size_x_id = 0) in;         // WG is always SPEC 0
#if RK_TEXEL
#define RK_TEX_float            samplerBuffer                           // VK_FORMAT_R32_SFLOAT
#define RK_TEX_float4           samplerBuffer                           // VK_FORMAT_R32G32B32A32_SFLOAT
#define RK_TEX_uint             usamplerBuffer                          // VK_FORMAT_R32_UINT
#define RK_TEX_uint4            usamplerBuffer                          // VK_FORMAT_R32G32B32A32_UINT
#define RK_SWZ_float            .x
#define RK_SWZ_float4
#define RK_SWZ_uint             .x
#define RK_SWZ_uint4
#define BUF_R(b, T, name)       layout(set = 0, binding = b) uniform highp RK_TEX_##T B_##name; \
                                T ld_##name(uint i_) { return texelFetch(B_##name, int(i_)) RK_SWZ_##T; }
#define LD(name, i)             ld_##name(i)
#else
#define BUF_R(b, T, name)       layout(std430, set = 0, binding = b) readonly restrict buffer B_##name { T b_##name[]; };
#define LD(name, i)             b_##name[i]
#endif
#define BUF_W(b, T, name)       layout(std430, set = 0, binding = b) writeonly restrict buffer B_##name { T name[]; };
#define BUF_RW(b, T, name)      layout(std430, set = 0, binding = b) restrict buffer B_##name { T name[]; };
#define LOCALS
#define SHARED(T, name, n)      shared T name[n];
#define BODY                    void main()
#define END

// ---- where a lane is

#define LID                     gl_LocalInvocationIndex
#define WG_X                    gl_WorkGroupID.x
#define WG_Y                    gl_WorkGroupID.y
#define WG_Z                    gl_WorkGroupID.z
#define NWG_X                   gl_NumWorkGroups.x
#define NWG_Y                   gl_NumWorkGroups.y
#define NWG_Z                   gl_NumWorkGroups.z
#define BARRIER()               barrier()                               // in compute shaders it orders shared memory too

// ---- types, constructors, conversions

#define float2                  vec2
#define float4                  vec4
#define uint2                   uvec2
#define uint4                   uvec4
#define F32(x)                  float(x)
#define U32(x)                  uint(x)
#define I32(x)                  int(x)
#define F2(a, b)                vec2(a, b)
#define F4(a, b, c, d)          vec4(a, b, c, d)
#define F4S(a)                  vec4(a)
#define U2(a, b)                uvec2(a, b)
#define U4(a, b, c, d)          uvec4(a, b, c, d)
#define U4S(a)                  uvec4(a)
#define BITS_U(x)               floatBitsToUint(x)
#define BITS_F(x)               uintBitsToFloat(x)
#define h2f(u)                  unpackHalf2x16(u)                       // uint -> float2
#define H4(a, b)                vec4(unpackHalf2x16(a), unpackHalf2x16(b))
#define I8_4(q)                 vec4(int(q) << 24 >> 24, int(q) << 16 >> 24, int(q) << 8 >> 24, int(q) >> 24)   // 4 int8
#define NIB_LO(q)               vec4(uvec4(q, (q) >> 8, (q) >> 16, (q) >> 24) & 15u)            // low nibbles of 4 bytes
#define NIB_HI(q)               vec4(uvec4((q) >> 4, (q) >> 12, (q) >> 20, (q) >> 28) & 15u)    // high nibbles

// ---- functions whose names differ

#define FMA(a, b, c)            fma(a, b, c)
#define RINT(x)                 roundEven(x)                            // to nearest, ties to even
#define RK_ABS(x)               abs(x)
#define POPC(x)                 uint(bitCount(x))                       // bits set
#define CTZ(x)                  uint(findLSB(x))                        // index of the lowest bit set, x != 0
#define rsqrt(x)                inversesqrt(x)
#define ATOMIC_ADD(lv, v)       atomicAdd(lv, v)
#define ATOMIC_MAX(lv, v)       atomicMax(lv, v)
#define ATOMIC_OR(lv, v)        atomicOr(lv, v)
