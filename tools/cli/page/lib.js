/* lib.js - what all panels use: the data, words and colours of stages, numbers as text, the tooltip, canvases. */
'use strict';
const D = JSON.parse(document.getElementById('data').textContent), P = D.profile;
const $ = id => document.getElementById(id);

const STAGES = {
  embed: ['#8d8d8d', 'the vector of the token goes to the device'],
  norm: ['#a58f6b', 'vectors are scaled to one size (RMS norm), and the sum of the layers before is added'],
  qkv: ['#2f7fc4', 'queries, keys and values: products with the weights'],
  attention: ['#d5622a', 'exact attention over the rows that are read'],
  'attention.rope': ['#46a88a', 'queries and keys are turned by their positions (RoPE)'],
  'attention.append': ['#63b5d8', 'key and value of the new token are stored, on the device and in host memory'],
  'attention.proxy': ['#b9a41c', 'small stand-ins (proxies) of the keys are made and kept up'],
  'attention.select': ['#e59b12', 'all tokens are scored with the proxies, and the best are chosen'],
  'attention.gather': ['#c76aa2', 'chosen rows that are not on the device yet are fetched from host memory'],
  'attention.tail': ['#9a5b2c', 'an estimate of what was not read is added'],
  'attention.rows': ['#a7a2d6', 'rows of keys and values are copied'],
  out: ['#5a64c8', 'the output of attention: product with the weights'],
  residual: ['#b4b4b4', 'sums of vectors'],
  ffn: ['#2e9a5b', 'feed-forward network: products with the weights'],
  head: ['#8454b8', 'scores of all words of the vocabulary'],
  quality: ['#6d8f9c', 'queries are kept for --quality, in the tokens that it examines'],
  host: ['#7c8795', 'time of the host program'],
};
const BOUNDS = {
  memory: 'memory: the bytes that it must move in device memory', compute: 'compute: its arithmetic',
  bus: 'bus: the bytes that it must move from or to host memory', launch: 'launch: starting a kernel at all',
};
const colour = stage => (STAGES[stage] || ['#909090'])[0];
const meaning = stage => (STAGES[stage] || ['', 'a stage of the model'])[1];

const digits = (x, n) => x === null ? 'not a number' : x === 0 ? '0' : Math.abs(x) >= 100 ? x.toFixed(0) : x.toPrecision(n || 3);
const ms = x => x >= 1000 ? digits(x / 1000) + ' s' : x >= 1 ? digits(x) + ' ms' : digits(x * 1000) + ' µs';
const us = x => ms(x / 1000);
const percent = x => (100 * x).toFixed(x < .0995 ? 1 : 0) + ' %';
function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 1024 && i < 4; i++) n /= 1024;
  return (i ? digits(n) : String(n)) + ' ' + units[i];
}

function make(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const k in attributes) e.setAttribute(k, attributes[k]);
  e.append(...children);
  return e;
}

/* ---- the box beside the pointer */
function tip(event, text) {
  const box = $('tip');
  box.hidden = !text;
  if (!text) return;
  box.textContent = text;
  const r = box.getBoundingClientRect();
  box.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - r.width - 6)) + 'px';
  box.style.top = (event.clientY + 18 + r.height > innerHeight ? event.clientY - r.height - 10 : event.clientY + 18) + 'px';
}

/* ---- canvases: sharp on every screen, drawn again when the window or its colours change */
const redraws = [];
function surface(canvas, height) {
  const scale = devicePixelRatio || 1, width = canvas.clientWidth;
  canvas.style.height = height + 'px';
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const g = canvas.getContext('2d');
  g.scale(scale, scale);
  g.font = '12px system-ui, sans-serif';
  g.textBaseline = 'middle';
  return { g, width, height };
}
const theme = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function redraw() { for (const f of redraws) f(); }
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
addEventListener('resize', redraw);

/* 0 to 1 between the colours --low and --high. */
function shades() {
  const rgb = name => { const h = theme(name); return [1, 3, 5].map(i => parseInt(h.slice(i, i + 2), 16)); };
  const low = rgb('--low'), high = rgb('--high');
  return x => 'rgb(' + low.map((v, i) => Math.round(v + (high[i] - v) * Math.max(0, Math.min(1, x)))).join(',') + ')';
}
