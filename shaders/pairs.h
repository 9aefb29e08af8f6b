// pairs.h - rotary pairs, and the proxy of a key made of them: what pair_*, proxy_build and token_append agree on.

// Coordinates of pair i < d/2.  NEOX: a pair is (i, i + rot/2) where coordinates rotate; else, and beyond, neighbours.
#define PAIR_A(i)               (NEOX == 0u || (i) >= p.rot / 2u ? 2u * (i) : (i))
#define PAIR_B(i)               (NEOX == 0u || (i) >= p.rot / 2u ? 2u * (i) + 1u : (i) + p.rot / 2u)

// Element i of a read-only uint buffer of halves: its bits, its value.
#define HALF_BITS(name, i)      ((LD(name, (i) / 2u) >> (((i) & 1u) * 16u)) & 0xffffu)
#define HALF(name, i)           h2f(HALF_BITS(name, i)).x

// int8: s = fp16(max|a| / 127), q = clamp(rint(a * (1 / s)), +-127); a zero row has s = 0.  The maximum is a half, so that
// its quotient by 127 is far from the middle of two halves: multiplying by the reciprocal rounds to the same s everywhere.
uint proxy_scale(float most) { return f1h_rte(most * (1.0f / 127.0f)); }

float proxy_inverse(uint scale) {
  float s = h2f(scale).x;
  return s > 0.0f ? 1.0f / s : 0.0f;
}

uint proxy_code(float a, float inverse) { return U32(I32(clamp(RINT(a * inverse), -127.0f, 127.0f))) & 255u; }

// With PROXY 8 or 16 bits a value, LD names kv (keys as stored: a proxy made again from them has the same bits) and tab:
// largest |a| of the key whose halves begin at `key`, and word w of its proxy row, zero beyond the rank.
#ifdef PROXY
#if PROXY == 8
#define PROXY_VALUES            4u
#define PROXY_VALUE(bits, inv)  proxy_code(h2f(bits).x, inv)
#else
#define PROXY_VALUES            2u
#define PROXY_VALUE(bits, inv)  (bits)
#endif
#define PROXY_MOST(most, key, tab0) {                                                           \
    most = 0.0f;                                                                                \
    for (uint c_ = 0u; c_ < p.rank; c_++) most = max(most, RK_ABS(HALF(kv, (key) + LD(tab, (tab0) + c_)))); \
  }
#define PROXY_WORD(word, key, tab0, w, inv) {                                                   \
    word = 0u;                                                                                  \
    for (uint j_ = 0u; j_ < PROXY_VALUES; j_++) {                                               \
      uint c_ = (w) * PROXY_VALUES + j_, at_ = (key) + LD(tab, (tab0) + min(c_, p.rank - 1u));  \
      word |= (c_ < p.rank ? PROXY_VALUE(HALF_BITS(kv, at_), inv) : 0u) << (j_ * (32u / PROXY_VALUES)); \
    }                                                                                           \
  }
#endif
