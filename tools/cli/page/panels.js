/* panels.js - the panels "In short", "Where the time goes" and "Roofline". */
const phaseOf = name => P.phases.find(r => r.phase === name);

function tiles() {
  const tile = (value, what) => $('tiles').append(make('div', { class: 'tile' }, make('b', {}, value), make('span', {}, what)));
  const decode = phaseOf('decode'), prefill = phaseOf('prefill');
  const model = P.model.split('/').pop();
  $('subject').textContent = model + ' on ' + P.device + ' (' + P.backend + '), policy ' + P.policy + ', ' +
    (P.mode === 'gpu' ? 'kernels as they run' : 'mode ' + P.mode + ': a barrier after every kernel, another program than the one that runs otherwise');
  document.title = 'lrqk profile: ' + model;
  if (prefill) tile(digits(P.prefill / D.prefill_ms * 1000) + ' tokens/s', 'prefill: ' + P.prefill + ' tokens in ' + ms(D.prefill_ms));
  const plain = P.overhead.plain_token_ms || P.overhead.stamped_token_ms;
  if (plain) tile(digits(1000 / plain) + ' tokens/s', 'decode: ' + ms(plain) + ' a token (median)');
  if (decode) tile(ms(decode.unit_p50_ms), 'of a timed token on the device: ' + ms(decode.unit_p10_ms) + ' to ' + ms(decode.unit_p90_ms));
  const sum = key => P.heads.reduce((n, h) => n + h[key], 0);
  if (sum('chosen')) tile(percent(1 - sum('misses') / sum('chosen')), 'hit rate: chosen rows that were on the device already');
  if (P.decode) tile(bytes(Math.round(sum('bus_bytes') / P.decode)), 'of the KV cache over the bus per decoded token');
  if (D.counters.length) tile(bytes(D.counters[D.counters.length - 1][0]), 'for the KV cache on the device');
  const c = P.ceilings;
  $('foot').textContent = 'What this device can do at most, measured just before: ' + digits(c.device_gb_per_s) + ' GB/s in memory, ' + digits(c.bus_gb_per_s) +
    ' GB/s over the bus, ' + digits(c.gflop_per_s) + ' GFLOP/s; an empty kernel takes ' + digits(c.empty_us) + ' µs' + (P.overhead.dispatches ?
    ', and a token is ' + Math.round(P.overhead.dispatches) + ' of them' : '') + '. ' + (P.overhead.plain_token_ms &&
    P.overhead.stamped_token_ms ? 'A token with timestamps takes ' + ms(P.overhead.stamped_token_ms) + ', one without ' + ms(P.overhead.plain_token_ms) + '; ' +
    P.stamped + ' of ' + P.decode + ' were timed. ' : '') + 'Clocks of device and host agree within ' + digits(P.overhead.clock_error_us) + ' µs. Made by lrqk profile --html.';
}

/* ---- where the time goes */
const COLUMNS = [
  ['kernel', 'the program that ran', r => r.name],
  ['time', 'of a decoded token, or of the whole prefill', (r, n) => ms(r.total_ms / n)],
  ['calls', 'how often it ran in that time', (r, n) => digits(r.calls / n)],
  ['median', 'of one call', r => us(r.p50_us)],
  ['95 %', 'of the calls took no longer', r => us(r.p95_us)],
  ['GB/s', 'bytes that it must move, by its time', r => digits(r.gb_per_s)],
  ['GFLOP/s', 'arithmetic, by its time', r => digits(r.gflop_per_s)],
  ['of the roof', 'the time that its bound allows, of the time that it took: 100 % cannot be improved', r => percent(r.ceiling)],
  ['bound', 'what would still take time if all else were free', r => r.bound],
];

/* A column for every hardware counter that was read for one of the rows. */
const counterColumns = rows => (P.counters || []).filter(c => rows.some(r => r.counters && r.counters[c.name])).map(c =>
  [c.name, c.description + ' (mean of a call)', r => r.counters && r.counters[c.name] ? digits(r.counters[c.name].mean) + ' ' + c.unit : '']);

