/* heads.js - maps on canvases, and the panels "The cache, head by head" and "Which tokens are read". */

/* A grid of values on a canvas: rows x columns, value(row, column) from 0 to 1 or null; words(row, column) says what it is;
 * enter(key(row, column)), of one head, when it is chosen. */
function heatMap(id, options) {
  const canvas = $(id), left = options.left || 0, bottom = 18, key = options.key || (r => r);
  let at = null;
  const place = () => ({ w: (canvas.clientWidth - left) / options.columns(), h: options.rowHeight() });
  function draw() {
    const rows = options.rows(), columns = options.columns(), { h } = place();
    const { g, width } = surface(canvas, rows * h + bottom), w = (width - left) / columns, shade = shades(), gap = w > 6 && h > 6 ? 1 : 0;
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) {
        const v = options.value(r, c);
        g.fillStyle = v === null ? theme('--none') : shade(v);
        g.fillRect(left + c * w, r * h, w - gap + (gap ? 0 : .4), h - gap + (gap ? 0 : .4));
      }
    g.fillStyle = theme('--soft');
    options.labels(g, { left, w, h, rows, columns, width, y: rows * h + bottom / 2 + 1 });
    if (at) {
      g.strokeStyle = theme('--focus');
      g.lineWidth = 2;
      g.strokeRect(left + at[1] * w, at[0] * h, Math.max(3, w - gap), Math.max(3, h - gap));
    }
  }
  function cell(e) {
    const r = canvas.getBoundingClientRect(), { w, h } = place();
    const c = Math.floor((e.clientX - r.left - left) / w), row = Math.floor((e.clientY - r.top) / h);
    return c >= 0 && c < options.columns() && row >= 0 && row < options.rows() ? [row, c] : null;
  }
  function select(next) {
    at = next;
    $(options.read).textContent = options.words(at[0], at[1]).replace(/\n/g, ', ');
    draw();
  }
  canvas.addEventListener('pointermove', e => { const p = cell(e); tip(e, p ? options.words(p[0], p[1]) : ''); });
  canvas.addEventListener('pointerleave', e => tip(e, ''));
  canvas.addEventListener('click', e => { const p = cell(e); if (p) { select(p); if (options.enter) options.enter(key(...p)); } });
  canvas.addEventListener('keydown', e => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[e.key];
    if (e.key === 'Enter' && at && options.enter) options.enter(key(...at));
    if (!step) return;
    e.preventDefault();
    const clamp = (v, n) => Math.max(0, Math.min(n - 1, v));
    select(at ? [clamp(at[0] + step[0], options.rows()), clamp(at[1] + step[1], options.columns())] : [0, 0]);
  });
  redraws.push(draw);
  draw();
  return draw;
}

function legend(id, low, high, none) {
  $(id).replaceChildren(make('span', {}, low), make('i', {}), make('span', {}, high), ...(none ? [make('i', { class: 'none' }), make('span', {}, none)] : []));
}

/* Labels of a map with a row for every head: layers on the left, positions below. */
function headLabels(g, m, samples) {
  const every = Math.max(1, Math.ceil(13 / (m.h * P.kv_heads)));
  for (let l = 0; l < P.layers; l += every) g.fillText(l ? String(l) : 'layer 0', 0, Math.max(7, (l * P.kv_heads + .5) * m.h + 1));
  positions(g, m, samples);
}

/* Positions of the sampled tokens below the columns, as many as fit. */
function positions(g, m, samples) {
  const every = Math.max(1, Math.ceil(46 / m.w));
  for (let c = 0; c < samples.length; c += every) {
    const text = String(samples[c].token), x = m.left + (c + .5) * m.w - g.measureText(text).width / 2;
    if (x + 40 < m.width + 12) g.fillText(text, x, m.y);
  }
}

const KB = n => bytes(Math.round(n));
const METRICS = [
  { key: 'bus_bytes', name: 'bytes', words: v => KB(v) + ' over the bus' },
  { key: 'misses', name: 'rows missed', words: v => v + ' rows fetched' },
];

