"""Golden values of the joint factors and their decode updates for tests/test_factor.c, test_paper.c and test_wiki.c.

    python make_factor_golden.py REFERENCE OUT

REFERENCE is a directory with lrqk_np.py (float64 LRQK of one layer, which agrees with the published code), gen_synth.py's
synth_*.npz and .json, and model_wiki1000.npz and .json; OUT is tests/data/factor_golden.bin.  Needs numpy.  The tests make Q, K
and the random starts themselves (prandn and the stored mixing matrices; a model); what is synthetic is computed here again in
float64, and compared with the stored float32 values of the .npz files, so that it is the published to more digits.
A record is a line "NAME TYPE DIM..." and the raw little-endian values; TYPE is f64 or i32."""
import json, sys
import numpy as np

ref, out = sys.argv[1:3]
sys.path.insert(0, ref)
from lrqk_np import T, Layer, lsq, prandn, prefill_iter, rsolve, topk_set

records = []
STEPS, D, COLUMNS = 8, 64, slice(0, None, 4)       # of a basis [r][d] every 4th column is kept


def put(name, x, dtype='f64'):
    records.append((name, dtype, np.ascontiguousarray(x, dict(f64='<f8', i32='<i4')[dtype])))


def near(a, b, limit, what):
    err = np.abs(np.asarray(a, np.float64) - b).max() / np.abs(b).max()
    assert err < limit, (what, err)


