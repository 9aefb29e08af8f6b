// weights.h - weights of any type in sixteens, for kernels that take the type as a constant: matvec_tile.k, matmul_tile.k,
// dequant.k.  WTYPE is the type's number in a file and the planes are packed as matmul.k says, where the scales are explained.
// Wants LD names w, scale; p.n (rows of the planes) and p.k.
#if defined(WEIGHTS) || FMT == 20 || FMT == 23
// The 16 values that a nibble stands for: -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113, a byte each.
float iq4(uint bits) {
  uint i = bits & 15u, four = i < 8u ? (i < 4u ? 0xbfad9881u : 0xf6eaddcfu) : (i < 12u ? 0x26190d01u : 0x71594535u);
  return F32(I32(four << (24u - 8u * (i & 3u))) >> 24);
}
#endif

#ifdef WEIGHTS
float4 bf16_4(uint a, uint b) { return F4(BITS_F(a << 16), BITS_F(a & 0xffff0000u), BITS_F(b << 16), BITS_F(b & 0xffff0000u)); }
float4 bits_4(uint h, float f) { return F4(F32(h & 1u), F32((h >> 1) & 1u), F32((h >> 2) & 1u), F32((h >> 3) & 1u)) * f; }
float4 two_4(uint v) { return F4(F32(v & 3u), F32((v >> 8) & 3u), F32((v >> 16) & 3u), F32((v >> 24) & 3u)); }
float4 iq4_4(uint v) { return F4(iq4(v), iq4(v >> 8), iq4(v >> 16), iq4(v >> 24)); }
float int8_of(uint word, uint i) { return F32(I32(word << (24u - 8u * i)) >> 24); }   // byte i of the word

// w0 .. w3 (float4 variables of the caller) = elements 16 u .. 16 u + 15 of row `row`; beyond k they are 0.
#define WEIGHTS16(w0, w1, w2, w3, u, row) {                                                                     \
    if (WTYPE == 0u) {                                                                                          \
      W_F32(w0, (u) * 4u, row) W_F32(w1, (u) * 4u + 1u, row) W_F32(w2, (u) * 4u + 2u, row) W_F32(w3, (u) * 4u + 3u, row)\
    } else if (WTYPE == 1u || WTYPE == 30u) {                                                                   \
      W_HALVES(w0, w1, (u) * 2u, row) W_HALVES(w2, w3, (u) * 2u + 1u, row)                                      \
    } else if (WTYPE == 8u || WTYPE == 14u) {                                                                   \
      W_BYTES(w0, w1, w2, w3, u, row)                                                                           \
    } else if (WTYPE == 10u || WTYPE == 11u) {                                                                  \
      W_PAIRS(w0, w1, w2, w3, u, row)                                                                           \
    } else {                                                                                                    \
      W_NIBBLES(w0, w1, w2, w3, u, row)                                                                         \
    }                                                                                                           \
  }

#define W_F32(v, c, row) {                                                                                      \
    uint4 q_ = LD(w, min(c, p.k / 4u - 1u) * p.n + (row));                                                      \
    v = (c) < p.k / 4u ? F4(BITS_F(q_.x), BITS_F(q_.y), BITS_F(q_.z), BITS_F(q_.w)) : F4S(0.0f);                \
  }

#define W_HALVES(v0, v1, c, row) {                                                                              \
    uint4 q_ = LD(w, min(c, p.k / 8u - 1u) * p.n + (row));                                                      \
    if ((c) >= p.k / 8u) q_ = U4S(0u);                                                                          \
    v0 = WTYPE == 1u ? H4(q_.x, q_.y) : bf16_4(q_.x, q_.y);                                                     \
    v1 = WTYPE == 1u ? H4(q_.z, q_.w) : bf16_4(q_.z, q_.w);                                                     \
  }

#define W_BYTES(w0, w1, w2, w3, u, row) {                                                                       \
    uint4 q_ = LD(w, (u) * p.n + (row));                                                                        \
    float s_;                                                                                                   \
    if (WTYPE == 8u) {                                                                                          \
      float2 pair_ = h2f(LD(scale, (u) / 4u * p.n + (row)));                                                    \
      s_ = ((u) & 2u) == 0u ? pair_.x : pair_.y;                                                                \
    } else {                                                                                                    \
      uint group_ = (u) / 16u * 5u;                                                                             \
      s_ = h2f(LD(scale, group_ * p.n + (row))).x * int8_of(LD(scale, (group_ + 1u + (u) % 16u / 4u) * p.n + (row)), (u) & 3u);\
    }                                                                                                           \
    w0 = I8_4(q_.x) * s_;                                                                                       \
    w1 = I8_4(q_.y) * s_;                                                                                       \
    w2 = I8_4(q_.z) * s_;                                                                                       \
    w3 = I8_4(q_.w) * s_;                                                                                       \
  }