/* The two maps of all heads; false where no head chooses. */
function headMaps(show) {
  const S = P.samples, H = P.kv_heads, rows = () => P.layers * H, columns = () => S.length;
  const rowHeight = () => Math.max(3, Math.min(12, Math.floor(620 / rows())));
  const name = r => 'layer ' + Math.floor(r / H) + ', KV head ' + r % H;
  if (!S.some(s => s.bus_bytes.some(v => v))) return false;
  const hit = (r, c) => S[c].chosen[r] ? 1 - S[c].misses[r] / S[c].chosen[r] : null;
  legend('l-hit', 'all fetched', 'all there', 'all of the head is on the device');
  heatMap('m-hit', { rows, columns, rowHeight, left: 44, read: 'read-heads', enter: show, labels: (g, m) => headLabels(g, m, S), value: hit,
    words: (r, c) => name(r) + ', token ' + S[c].token + '\n' + (hit(r, c) === null ? 'reads from the device alone' :
      'hit rate ' + percent(hit(r, c)) + ': ' + S[c].chosen[r] + ' chosen, ' + S[c].misses[r] + ' fetched') });
  METRICS.forEach((m, i) => $('metric').append(make('option', { value: i }, m.name)));
  let metric = METRICS[0], most = 1;
  const scale = () => {
    metric = METRICS[$('metric').value];
    /* the first token fetches all that it chose, which would leave no shades for the others */
    most = Math.max(1, ...S.slice(S.length > 1 ? 1 : 0).flatMap(s => s[metric.key]));
    legend('l-bus', '0', (metric.key === 'bus_bytes' ? KB(most) : String(most)) + ' or more', 'all of the head is on the device');
  };
  scale();
  const draw = heatMap('m-bus', { rows, columns, rowHeight, left: 44, read: 'read-heads', enter: show, labels: (g, m) => headLabels(g, m, S),
    value: (r, c) => S[c].chosen[r] || S[c][metric.key][r] ? S[c][metric.key][r] / most : null,
    words: (r, c) => name(r) + ', token ' + S[c].token + '\n' + metric.words(S[c][metric.key][r]) });
  $('metric').onchange = () => { scale(); draw(); };
  return true;
}

/* Pieces of the text that a head reads; returns a function that shows row r of the head maps, null where there are no choices. */
function activeMap() {
  const S = P.samples, H = P.kv_heads, size = P.bucket_tokens;
  const chooses = [...Array(P.layers * H).keys()].filter(r => S.some(s => s.active[r].some(v => v)));
  if (!chooses.length) return null;
  const pieces = () => S[0].active[0].length, row = () => +$('layer').value * H + +$('head').value;
  for (let l = 0; l < P.layers; l++)
    if (chooses.some(r => Math.floor(r / H) === l)) $('layer').append(make('option', { value: l }, String(l)));
  for (let h = 0; h < H; h++) $('head').append(make('option', { value: h }, String(h)));
  const there = (s, b) => b * size <= s.token;
  const words = (c, b) => {
    const n = S[c].active[row()][b], first = b * size;
    return 'token ' + S[c].token + ' reads ' + n + ' of the tokens ' + first + ' to ' + (first + size - 1);
  };
  let most = 1;
  const scale = () => {
    most = Math.max(1, ...S.map(s => Math.max(...s.active[row()])));
    legend('l-active', 'none', most + ' of ' + size + ' tokens of a piece', 'not written yet');
  };
  scale();
  const draw = heatMap('m-active', { rows: () => S.length, columns: pieces, left: 44, read: 'read-active',
    rowHeight: () => Math.max(6, Math.min(22, Math.floor(400 / S.length))), words,
    value: (c, b) => there(S[c], b) ? S[c].active[row()][b] / most : null,
    labels: (g, m) => {
      const every = Math.max(1, Math.ceil(13 / m.h));
      for (let c = 0; c < S.length; c += every) g.fillText(String(S[c].token), 0, (c + .5) * m.h);
      for (let b = 0; b < pieces(); b += 8) g.fillText(String(b * size), m.left + b * m.w, m.y);
    } });
  const again = () => { scale(); draw(); $('read-active').textContent = ''; };
  $('layer').onchange = $('head').onchange = again;
  return r => {
    if (!chooses.includes(r)) return;
    $('layer').value = Math.floor(r / H);
    $('head').value = r % H;
    again();
    $('h-active').scrollIntoView({ block: 'nearest' });
  };
}
