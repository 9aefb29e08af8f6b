// common.h - functions written in the dialect itself; every kernel includes them after its target's header.

// Sum of v over the workgroup; every lane gets it.  red[WG] is scratch, WG is a multiple of 16.  Three barriers instead
// of log2(WG): cheap on GPUs (broadcast reads of shared memory) and on CPU drivers.
#define WG_SUM(v, red) {                                                        \
    red[LID] = v;                                                               \
    BARRIER();                                                                  \
    if (LID < 16u) {                                                            \
      float t_ = 0.0f;                                                          \
      for (uint j_ = LID; j_ < WG; j_ += 16u) t_ += red[j_];                    \
      red[LID] = t_;                                                            \
    }                                                                           \
    BARRIER();                                                                  \
    v = 0.0f;                                                                   \
    for (uint j_ = 0u; j_ < 16u; j_++) v += red[j_];                            \
    BARRIER();                                                                  \
  }

// act(a) * up of a gated feed-forward layer: act is SiLU, or GELU by its tanh form: x/2 (1 + tanh u) = x / (1 + exp(-2u)) with
// 2 sqrt(2/pi) = 1.59...  For floats and vectors.
#define GATED(a, up, gelu)  ((a) / (exp((gelu) ? ((a) + (a) * (a) * (a) * 0.044715f) * -1.5957691216057308f : -(a)) + 1.0f) * (up))

// cap * tanh(x / cap), from one exp that cannot overflow.
float capped(float x, float cap) {
  float e = exp(RK_ABS(x) * (-2.0f / cap)), y = cap * (1.0f - e) / (1.0f + e);
  return x < 0.0f ? -y : y;
}

// float -> half, to nearest, ties to even, in integer arithmetic.  packHalf2x16 may round either way (lavapipe truncates),
// so whatever is stored goes through this one and has the same bits everywhere (base/half.h is the same in C).
// A denormal result comes from one float addition, which rounds to even on every target.
uint f1h_rte(float f) {
  uint b = BITS_U(f);
  uint sign = (b >> 16) & 0x8000u;
  b &= 0x7fffffffu;
  uint normal = (b + 0xfffu + ((b >> 13) & 1u) - 0x38000000u) >> 13;
  uint denormal = BITS_U(BITS_F(b) + 0.5f) - 0x3f000000u;
  return sign | (b > 0x7f800000u ? 0x7e00u : b < 0x38800000u ? denormal : min(normal, 0x7c00u));
}

uint f2h_rte(float2 v) { return f1h_rte(v.x) | (f1h_rte(v.y) << 16); }
