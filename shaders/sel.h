// sel.h - shared by the selection kernels: 16-bit weights and keys, softmax statistics of many shares, counting keys above
// thresholds, the ranks of a share.
// TEAM, a constant of some of them: what concerns all shares of a list is done by the lanes of a workgroup together (1), as GPUs
// like it, or by each of them (0): CPU drivers have few shares and few lanes, and pay for barriers.

// A weight exp(score - what its lane took off) as 16 bits: 7 exponent and 9 mantissa bits, 2^-63 .. 2^64, and scores farther
// away are held at the ends.  WEIGHT_ROUND gives the float that is kept: what is stored is what is summed.
#define WEIGHT_LEAST            (-43.66827f)            /* log 2^-63 */
#define WEIGHT_MOST             44.36142f               /* log 2^64 */
#define WEIGHT_ROUND(e)         BITS_F((BITS_U(e) + 0x2000u) & 0xffffc000u)
#define WEIGHT_BITS(rounded)    ((max(BITS_U(rounded), 0x20000000u) - 0x20000000u) >> 14)
#define WEIGHT_OF(bits)         BITS_F(((bits) << 14) + 0x20000000u)

// Softmax statistics, a reference and the sum of exp(score - reference): those of (m1, l1) join (m, l).
#define STAT_JOIN(m, l, m1, l1) {                                                               \
    float r_ = m1, most_ = max(m, r_);                                                          \
    l = l * exp(m - most_) + (l1) * exp(r_ - most_);                                            \
    m = most_;                                                                                  \
  }

// red[i * WG + LID] is what each lane has of head i; afterwards red[i * WG] up to red[i * WG + fan - 1], which is for STAT_ALL, and
// the same in every lane.  fan divides WG.
#define STAT_FOLD(red, heads, fan) {                                                            \
    BARRIER();                                                                                  \
    for (uint e_ = LID; e_ < (heads) * (fan); e_ += WG) {                                       \
      uint to_ = e_ / (fan) * WG + e_ % (fan);                                                  \
      float m_ = red[to_].x, l_ = red[to_].y;                                                   \
      for (uint j_ = fan; j_ < WG; j_ += fan) STAT_JOIN(m_, l_, red[to_ + j_].x, red[to_ + j_].y) \
      red[to_] = F2(m_, l_);                                                                    \
    }                                                                                           \
    BARRIER();                                                                                  \
  }
#define STAT_ALL(m, l, red, i, fan) {                                                           \
    m = -1e30f;                                                                                 \
    l = 0.0f;                                                                                   \
    for (uint j_ = 0u; j_ < fan; j_++) m = max(m, red[(i) * WG + j_].x);                        \
    for (uint j_ = 0u; j_ < fan; j_++) l += red[(i) * WG + j_].y * exp(red[(i) * WG + j_].x - m); \
  }

// Key of a score in [0, 1]: its float bits cut to 5 exponent and 11 mantissa bits, 2^-31 .. 1.  Sinks come first, what is
// no candidate last.
#define KEY16(score, t, n)      ((t) >= (n) ? 0u : (t) < p.sinks ? 0xffffu                      \
                                 : min(max(BITS_U(score) >> 12, 0x30000u) - 0x30000u, 0xfffeu))

// Keys 0..3 and 4..7 of a uint4 of eight.
#define KEYS_LO(u)              U4((u).x & 0xffffu, (u).x >> 16, (u).y & 0xffffu, (u).y >> 16)
#define KEYS_HI(u)              U4((u).z & 0xffffu, (u).z >> 16, (u).w & 0xffffu, (u).w >> 16)

// 1 where a key is >= thr, without a branch; thr = 0 is met by all.
#define KEYS_GE(keys, thr)      ((U4S((thr) - 1u) - (keys)) >> 31u)

// Of four counters of ascending thresholds, which descend: how many are >= want; and one of them (by its bits: oclgrind 21.10 gets
// a switch on i % 4 wrong).
#define COUNTS_MET(c, want)     ((c).x < (want) ? 0u : (c).y < (want) ? 1u : (c).z < (want) ? 2u : (c).w < (want) ? 3u : 4u)
#define COUNT_AT(c, i)          (((i) & 2u) == 0u ? ((i) & 1u) == 0u ? (c).x : (c).y : ((i) & 1u) == 0u ? (c).z : (c).w)

// TEAM: adds the first 16 counters of all shares, cnt[first + j * 8 ...] of share j, to those at sums.  WG is a multiple of 4.
#define COUNTS_ADD(sums, cnt, first, parts) {                                                   \
    uint4 c_ = U4S(0u);                                                                         \
    for (uint j_ = LID / 4u; j_ < (parts); j_ += WG / 4u) c_ += LD(cnt, (first) + j_ * 8u + LID % 4u); \
    ATOMIC_ADD(sums[LID % 4u * 4u], c_.x);      /* counts: the order does not matter */         \
    ATOMIC_ADD(sums[LID % 4u * 4u + 1u], c_.y);                                                 \
    ATOMIC_ADD(sums[LID % 4u * 4u + 2u], c_.z);                                                 \
    ATOMIC_ADD(sums[LID % 4u * 4u + 3u], c_.w);                                                 \
  }

// before = sum of sh[j], j < LID, which every lane has written.  TEAM: by way of the sums of parts, as many as part has words: up to 16.
#define SUM_FAN                 min(WG / 4u, 16u)
#define SUM_BEFORE(before, sh, part) {                                                          \
    uint of_ = TEAM != 0u ? WG / SUM_FAN : WG, mine_ = LID / of_;                               \
    BARRIER();                                                                                  \
    if (TEAM != 0u) {                                                                           \
      if (LID < SUM_FAN) {                                                                      \
        uint t_ = 0u;                                                                           \
        for (uint j_ = LID * of_; j_ < LID * of_ + of_; j_++) t_ += sh[j_];                     \
        part[LID] = t_;                                                                         \
      }                                                                                         \
      BARRIER();                                                                                \
    }                                                                                           \
    before = 0u;                                                                                \
    for (uint j_ = 0u; j_ < mine_; j_++) before += part[j_];                                    \
    for (uint j_ = mine_ * of_; j_ < LID; j_++) before += sh[j_];                               \
  }

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
