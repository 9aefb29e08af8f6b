// turn.h - RoPE at any position from two small tables, for the mean key: position t = 64 b + 31.5 + (k + 1/2) or - (k + 1/2).
// turn: [d/2][2][32] cos, sin of (k + 1/2) theta_p; [d/2][2] theta_p, 0; [blocks][d/2][2] cos, sin of (64 b + 31.5) theta_p.
// A long context has several of these, each of a range of positions: t and b count from the first of its range then.
#define TURN_THETA(d)           (32u * (d))             /* in float4 for d/4 */
#define TURN_BLOCK(d, b)        ((33u + (b)) * (d))

// The mean key's scores near the middle of a block: v = (A, B) of two pairs, cs = their cosines and sines there, th = TURN_THETA of
// them.  Adds what 1, u, u^2, u^3 are multiplied with, u being the distance from the middle.
#define TURNED(v, cs)           F4(v.x * cs.x + v.y * cs.y, v.y * cs.x - v.x * cs.y, v.z * cs.z + v.w * cs.w, v.w * cs.z - v.z * cs.w)
#define TURN_CUBIC(cubic, v, cs, th) {                                                          \
    float4 w_ = TURNED(v, cs);                                                                  \
    float x_ = w_.y * th.x, y_ = w_.w * th.z, xx_ = th.x * th.x, yy_ = th.z * th.z;             \
    cubic += F4(w_.x + w_.z, x_ + y_, (w_.x * xx_ + w_.z * yy_) * -0.5f, (x_ * xx_ + y_ * yy_) * (-1.0f / 6.0f)); \
  }

// c, s: cos and sin of t theta_pair, t within the range.
#define TURN(c, s, d, t, pair) {                                                                \
    uint at_ = TURN_BLOCK(d, (t) / 64u) + (pair) * 2u, j_ = (t) % 64u, k_ = j_ < 32u ? 31u - j_ : j_ - 32u; \
    float cb_ = LD(turn, at_), sb_ = LD(turn, at_ + 1u), ck_ = LD(turn, (pair) * 64u + k_), sk_ = LD(turn, (pair) * 64u + 32u + k_); \
    sk_ = j_ < 32u ? -sk_ : sk_;                                                                \
    c = cb_ * ck_ - sb_ * sk_;                                                                  \
    s = sb_ * ck_ + cb_ * sk_;                                                                  \
  }
