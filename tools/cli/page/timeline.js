/* timeline.js - the panel "One call": rows of slices (host, layers, stages, kernels) on a canvas, with zoom and keys. */
const ROW = 24, LABEL = 64, AXIS = 20;

/* Rows of one call: { name, slices: [{ a, b, text, stage, say }] }, each in the order of time. */
function rowsOf(call) {
  const host = { name: 'call', slices: [] }, waits = { name: 'host', slices: [] };
  for (const [name, a, d] of call.host)
    (name === 'call' ? host : waits).slices.push({ a, b: a + d, text: name, stage: 'host', say: hostWords[name] || name });
  const layers = { name: 'layer', slices: [] }, stages = { name: 'stage', slices: [] }, kernels = [];
  let last = null;
  for (const s of call.slices) {
    const [name, stage, layer, a, d, groups, size, device, bus, flops, lane, counted] = s, b = a + d;
    const where = layer < 0 ? '' : ', layer ' + layer;
    const extend = (row, same, text, st, say) => {
      const old = row.slices[row.slices.length - 1];
      if (last && same && old) old.b = b;
      else row.slices.push({ a, b, text, stage: st, say });
    };
    const sameLayer = last && last[2] === layer;
    while (kernels.length <= lane) kernels.push({ name: kernels.length ? 'beside' : 'kernel', slices: [] });
    if (!lane && layer >= 0) extend(layers, sameLayer, 'layer ' + layer, null, 'all work of layer ' + layer);
    if (!lane) extend(stages, sameLayer && last[1] === stage, stage, stage, meaning(stage) + where);
    const many = typeof name === 'number';
    kernels[lane].slices.push({ a, b, stage, text: many ? name + ' kernels' : name, say: stage + where + (many ? '' :
      '\n' + groups + ' workgroups of ' + size) + '\nmoves ' + bytes(device) + (bus ? ' and ' + bytes(bus) + ' over the bus' : '') +
      (flops ? ', ' + digits(flops / 1e6) + ' MFLOP' : '') + (d ? '\n' + digits((device + bus) / d / 1e3) + ' GB/s' +
      (flops ? ', ' + digits(flops / d / 1e3) + ' GFLOP/s' : '') : '') + counterWords(counted || []) });
    if (!lane) last = s;
  }
  return [host, waits, layers, stages, ...kernels].filter(r => r.slices.length);
}
/* Hardware counters of a slice, as [place in the list, value, ...]. */
function counterWords(list) {
  let text = '';
  for (let i = 0; i < list.length; i += 2) text += '\n' + P.counters[list[i]].name + ': ' + digits(list[i + 1]) + ' ' + P.counters[list[i]].unit;
  return text;
}
const hostWords = { call: 'the call of the program, from start to end', submit: 'commands are sent to the driver', wait: 'the program waits for the device' };

/* The first slice of a row that ends after t. */
function firstAfter(slices, t) {
  let lo = 0, hi = slices.length;
  while (lo < hi) { const m = (lo + hi) >> 1; if (slices[m].b <= t) lo = m + 1; else hi = m; }
  return lo;
}