function stageTable(rows, n) {
  const columns = COLUMNS.concat(counterColumns(rows));
  const head = make('tr', {}, ...columns.map(c => make('th', { scope: 'col', title: c[1] }, c[0])));
  const body = rows.map(r => make('tr', {}, ...columns.map(c => make('td', c[0] === 'bound' ? { title: BOUNDS[r.bound] } : {}, c[2](r, n)))));
  return make('div', { class: 'wide' }, make('table', {}, make('thead', {}, head), make('tbody', {}, ...body)));
}

function bars(phase) {
  const all = phaseOf(phase), n = phase === 'decode' ? P.stamped : 1;
  if (!all) return void ($('t-' + phase).textContent = phase + ': nothing was timed');
  $('t-' + phase).textContent = phase === 'decode' ? 'Decode: ' + ms(all.total_ms / n) + ' on the device per token' :
    'Prefill: ' + ms(all.total_ms) + ' on the device for ' + P.prefill + ' tokens';
  const stages = P.stages.filter(r => r.phase === phase), most = stages[0].total_ms;
  for (const s of stages) {
    const fill = make('i', {});
    fill.style.width = 100 * s.total_ms / most + '%';
    fill.style.background = colour(s.stage);
    const summary = make('summary', { title: meaning(s.stage) }, make('span', {}, s.stage), make('span', { class: 'track' }, fill),
      make('span', {}, ms(s.total_ms / n)), make('span', {}, percent(s.share)));
    $('b-' + phase).append(make('details', {}, summary, make('p', { class: 'what' }, meaning(s.stage) + '.'),
      stageTable(P.kernels.filter(r => r.phase === phase && r.stage === s.stage), n)));
  }
}

/* ---- roofline: a dot for each kernel of a stage and phase that computes */
const NS = 'http://www.w3.org/2000/svg';
function svg(tag, attributes, text) {
  const e = document.createElementNS(NS, tag);
  for (const k in attributes) e.setAttribute(k, attributes[k]);
  if (text) e.textContent = text;
  return e;
}

function axes(root, scale) {
  const { X, Y, W, H, x0, x1, y0, y1 } = scale;
  for (let k = Math.ceil(x0); k <= x1; k++) {
    root.append(svg('line', { class: 'axis', x1: X(10 ** k), x2: X(10 ** k), y1: 10, y2: H - 34 }));
    root.append(svg('text', { x: X(10 ** k), y: H - 18, 'text-anchor': 'middle' }, String(+(10 ** k).toPrecision(1))));
  }
  for (let k = Math.ceil(y0); k <= y1; k++) {
    root.append(svg('line', { class: 'axis', x1: 56, x2: W - 10, y1: Y(10 ** k), y2: Y(10 ** k) }));
    root.append(svg('text', { x: 50, y: Y(10 ** k) + 4, 'text-anchor': 'end' }, String(+(10 ** k).toPrecision(1))));
  }
  root.append(svg('text', { x: W - 10, y: H - 3, 'text-anchor': 'end' }, 'flops per byte'));
  root.append(svg('text', { x: 4, y: 9 }, 'GFLOP/s'));
}

function roofs(root, scale) {
  const { X, Y, x0, x1, y0 } = scale, c = P.ceilings;
  for (const [speed, name, cls] of [[c.device_gb_per_s, 'memory ', 'roof'], [c.bus_gb_per_s, 'bus ', 'roof bus']]) {
    const knee = c.gflop_per_s / speed, from = Math.max(10 ** x0, 10 ** y0 / speed);
    root.append(svg('path', { class: cls, d: 'M' + X(from) + ' ' + Y(from * speed) + ' L' + X(knee) + ' ' + Y(c.gflop_per_s) }));
    const at = Math.sqrt(from * knee);
    root.append(svg('text', { x: X(at) + (cls === 'roof' ? -8 : 8), y: Y(at * speed) + (cls === 'roof' ? -4 : 14), 'text-anchor': cls === 'roof' ? 'end' : 'start' },
      name + digits(speed) + ' GB/s'));
  }
  const knee = c.gflop_per_s / Math.max(c.device_gb_per_s, c.bus_gb_per_s);
  root.append(svg('path', { class: 'roof', d: 'M' + X(knee) + ' ' + Y(c.gflop_per_s) + ' L' + X(10 ** x1) + ' ' + Y(c.gflop_per_s) }));
  root.append(svg('text', { x: X(knee) + 6, y: Y(c.gflop_per_s) - 6 }, 'compute ' + digits(c.gflop_per_s) + ' GFLOP/s'));
}