#define W_PAIRS(w0, w1, w2, w3, u, row) {                                                                       \
    uint4 q_ = LD(w, (u) / 4u * p.n + (row));                                                                   \
    uint word_ = (u) & 3u, v_ = word_ < 2u ? (word_ == 0u ? q_.x : q_.y) : (word_ == 2u ? q_.z : q_.w), h_ = 0u;\
    uint group_ = (u) / 16u * (WTYPE == 10u ? 5u : 13u), of4_ = LD(scale, (group_ + 1u + (u) % 16u / 4u) * p.n + (row));\
    float2 dm_ = h2f(LD(scale, group_ * p.n + (row)));                                                          \
    if (WTYPE == 10u) {                                                                                         \
      uint byte_ = of4_ >> (8u * word_);                                                                        \
      dm_ = dm_ * F2(F32(byte_ & 15u), -F32((byte_ >> 4) & 15u));                                               \
    } else {                                                                                                    \
      dm_ = dm_.x * int8_of(of4_, word_) * F2(1.0f, -4.0f);                                                     \
      h_ = LD(scale, (group_ + 5u + (u) % 16u / 2u) * p.n + (row)) >> (16u * (word_ & 1u));                     \
    }                                                                                                           \
    w0 = (two_4(v_) + bits_4(h_, 4.0f)) * dm_.x + F4S(dm_.y);                                                   \
    w1 = (two_4(v_ >> 2) + bits_4(h_ >> 4, 4.0f)) * dm_.x + F4S(dm_.y);                                         \
    w2 = (two_4(v_ >> 4) + bits_4(h_ >> 8, 4.0f)) * dm_.x + F4S(dm_.y);                                         \
    w3 = (two_4(v_ >> 6) + bits_4(h_ >> 12, 4.0f)) * dm_.x + F4S(dm_.y);                                        \
  }

// Scale and offset of block b of 32 nibbles (dm), and the fifth bits of its elements (h; 0 without).
#define W_SCALE(dm, h, b, row) {                                                                                \
    h = 0u;                                                                                                     \
    if (WTYPE == 2u || WTYPE == 20u) {                                                                          \
      float2 pair_ = h2f(LD(scale, (b) / 2u * p.n + (row)));                                                    \
      dm = (((b) & 1u) == 0u ? pair_.x : pair_.y) * F2(1.0f, WTYPE == 2u ? -8.0f : 0.0f);                       \
    } else if (WTYPE == 3u) {                                                                                   \
      dm = h2f(LD(scale, (b) * p.n + (row)));                                                                   \
    } else if (WTYPE == 6u || WTYPE == 7u) {                                                                    \
      dm = h2f(LD(scale, (b) * 2u * p.n + (row)));                                                              \
      if (WTYPE == 6u) dm = dm.x * F2(1.0f, -16.0f);                                                            \
      h = LD(scale, ((b) * 2u + 1u) * p.n + (row));                                                             \
    } else if (WTYPE == 23u) {                                                                                  \
      uint group_ = (b) / 8u * 3u, of4_ = LD(scale, (group_ + 1u + (b) % 8u / 4u) * p.n + (row));               \
      dm = F2(h2f(LD(scale, group_ * p.n + (row))).x * int8_of(of4_, (b) & 3u), 0.0f);                          \
    } else {                                                                                                    \
      uint group_ = (b) / 8u * (WTYPE == 13u ? 13u : 5u);                                                       \
      uint bytes_ = LD(scale, (group_ + 1u + (b) % 8u / 2u) * p.n + (row)) >> (((b) & 1u) * 16u);               \
      dm = h2f(LD(scale, group_ * p.n + (row))) * F2(F32(bytes_ & 255u), -F32((bytes_ >> 8) & 255u));           \
      if (WTYPE == 13u) h = LD(scale, (group_ + 5u + (b) % 8u) * p.n + (row));                                  \
    }                                                                                                           \
  }

#define W_NIBBLES(w0, w1, w2, w3, u, row) {                                                                     \
    uint4 q_ = LD(w, (u) / 2u * p.n + (row));                                                                   \
    uint a_ = ((u) & 1u) == 0u ? q_.x : q_.z, b_ = ((u) & 1u) == 0u ? q_.y : q_.w, h_;                          \
    float2 dm_;                                                                                                 \
    W_SCALE(dm_, h_, (u) / 2u, row)                                                                             \
    if (WTYPE == 20u || WTYPE == 23u) {                                                                         \
      w0 = iq4_4(a_) * dm_.x;                                                                                   \
      w1 = iq4_4(a_ >> 4) * dm_.x;                                                                              \
      w2 = iq4_4(b_) * dm_.x;                                                                                   \
      w3 = iq4_4(b_ >> 4) * dm_.x;                                                                              \
    } else {                                                                                                    \
      h_ = h_ >> (16u * ((u) & 1u));                                                                            \
      w0 = (NIB_LO(a_) + bits_4(h_, 16.0f)) * dm_.x + F4S(dm_.y);                                               \
      w1 = (NIB_HI(a_) + bits_4(h_ >> 4, 16.0f)) * dm_.x + F4S(dm_.y);                                          \
      w2 = (NIB_LO(b_) + bits_4(h_ >> 8, 16.0f)) * dm_.x + F4S(dm_.y);                                          \
      w3 = (NIB_HI(b_) + bits_4(h_ >> 12, 16.0f)) * dm_.x + F4S(dm_.y);                                         \
    }                                                                                                           \
  }
#endif