def tokens(n): return np.arange(0, n, n // 8)       # of a factor [l][r] 8 rows are kept


def make(seed, H, HK, n):
    w = (0.92 ** np.arange(D) * 3).astype(np.float32)
    R = np.linalg.qr(prandn(seed + 9, (HK, D, D)).astype(np.float64))[0]
    K = (prandn(seed + 1, (HK, n, D)) * w) @ R + 2 * R[:, :1]
    Q = (prandn(seed, (H, n, D)) * w) @ np.repeat(R, H // HK, 0) + 1.5 * np.repeat(R[:, :1] + R[:, 1:2], H // HK, 0)
    return R, Q.astype(np.float32), K.astype(np.float32)


def ridged(C): return C + np.eye(C.shape[-1]) * 1e-6 * np.trace(C, axis1=-2, axis2=-1)[..., None, None] / C.shape[-1]


def iterate(Q, K, AQ, AK, lq=1.0, lk=1.0, ridge=lambda C: C):
    """One Gauss-Seidel iteration with any lambdas; with ridge, what is done for fewer than 2r tokens."""
    BQ, BK = np.linalg.solve(ridge(T(AQ) @ AQ), T(AQ) @ Q), np.linalg.solve(ridge(T(AK) @ AK), T(AK) @ K)
    nQ = Q @ rsolve(T(K) @ AK + lq * T(BQ), ridge(T(AK) @ AK + lq * BQ @ T(BQ)))
    nK = K @ rsolve(T(Q) @ nQ + lk * T(BK), ridge(T(nQ) @ nQ + lk * BK @ T(BK)))
    return nQ, nK, max(((nQ - AQ) ** 2).mean(), ((nK - AK) ** 2).mean())


def residual(Q, K, AQ, AK):
    M = Q @ T(K)
    return np.linalg.norm(M - AQ @ T(AK)) / np.linalg.norm(M)


def factors(name, Q, K, AQ, AK, iters, step=iterate):
    delta = []
    for it in range(1, iters + 1):
        AQ, AK, change = step(Q, K, AQ, AK)
        delta.append(change)
        if it in (1, 2):
            put(f'{name}.aq{it}', AQ[:, tokens(AQ.shape[1])])
            put(f'{name}.ak{it}', AK[:, tokens(AK.shape[1])])
            if it == 2: put(f'{name}.bq', lsq(AQ, Q)[..., COLUMNS]), put(f'{name}.bk', lsq(AK, K)[..., COLUMNS])
    put(f'{name}.delta', delta)
    return AQ, AK


def decode(name, z, meta, Q, K, A0, A1):
    n, k, L = meta['n'], meta['k'], meta['L']
    V = np.zeros_like(K)
    for gap in 1, 0:
        layer = Layer(Q[:, :n], K[:, :n], V[:, :n], A0, A1, k, L, 2, 0, 2, 0, gap)
        first, x = layer.hits, [layer.step(Q[:, n + t], K[:, n + t], V[:, n + t]) for t in range(STEPS)]
        for t in range(STEPS): assert (x[t]['hits'] == z[f'hits_gap{gap}_t{t}']).all(), (name, gap, t)
        put(f'{name}.hits{gap}', [first] + [y['hits'] for y in x], 'i32')
        put(f'{name}.margin{gap}', [y['margin'] for y in x])
        if gap == 0: continue
        for t in range(STEPS):
            for key, limit in ('hq', 1e-4), ('hk', 1e-4), ('BQ', 1e-3), ('BK', 1e-3), ('prox', 1e-4):
                near(z[f'{key}_t{t}'], x[t][key], limit, (name, key, t))
        put(f'{name}.hq', [y['hq'] for y in x])
        put(f'{name}.hk', [y['hk'] for y in x])
        put(f'{name}.bq_end', x[-1]['BQ'][..., COLUMNS])
        put(f'{name}.bk_end', x[-1]['BK'][..., COLUMNS])
        put(f'{name}.scores', x[-1]['prox'][:, ::8])


def published(name, file):
    z, meta = np.load(f'{ref}/{file}.npz'), json.load(open(f'{ref}/{file}.json'))
    seed, H, HK, n, r = (meta[x] for x in ('seed', 'H', 'HK', 'n', 'r'))
    R, Q, K = make(seed, H, HK, n + STEPS)
    assert (Q == z['Q']).all() and (K == z['K']).all()
    A0, A1 = prandn(seed + 3, (H, n, r)), prandn(seed + 4, (H, n, r))
    assert (A0 == z['AQ0']).all() and (A1 == z['AK0']).all()
    Qp, Kp = Q[:, :n].astype(np.float64), np.repeat(K[:, :n], H // HK, 0).astype(np.float64)
    AQ, AK = factors(name, Qp, Kp, A0.astype(np.float64), A1.astype(np.float64), 2, prefill_iter)
    near(z['AQ2'] @ T(z['AK2']), AQ @ T(AK), 1e-4, name)
    near(z['BQ_it2'], lsq(AQ, Qp), 1e-3, name), near(z['BK_it2'], lsq(AK, Kp), 1e-3, name)
    put(f'{name}.best', meta['best_rank_r_rel_QK_svd'])
    decode(name, z, meta, Q, K, A0, A1)
    return R, Q, K, A0, A1


def topcol(name, Q, K, r):
    """Starts at the r columns with the largest sum of |Q| and |K|."""
    n = K.shape[1] - STEPS
    Qp, Kp = Q[:, :n].astype(np.float64), K[:, :n].astype(np.float64)
    c = np.sort(np.argsort(-(np.abs(Qp).sum((0, 1)) + np.abs(Kp).sum((0, 1))), kind='stable')[:r])
    put(f'{name}.coord', c, 'i32')
    AQ, AK = factors(name, Qp, Kp, Qp[..., c], Kp[..., c], 16)
    put(f'{name}.residual', [residual(Qp[h], Kp[h], AQ[h], AK[h]) for h in range(len(Qp))])


def group(name, Q, K, A0, A1, k, L, lam):
    """One A_K for the query heads of a group; at decode a B_Q for each, and one list by the sum of their softmax."""
    G, n, r, gap = len(Q), K.shape[1] - STEPS, A0.shape[2], 1
    flat = lambda x: x.reshape(1, -1, x.shape[-1]).astype(np.float64)
    Qp, Kp = flat(Q[:, :n]), K[:, :n].astype(np.float64)
    AQ, AK = factors(name, Qp, Kp, flat(A0), A1[:1].astype(np.float64), 2)
    BQ, BK, AK, Kd = np.repeat(lsq(AQ, Qp), G, 0), lsq(AK, Kp)[0], AK[0], K[0].astype(np.float64)

    def choose(hq, cand):
        p = hq @ AK[:cand].T
        e = np.exp((p - p.max(1, keepdims=True)) / np.sqrt(D))
        return topk_set((e / e.sum(1, keepdims=True)).sum(0), k), p
    hits, _ = choose(AQ.reshape(G, n, r)[:, -1], n - L)
    lists, hqs, hks = [hits], [], []
    for c in range(n, n + STEPS):
        q, key = Q[:, c].astype(np.float64), Kd[c]
        om = np.concatenate([hits, np.arange(c - L + 1, c)])
        A, Ko = AK[om], Kd[om]
        kB, BB, qk = key @ BK.T, BK @ BK.T, q @ key
        hk = np.linalg.solve(BB, kB)
        for _ in range(2):
            hq = np.stack([np.linalg.solve(BQ[j] @ BQ[j].T + lam * A.T @ A + lam * np.outer(hk, hk),
                                           q[j] @ BQ[j].T + lam * (q[j] @ Ko.T) @ A + lam * qk[j] * hk) for j in range(G)])
            hk = np.linalg.solve(BB + lam * hq.T @ hq, kB + lam * qk @ hq)
        for B, a, x in [(BQ[j], hq[j], q[j]) for j in range(G)] + [(BK, hk, key)]:
            delta = np.outer(a, a @ B - x)
            B -= (delta ** 2).sum() / (((a @ delta) ** 2).sum() + 1e-6) * delta
        AK = np.concatenate([AK, hk[None]])
        hits, p = choose(hq, c - L + 1 - gap)
        lists.append(hits), hqs.append(hq), hks.append(hk)
    put(f'{name}.hits1', lists, 'i32'), put(f'{name}.hq', hqs), put(f'{name}.hk', hks)
    put(f'{name}.bq_end', BQ[..., COLUMNS]), put(f'{name}.bk_end', BK[..., COLUMNS]), put(f'{name}.scores', p[:, ::8])


def model(file, layers):
    """A text of a real model: its ids, and the sets of LRQK in two layers after the prompt and after one more token.  Queries
    and keys are too large to be kept: the test lets the model compute them."""
    z, meta = np.load(f'{ref}/{file}.npz'), json.load(open(f'{ref}/{file}.json'))
    put('wiki.ids', z['ids'][:meta['n'] + 1], 'i32')
    for layer in layers:
        m = meta['lrqk'][f'layer{layer}']
        put(f'wiki{layer}.meta', [meta['n'], m['r'], m['k'], m['L'], m['iters'], m['seed_AQ'], m['seed_AK']], 'i32')
        put(f'wiki{layer}.first', z[f'hits_prefill_l{layer}'], 'i32')
        for gap in 0, 1: put(f'wiki{layer}.hits{gap}', z[f'hits_step1_l{layer}_gap{gap}'], 'i32')


for r in 8, 32: published(f'mha{r}', f'synth_mha_l256_r{r}')
R, Q, K, A0, A1 = published('mha16', 'synth_mha_l256_r16')
put('mha.mix', R[0])
topcol('topcol8', Q, K, 8), topcol('topcol16', Q, K, 16), topcol('topcol32', Q, K, 32)
q, k, a0, a1 = (x[:, :256].astype(np.float64) for x in (Q, K, A0, A1))
factors('lambda', q, k, a0, a1, 2, lambda *x: iterate(*x, lq=0.5, lk=2.0))
s = slice(0, 24)
factors('short', q[:, s], k[:, s], a0[:, s], a1[:, s], 2, lambda *x: iterate(*x, ridge=ridged))
R, Q, K, A0, A1 = published('gqa', 'synth_gqa3_l512_r16')
put('gqa.mix', R[0])
group('group', Q, K, A0, A1, 64, 16, 0.5)
model('model_wiki1000', (5, 20))

with open(out, 'wb') as f:
    for name, dtype, x in records:
        f.write(' '.join([name, dtype, *map(str, x.shape)]).encode() + b'\n' + x.tobytes())
    print(out, f.tell(), 'bytes,', len(records), 'records')
