// sel.h - shared by the selection kernels: 16-bit weights and keys, counting keys above thresholds, the ranks of a share.

// A weight exp(score - what its lane took off) as 16 bits: 7 exponent and 9 mantissa bits, 2^-63 .. 2^64, and scores farther
// away are held at the ends.  WEIGHT_ROUND gives the float that is kept: what is stored is what is summed.
#define WEIGHT_LEAST            (-43.66827f)            /* log 2^-63 */
#define WEIGHT_MOST             44.36142f               /* log 2^64 */
#define WEIGHT_ROUND(e)         BITS_F((BITS_U(e) + 0x2000u) & 0xffffc000u)
#define WEIGHT_BITS(rounded)    ((max(BITS_U(rounded), 0x20000000u) - 0x20000000u) >> 14)
#define WEIGHT_OF(bits)         BITS_F(((bits) << 14) + 0x20000000u)

// Key of a score in [0, 1]: its float bits cut to 5 exponent and 11 mantissa bits, 2^-31 .. 1.  Sinks come first, what is
// no candidate last.
#define KEY16(score, t, n)      ((t) >= (n) ? 0u : (t) < p.sinks ? 0xffffu                      \
                                 : min(max(BITS_U(score) >> 12, 0x30000u) - 0x30000u, 0xfffeu))

// Keys 0..3 and 4..7 of a uint4 of eight.
#define KEYS_LO(u)              U4((u).x & 0xffffu, (u).x >> 16, (u).y & 0xffffu, (u).y >> 16)
#define KEYS_HI(u)              U4((u).z & 0xffffu, (u).z >> 16, (u).w & 0xffffu, (u).w >> 16)

// 1 where a key is >= thr, without a branch; thr = 0 is met by all.
#define KEYS_GE(keys, thr)      ((U4S((thr) - 1u) - (keys)) >> 31u)

// n counters of such keys.  OpenCL on CPUs: vector sums; lavapipe has each counter in a SIMD lane already.
#ifdef RK_CL
#define CNT_DECL(a, n)          uint4 a[n]; for (uint i_ = 0u; i_ < n; i_++) a[i_] = U4S(0u);
#define CNT_ADD(a, i, thr, k)   { a[i] += KEYS_GE(k, thr); }
#define CNT_GET(a, i)           (a[i].x + a[i].y + a[i].z + a[i].w)
#else
#define CNT_DECL(a, n)          uint a[n]; for (uint i_ = 0u; i_ < n; i_++) a[i_] = 0u;
#define CNT_ADD(a, i, thr, k)   { uint4 v_ = KEYS_GE(k, thr); a[i] += v_.x + v_.y + v_.z + v_.w; }
#define CNT_GET(a, i)           a[i]
#endif

// Of the uint4s c0 .. c1 of LD name key: keys > cut in the low half, keys == cut in the high half (each below 65536).
#define KEYS_COUNT(packed, base, c0, c1, cut) {                                                 \
    uint gt_ = 0u, ge_ = 0u;                                                                    \
    for (uint c_ = c0; c_ < c1; c_++) {                                                         \
      uint4 u_ = LD(key, (base) + c_), lo_ = KEYS_LO(u_), hi_ = KEYS_HI(u_);                    \
      uint4 a_ = KEYS_GE(lo_, (cut) + 1u) + KEYS_GE(hi_, (cut) + 1u), b_ = KEYS_GE(lo_, cut) + KEYS_GE(hi_, cut); \
      gt_ += a_.x + a_.y + a_.z + a_.w;                                                         \
      ge_ += b_.x + b_.y + b_.z + b_.w;                                                         \
    }                                                                                           \
    packed = gt_ | ((ge_ - gt_) << 16);                                                         \
  }

// Bits 0..7: which of eight keys are >= thr.
#define KEYS_MASK(mask, u, thr) {                                                               \
    uint4 a_ = KEYS_GE(KEYS_LO(u), thr), b_ = KEYS_GE(KEYS_HI(u), thr);                         \
    mask = a_.x | (a_.y << 1) | (a_.z << 2) | (a_.w << 3) | (b_.x << 4) | (b_.y << 5) | (b_.z << 6) | (b_.w << 7); \
  }

// List entries of the keys whose bit is set in ge (key >= cut) from token t: those > cut (bit in gt), and of those == cut the
// first `need` of the whole text.  before_gt and before_eq count what came before and move on.  One trip per set bit.
#define KEYS_EMIT(list0, t, gt, ge, before_gt, before_eq, need)                                 \
    while (ge != 0u) {                                                                          \
      uint bit_ = CTZ(ge);                                                                      \
      bool above_ = ((gt >> bit_) & 1u) != 0u;                                                  \
      if (above_ || before_eq < need) list[(list0) + before_gt + min(before_eq, need)] = (t) + bit_; \
      before_gt += above_ ? 1u : 0u;                                                            \
      before_eq += above_ ? 0u : 1u;                                                            \
      ge &= ge - 1u;                                                                            \
    }