function roofline() {
  const place = $('roof'), W = Math.max(480, place.clientWidth), H = 420, moved = r => r.device_bytes + r.bus_bytes;
  const dots = P.kernels.filter(r => r.flops > 0 && moved(r) > 0 && r.gflop_per_s > 0).sort((a, b) => b.total_ms - a.total_ms);
  const log = f => dots.map(r => Math.log10(f(r))), c = P.ceilings;
  const x0 = Math.min(-1, ...log(r => r.flops / moved(r))) - .2, x1 = Math.max(Math.log10(c.gflop_per_s / c.bus_gb_per_s) + .5, ...log(r => r.flops / moved(r))) + .2;
  const y0 = Math.min(Math.log10(c.gflop_per_s) - 2, ...log(r => r.gflop_per_s)) - .2, y1 = Math.max(Math.log10(c.gflop_per_s), ...log(r => r.gflop_per_s)) + .25;
  const X = v => 56 + (Math.log10(v) - x0) / (x1 - x0) * (W - 70), Y = v => H - 34 - (Math.log10(v) - y0) / (y1 - y0) * (H - 46);
  const scale = { X, Y, W, H, x0, x1, y0, y1 }, root = svg('svg', { viewBox: '0 0 ' + W + ' ' + H, 'aria-hidden': 'true' });
  axes(root, scale);
  roofs(root, scale);
  const words = r => r.name + ' in ' + r.stage + ' (' + r.phase + '): ' + percent(r.share) + ' of the time\n' + digits(r.gflop_per_s) + ' GFLOP/s, ' + digits(r.gb_per_s) +
    ' GB/s, ' + digits(r.flops / moved(r)) + ' flops per byte\n' + percent(r.ceiling) + ' of what its bound allows (' + BOUNDS[r.bound] + ')';
  const circles = dots.map(r => {
    const dot = svg('circle', { class: r.phase, cx: X(r.flops / moved(r)), cy: Y(r.gflop_per_s), r: 4 + 26 * Math.sqrt(r.share) });
    dot.style.fill = dot.style.color = colour(r.stage);
    dot.addEventListener('pointermove', e => tip(e, words(r)));
    dot.addEventListener('pointerleave', e => tip(e, ''));
    dot.addEventListener('click', () => choose(dots.indexOf(r)));
    root.append(dot);
    return dot;
  });
  let at = -1;
  function choose(i) {
    if (at >= 0) circles[at].classList.remove('on');
    at = Math.max(0, Math.min(dots.length - 1, i));
    circles[at].classList.add('on');
    $('read-roof').textContent = words(dots[at]).replace(/\n/g, ', ');
  }
  place.addEventListener('keydown', e => {
    if (!dots.length || (e.key !== 'ArrowRight' && e.key !== 'ArrowLeft')) return;
    e.preventDefault();
    choose(at + (e.key === 'ArrowRight' ? 1 : -1));
  });
  place.append(root);
  const rest = P.kernels.filter(r => !(r.flops > 0) && r.share > .001);
  $('plain').textContent = 'Full dots are decode, pale ones prefill. ' + (dots.some(r => r.ceiling > 1.1) ?
    'A dot beyond a roof: the kernel was faster than the short run that measured the roof, which other work on the machine can slow. ' : '') + (rest.length ? 'Kernels that do not compute, with their speed: ' +
    rest.map(r => r.name + ' in ' + r.stage + ' (' + r.phase + ') ' + digits(r.gb_per_s) + ' GB/s').join(', ') + '.' : '');
}
