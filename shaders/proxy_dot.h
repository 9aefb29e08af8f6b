// proxy_dot.h - scores of TN adjacent tokens for the G query heads of a list; score_stat.k is built on it.
// acc[i * TN + j] (private, the caller's) = query proxy `list * G + i` times proxy row `row + j`: what lies behind the last token
// is masked by the caller.  Wants LD names qh, px, sc; SPECs G, RW, TN (4, or a multiple of 8, and so is row); PROXY.
// The first uint4 of a row stands before the loop over the others, and its part of the queries is kept (PROXY_QUERY): lavapipe
// unrolls no loop of this length, and what changes in a loop costs a blend each time.  Short rows have no other.
#ifdef PROXY
#define PROXY_QUERY(first, list)                                                                \
    float4 first[G * PROXY_F4];                                                                 \
    for (uint i_ = 0u; i_ < G; i_++)                                                            \
      for (uint j_ = 0u; j_ < PROXY_F4; j_++) first[i_ * PROXY_F4 + j_] = LD(qh, ((list) * G + i_) * (RW * PROXY_F4) + j_);

#define PROXY_DOT(acc, first, list, row) {                                                      \
    PROXY_ACC                                                                                   \
    for (uint i_ = 0u; i_ < G; i_++)                                                            \
      for (uint j_ = 0u; j_ < TN; j_++) PROXY_AT(acc, i_ * TN + j_) = PROXY_ZERO;               \
    uint4 w_[TN];                                                                               \
    PROXY_ROWS(row, 0u)                                                                         \
    PROXY_PARTS(acc, PROXY_FIRST, first, 0u)                                                    \
    for (uint c_ = 1u; c_ < RW; c_++) {                                                         \
      PROXY_ROWS(row, c_)                                                                       \
      PROXY_PARTS(acc, PROXY_OTHER, list, c_)                                                   \
    }                                                                                           \
    PROXY_FINISH(acc, row)                                                                      \
  }

#define PROXY_ROWS(row, c)                                                                      \
    for (uint j_ = 0u; j_ < TN; j_++) w_[j_] = LD(px, ((row) + j_) * RW + (c));

// Part `part` of the proxy of query i_, from PROXY_QUERY's array or from memory.
#define PROXY_FIRST(first, part)  first[i_ * PROXY_F4 + (part)]
#define PROXY_OTHER(list, part)   LD(qh, ((list) * G + i_) * (RW * PROXY_F4) + (part))

// Four coordinates: value `k4` of each row against float4 `part` of the query proxies' row.
#define PROXY_PART(acc, query, from, part, k4) {                                                \
    float4 k_[TN];                                                                              \
    for (uint j_ = 0u; j_ < TN; j_++) k_[j_] = k4;                                              \
    for (uint i_ = 0u; i_ < G; i_++) {                                                          \
      float4 q_ = query(from, part);                                                            \
      for (uint j_ = 0u; j_ < TN; j_++) PROXY_MAC(PROXY_AT(acc, i_ * TN + j_), q_, k_[j_]);     \
    }                                                                                           \
  }

#if PROXY == 8
#define PROXY_F4                4u          /* float4s of a query proxy for one uint4 of a row */
#define PROXY_PARTS(acc, query, from, c)                                                        \
    PROXY_PART(acc, query, from, (c) * 4u,      I8_4(w_[j_].x))                                 \
    PROXY_PART(acc, query, from, (c) * 4u + 1u, I8_4(w_[j_].y))                                 \
    PROXY_PART(acc, query, from, (c) * 4u + 2u, I8_4(w_[j_].z))                                 \
    PROXY_PART(acc, query, from, (c) * 4u + 3u, I8_4(w_[j_].w))
#define PROXY_FINISH(acc, row)                                                                  \
    for (uint j_ = 0u; j_ < TN; j_ += 4u) {                                                     \
      uint4 u_ = LD(sc, ((row) + j_) / 8u);                                                     \
      bool upper_ = TN % 8u == 0u ? (j_ & 4u) != 0u : ((row) & 4u) != 0u;                       \
      float4 s_ = H4(upper_ ? u_.z : u_.x, upper_ ? u_.w : u_.y);                               \
      for (uint i_ = 0u; i_ < G; i_++) {                                                        \
        acc[i_ * TN + j_] = PROXY_SUM(acc, i_ * TN + j_) * s_.x;                                \
        acc[i_ * TN + j_ + 1u] = PROXY_SUM(acc, i_ * TN + j_ + 1u) * s_.y;                      \
        acc[i_ * TN + j_ + 2u] = PROXY_SUM(acc, i_ * TN + j_ + 2u) * s_.z;                      \
        acc[i_ * TN + j_ + 3u] = PROXY_SUM(acc, i_ * TN + j_ + 3u) * s_.w;                      \
      }                                                                                         \
    }
#else
#define PROXY_F4                2u
#define PROXY_PARTS(acc, query, from, c)                                                        \
    PROXY_PART(acc, query, from, (c) * 2u,      H4(w_[j_].x, w_[j_].y))                         \
    PROXY_PART(acc, query, from, (c) * 2u + 1u, H4(w_[j_].z, w_[j_].w))
#define PROXY_FINISH(acc, row)                                                                  \
    for (uint i_ = 0u; i_ < G; i_++)                                                            \
      for (uint j_ = 0u; j_ < TN; j_++) acc[i_ * TN + j_] = PROXY_SUM(acc, i_ * TN + j_);
#endif

#ifdef RK_CL                                /* OpenCL on CPUs compiles one lane at a time: float4 sums, one horizontal add */
#define PROXY_ACC               float4 sum_[G * TN];
#define PROXY_AT(acc, i)        sum_[i]
#define PROXY_ZERO              F4S(0.0f)
#define PROXY_SUM(acc, i)       (sum_[i].x + sum_[i].y + sum_[i].z + sum_[i].w)
#define PROXY_MAC(a, q, k)      a += (q) * (k)
#else
#define PROXY_ACC
#define PROXY_AT(acc, i)        acc[i]
#define PROXY_ZERO              0.0f
#define PROXY_SUM(acc, i)       acc[i]
#define PROXY_MAC(a, q, k)      a += dot(q, k)
#endif
#endif
