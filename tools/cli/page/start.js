/* start.js - draws every panel, or says why there is nothing to draw. */
function absent(panel, note, text) {
  for (const id of panel) $(id).hidden = true;
  $(note).hidden = false;
  $(note).textContent = text;
}

tiles();
timeline();
bars('prefill');
bars('decode');
roofline();
const showHead = activeMap(), show = showHead || (() => {});
if (!showHead) absent(['active'], 'none-active', P.policy === 'lrqk' ? 'Nothing to show: no head chose tokens in those that were timed.' :
  'Nothing to show: policy ' + P.policy + ' reads all tokens.');
if (!headMaps(show)) absent(['heads', 'keys-heads'], 'none-heads', P.policy === 'full' ?
  'Nothing to show: with policy full the whole KV cache is on the device.' : 'Nothing to show: no token that was timed used the bus.');
quality(show);
document.documentElement.setAttribute('data-ready', String(D.calls.length));
