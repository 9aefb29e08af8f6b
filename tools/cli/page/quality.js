/* quality.js - the panel "What the choices are worth" (--quality): of exact attention, what tokens that were read get, head by head. */
const tenths = x => (100 * x).toFixed(1) + ' %';
const QUALITIES = [
  { name: 'mass', good: 'all of it', bad: 'missed' },
  { name: 'recall', good: 'the same tokens', bad: 'others' },
];

function qualityWords(name, h) {
  return h.mass === null ? name + '\nreads all tokens' : name + '\ntokens that were read get ' + tenths(h.mass) + ' of the attention\nthe best choice of as many would get ' +
    tenths(h.best_mass) + '\nof that choice ' + tenths(h.recall) + ' was made';
}

/* A map of all heads in the mean over tokens, and one over the tokens, of 1 - x: strong is bad. */
function qualityMaps(q, show) {
  const S = P.quality.samples, H = P.kv_heads, loss = v => v === null ? null : 1 - v;
  const head = (l, h) => P.heads[l * H + h], title = (l, h) => 'layer ' + l + ', KV head ' + h;
  const most = Math.max(1e-6, ...P.heads.map(h => loss(h[q.name])));
  const shade = v => v === null ? null : loss(v) / most;
  legend('l-' + q.name, q.good, tenths(most) + ' ' + q.bad + ' or more', P.heads.some(h => h.mass === null) ? 'reads all tokens' : '');
  heatMap('m-' + q.name, { rows: () => H, columns: () => P.layers, rowHeight: () => Math.max(8, Math.min(22, 160 / H)), left: 44, read: 'read-quality',
    enter: show, key: (h, l) => l * H + h, value: (h, l) => shade(head(l, h)[q.name]), words: (h, l) => qualityWords(title(l, h), head(l, h)),
    labels: (g, m) => {
      const every = Math.max(1, Math.ceil(13 / m.h)), step = Math.max(1, Math.ceil(24 / m.w));
      for (let h = 0; h < H; h += every) g.fillText(h ? String(h) : 'head 0', 0, (h + .5) * m.h);
      for (let l = 0; l < P.layers; l += step) g.fillText(String(l), m.left + (l + .5) * m.w - 4, m.y);
      g.fillText('layer', 0, m.y);
    } });
  heatMap('t-' + q.name, { rows: () => P.layers * H, columns: () => S.length, rowHeight: () => Math.max(3, Math.min(12, Math.floor(420 / P.layers / H))), left: 44,
    read: 'read-quality', enter: show, labels: (g, m) => headLabels(g, m, S), value: (r, c) => shade(S[c][q.name][r]),
    words: (r, c) => qualityWords(title(Math.floor(r / H), r % H) + ', token ' + S[c].token,
      { mass: S[c].mass[r], best_mass: S[c].best_mass[r], recall: S[c].recall[r] }) });
}

/* The heads that miss most, and what would help each. */
function worstHeads(heads) {
  const worst = heads.slice().sort((a, b) => a.mass - b.mass).slice(0, 12), most = Math.max(1e-6, 1 - worst[0].mass);
  for (const h of worst) {
    const choice = Math.max(0, h.best_mass - h.mass), budget = Math.max(0, 1 - h.mass - choice), bar = make('span', { class: 'track' });
    for (const [kind, part] of [['budget', budget], ['choice', choice]]) {
      const piece = make('i', { class: kind });
      piece.style.width = 100 * part / most + '%';
      bar.append(piece);
    }
    $('worst').append(make('li', { title: qualityWords('layer ' + h.layer + ', KV head ' + h.head, h) }, make('span', {}, 'layer ' + h.layer + ', KV head ' + h.head), bar,
      make('span', {}, tenths(budget + choice) + ' missed'), make('span', {}, budget >= choice ? 'more active tokens' : 'better proxies')));
  }
}

function quality(show) {
  if (!P.quality) return;
  $('quality').hidden = false;
  const heads = P.heads.filter(h => h.mass !== null), mean = key => heads.reduce((n, h) => n + h[key], 0) / heads.length;
  if (!heads.length) return absent(['quality-maps', 'keys-quality'], 'none-quality', 'Nothing to show: every head reads all tokens.');
  $('sum-quality').textContent = 'Over all heads that choose, tokens that were read get ' + tenths(mean('mass')) + ' of the attention; the best choice of as many would get ' +
    tenths(mean('best_mass')) + ', and ' + tenths(mean('recall')) + ' of that choice was made. Exact scores were computed after ' + P.quality.tokens +
    ' of the decoded tokens, on the host, in ' + ms(P.quality.token_ms) + ' each, which no other figure contains.';
  for (const q of QUALITIES) qualityMaps(q, show);
  worstHeads(heads);
}
