/* page.js - page.sh puts it at the end of a page of `profile --html`: uses all that can be used, and says in attributes what came. */
(() => {
  const root = document.documentElement, said = {};
  const key = (id, k) => document.getElementById(id).dispatchEvent(new KeyboardEvent('keydown', { key: k, bubbles: true, cancelable: true }));
  const pointer = (id, type, x, y) => {
    const e = document.getElementById(id), r = e.getBoundingClientRect();
    e.dispatchEvent(new PointerEvent(type, { bubbles: true, clientX: r.left + x * r.width, clientY: r.top + y * r.height, detail: 1 }));
  };
  const choose = id => {
    const e = document.getElementById(id);
    for (const o of e.options) { e.value = o.value; e.dispatchEvent(new Event('change')); }
  };
  const text = id => document.getElementById(id).textContent;
  const seen = id => document.getElementById(id).offsetParent !== null;

  choose('call');
  said.rows = Math.round((document.getElementById('timeline').clientHeight - 20) / 24);
  for (const k of ['ArrowRight', 'ArrowDown', 'ArrowUp', 'ArrowUp', 'ArrowLeft', 'Enter', '+', '-', '0']) key('timeline', k);
  said.line = text('read-line');
  for (let y = .05; y < 1; y += .1) for (let x = 0; x <= 1; x += .05) pointer('timeline', 'pointermove', x, y);
  pointer('timeline', 'pointermove', .5, .6);
  said.tip = document.getElementById('tip').hidden ? '' : text('tip');
  pointer('timeline', 'click', .5, .6);
  pointer('timeline', 'pointerdown', .5, .6);
  pointer('timeline', 'pointermove', .3, .6);
  dispatchEvent(new PointerEvent('pointerup'));
  for (const id of ['zoom-in', 'zoom-out', 'zoom-all']) document.getElementById(id).click();
  for (const d of document.querySelectorAll('details')) d.open = true;
  said.kernels = document.querySelectorAll('.bars tbody tr').length;
  for (let i = 0; i < 50; i++) key('roof', 'ArrowRight');
  key('roof', 'ArrowLeft');
  said.roof = text('read-roof');
  said.dots = document.querySelectorAll('#roof circle').length;
  if (seen('heads')) {
    choose('metric');
    for (const id of ['m-hit', 'm-bus']) {
      for (const k of ['ArrowDown', 'ArrowDown', 'ArrowDown', 'ArrowRight', 'Enter', 'ArrowUp', 'ArrowLeft']) key(id, k);
      for (let y = 0; y <= 1; y += .1) for (let x = 0; x <= 1; x += .1) pointer(id, 'pointermove', x, y);
      pointer(id, 'click', .5, .5);
    }
    said.heads = text('read-heads');
  } else said.heads = 'none: ' + text('none-heads');
  if (!document.getElementById('quality').hidden) {
    for (const id of seen('quality-maps') ? ['m-mass', 't-mass', 'm-recall', 't-recall'] : []) {
      for (const k of ['ArrowDown', 'ArrowDown', 'ArrowRight', 'Enter', 'ArrowUp', 'ArrowLeft']) key(id, k);
      for (let y = 0; y <= 1; y += .1) for (let x = 0; x <= 1; x += .1) pointer(id, 'pointermove', x, y);
      pointer(id, 'click', .6, .5);
    }
    said.quality = seen('quality-maps') ? text('read-quality') + '; ' + document.querySelectorAll('#worst li').length + ' heads' : 'none: ' + text('none-quality');
  } else said.quality = 'not asked for';
  if (seen('active')) {
    choose('layer');
    choose('head');
    for (const k of ['ArrowDown', 'ArrowDown', 'ArrowRight']) key('m-active', k);
    pointer('m-active', 'pointermove', .5, .5);
    pointer('m-active', 'click', .5, .5);
    said.active = text('read-active');
  } else said.active = 'none: ' + text('none-active');
  dispatchEvent(new Event('resize'));
  said.wide = root.scrollWidth <= innerWidth ? 'fits' : root.scrollWidth + ' of ' + innerWidth;
  said.foot = document.getElementById('foot').textContent;
  for (const k in said) root.setAttribute('data-said-' + k, String(said[k]).replace(/\n/g, ', '));
})();