function timeline() {
  const canvas = $('timeline');
  let rows = [], kernelRow = 0, from = 0, to = 1, end = 1, at = null;   /* at: [row, index] that is selected */
  const x = (t, width) => LABEL + (t - from) / (to - from) * (width - LABEL);
  const words = s => s.text + ': ' + us(s.b - s.a) + ', from ' + us(s.a) + '\n' + s.say;

  function drawRow(g, row, y, width) {
    const perPixel = (to - from) / (width - LABEL);
    let painted = -1;
    for (let i = firstAfter(row.slices, from); i < row.slices.length && row.slices[i].a < to; i++) {
      const s = row.slices[i], left = Math.max(LABEL, x(s.a, width)), right = Math.min(width, x(s.b, width));
      if (right < painted + .5) continue;   /* that pixel has its slice */
      painted = Math.max(right, left + .5);
      g.fillStyle = s.stage ? colour(s.stage) : theme('--bar');
      g.fillRect(left, y, Math.max(.6, right - left - ((s.b - s.a) / perPixel > 3 ? .7 : 0)), ROW - 3);
      if (right - left > 34) {
        g.save();
        g.beginPath();
        g.rect(left, y, right - left - 3, ROW);
        g.clip();
        g.fillStyle = s.stage ? '#fff' : theme('--ink');
        g.fillText(s.text, left + 4, y + ROW / 2 - 1);
        g.restore();
      }
    }
  }

  function drawAxis(g, y, width) {
    const step = [1, 2, 5].map(k => k * Math.pow(10, Math.floor(Math.log10((to - from) / 6)))).find(k => (to - from) / k <= 12) || to - from;
    g.fillStyle = theme('--soft');
    g.strokeStyle = theme('--line');
    for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
      const px = x(t, width);
      g.beginPath();
      g.moveTo(px, 0);
      g.lineTo(px, y);
      g.stroke();
      if (px < width - 50) g.fillText(us(t), px + 3, y + AXIS / 2);
    }
  }

  function draw() {
    const { g, width } = surface(canvas, rows.length * ROW + AXIS);
    drawAxis(g, rows.length * ROW, width);
    rows.forEach((row, i) => {
      g.fillStyle = theme('--soft');
      g.fillText(row.name, 0, i * ROW + ROW / 2);
      drawRow(g, row, i * ROW, width);
    });
    if (at) {
      const s = rows[at[0]].slices[at[1]], left = Math.max(LABEL, x(s.a, width)), right = Math.min(width, x(s.b, width));
      g.strokeStyle = theme('--ink');
      g.lineWidth = 2;
      if (right >= LABEL && left <= width) g.strokeRect(left, at[0] * ROW, Math.max(2, right - left), ROW - 3);
    }
    $('range').textContent = us(from) + ' to ' + us(to) + ' of ' + us(end);
  }
  redraws.push(draw);

  function view(a, b) {
    const least = end / 20000, size = Math.max(least, Math.min(end, b - a));
    from = Math.max(0, Math.min(end - size, a));
    to = from + size;
    draw();
  }
  const zoom = (factor, middle) => view(middle - (middle - from) * factor, middle + (to - middle) * factor);
  function select(next, follow) {
    at = next;
    const s = rows[at[0]].slices[at[1]];
    $('read-line').textContent = words(s).replace(/\n/g, ', ');
    if (follow && (s.b < from || s.a > to)) view((s.a + s.b - (to - from)) / 2, (s.a + s.b + (to - from)) / 2);
    else draw();
  }
  const closer = () => { if (at) { const s = rows[at[0]].slices[at[1]], m = (s.b - s.a) * .1; view(s.a - m, s.b + m); } };

  function hit(event) {
    const r = canvas.getBoundingClientRect(), row = Math.floor((event.clientY - r.top) / ROW);
    const t = from + (event.clientX - r.left - LABEL) / (r.width - LABEL) * (to - from), slack = (to - from) / r.width;
    if (!rows[row] || event.clientX - r.left < LABEL) return null;
    const i = firstAfter(rows[row].slices, t - slack), s = rows[row].slices[i];
    return s && s.a <= t + slack ? [row, i] : null;
  }
  let drag = null;
  canvas.addEventListener('pointerdown', e => { drag = { x: e.clientX, from, to, moved: false }; });
  addEventListener('pointerup', () => { drag = null; });
  canvas.addEventListener('pointermove', e => {
    if (drag && Math.abs(e.clientX - drag.x) > 3) {
      const d = (drag.x - e.clientX) / (canvas.clientWidth - LABEL) * (drag.to - drag.from);
      drag.moved = true;
      tip(e, '');
      return view(drag.from + d, drag.to + d);
    }
    const h = hit(e);
    tip(e, h ? words(rows[h[0]].slices[h[1]]) : '');
  });
  canvas.addEventListener('pointerleave', e => tip(e, ''));
  let moved = false;
  canvas.addEventListener('pointerup', () => { moved = drag && drag.moved; });
  canvas.addEventListener('click', e => {
    const h = hit(e);
    if (!h || moved) return;
    const again = at && at[0] === h[0] && at[1] === h[1];
    select(h);
    if (again || e.detail > 1) view(0, end);
    else closer();
  });
  canvas.addEventListener('wheel', e => {
    if (!e.ctrlKey && !e.metaKey) return;
    e.preventDefault();
    const r = canvas.getBoundingClientRect();
    zoom(e.deltaY > 0 ? 1.25 : .8, from + Math.max(0, (e.clientX - r.left - LABEL) / (r.width - LABEL)) * (to - from));
  }, { passive: false });
  canvas.addEventListener('keydown', e => {
    const middle = at ? (rows[at[0]].slices[at[1]].a + rows[at[0]].slices[at[1]].b) / 2 : (from + to) / 2;
    const [row, i] = at || [kernelRow, firstAfter(rows[kernelRow].slices, from) - 1];
    const beside = k => [row, Math.max(0, Math.min(rows[row].slices.length - 1, i + k))];
    const other = k => {
      const r = Math.max(0, Math.min(rows.length - 1, row + k));
      return [r, Math.min(rows[r].slices.length - 1, firstAfter(rows[r].slices, middle))];
    };
    const act = {
      ArrowRight: () => select(beside(1), true), ArrowLeft: () => select(beside(-1), true), ArrowUp: () => select(other(-1), true),
      ArrowDown: () => select(other(1), true), Enter: closer, '+': () => zoom(.5, middle), '=': () => zoom(.5, middle),
      '-': () => zoom(2, middle), 0: () => view(0, end),
    }[e.key];
    if (!act || e.ctrlKey || e.metaKey) return;
    e.preventDefault();
    act();
  });
  $('zoom-in').onclick = () => zoom(.5, (from + to) / 2);
  $('zoom-out').onclick = () => zoom(2, (from + to) / 2);
  $('zoom-all').onclick = () => view(0, end);

  const list = $('call');
  D.calls.forEach((c, i) => list.append(make('option', { value: i },
    c.phase === 'prefill' ? 'prefill of ' + P.prefill + ' tokens' : 'decoded token at position ' + c.token)));
  function show() {
    rows = rowsOf(D.calls[list.value]);
    kernelRow = rows.findIndex(r => r.name === 'kernel');
    end = Math.max(1e-3, ...rows.map(r => r.slices[r.slices.length - 1].b));
    at = null;
    $('read-line').textContent = '';
    view(0, end);
  }
  list.onchange = show;
  if (!D.calls.length) return;
  /* a token in the middle: the first one builds what the driver leaves until then */
  const decoded = D.calls.map((c, i) => c.phase === 'decode' ? i : -1).filter(i => i >= 0);
  list.value = decoded.length ? decoded[decoded.length >> 1] : 0;
  show();
}
