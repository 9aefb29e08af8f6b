#!/bin/sh
# page.sh LRQK TINY_MODEL FOLDER - opens pages of `lrqk profile --html` in headless Chromium: no script fails, nothing is asked of a
# network, every panel says something or why it does not, and all of it can be used.  Leaves with 77 (skipped) without Chromium.
lrqk=$1
tiny=$2
here=$3
command -v chromium >/dev/null || { echo "skipped: no chromium (package chromium)"; exit 77; }
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
failed=0
wrong() { echo "FAIL $*"; failed=1; }

# dom FILE WIDTH: what the page is after its scripts ran, in $tmp/dom; what the browser asked of networks, in $tmp/net (it gets nothing).
# As root in a container there is no sandbox to be had.  On a machine with much else to do a browser may not start in time: it gets a
# second chance.
dom() {
  for chance in 1 2; do
    HOME=$tmp timeout 200 chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-background-networking \
      --host-resolver-rules='MAP * ~NOTFOUND' --log-net-log="$tmp/net" --user-data-dir="$tmp/browser.$chance" --window-size="$2",900 \
      --virtual-time-budget=5000 --dump-dom "file://$1" >"$tmp/dom" 2>"$tmp/log" </dev/null
    grep -q '<html' "$tmp/dom" && return
  done
  wrong "$1: chromium gave no page"
  tail -n 3 "$tmp/log"
}
# Addresses that the page asked for, not the browser for itself.
asked() { grep '"initiator":' "$tmp/net" | grep -v '"initiator":"not an origin"' | grep -o '"url":"[^"]*"'; }
# says ATTRIBUTE PATTERN: an attribute of the root that the page or page.js has set.
says() {
  grep -m 1 '<html' "$tmp/dom" | grep -q "$1=\"$2\"" || { wrong "$page: $1 is not $2:"; grep -m 1 '<html' "$tmp/dom"; }
}
sound() {
  ! asked || wrong "$page: the page asked a network"
  ! grep -m 1 '<html' "$tmp/dom" | grep -q data-errors || { wrong "$page: a script failed:"; grep -m 1 '<html' "$tmp/dom"; }
}

# A name that would end a script, were it not escaped.
mkdir "$tmp/x<"
model="$tmp/x</script><script>throw 1;.gguf"   # in the folder "x<"
"$tiny" "$model" || exit 1

for policy in lrqk offload full; do
  page=$policy
  quality='--quality 3'
  [ $policy = full ] && quality=
  "$lrqk" profile -q -m "$model" -f "$model.txt" --device host --prefill 200 --decode 9 --every 2 --attention $policy --active 64 --lite 16 $quality \
    --html "$tmp/$policy.html" >"$tmp/out" 2>"$tmp/err" || { wrong "$policy: exit $?"; cat "$tmp/err"; continue; }
  grep -q '^a token is [1-9][0-9]* dispatches: .* ms of CPU time' "$tmp/out" || wrong "$policy: no line of dispatches"
  ! grep -v "'http://www.w3.org/2000/svg'" "$tmp/$policy.html" | grep -qi '\(https\?:\)\?//[a-z]' || wrong "$policy: an address in the page"
  { sed '/<\/html>/d' "$tmp/$policy.html"; echo '<script>'; cat "$here/page.js"; echo '</script></html>'; } >"$tmp/used.html"
  widths=1280
  [ $policy = lrqk ] && widths='1280 800'
  for width in $widths; do
    dom "$tmp/used.html" $width
    sound
    says data-ready 6
    says data-said-rows 5
    says data-said-line '.*: .* from .*'
    says data-said-tip '.* from .*'
    says data-said-kernels '[1-9][0-9]*'
    says data-said-dots '[1-9][0-9]*'
    says data-said-roof '.*GFLOP/s.*'
    says data-said-wide fits
    says data-said-foot '.*, and a token is [1-9][0-9]* of them.*'
    case $policy in
      lrqk)
        says data-said-heads 'layer .*'
        says data-said-active 'token .* reads .*'
        says data-said-quality 'layer .* of the attention.* [1-9][0-9]* heads' ;;
      offload)
        says data-said-heads 'layer .*'
        says data-said-active 'none: .*offload reads all.*'
        says data-said-quality 'none: .*every head reads all.*' ;;
      full)
        says data-said-heads 'none: .*whole KV cache.*'
        says data-said-active 'none: .*full reads all.*'
        says data-said-quality 'not asked for' ;;
    esac
  done
done

# Slices beside others have a row of their own (what gathers is on a lane of its own here, as if there were two queues).
page=beside
{ sed '/<\/html>/d; s/\(\["GATHER",[^]]*\)0\]/\11]/g' "$tmp/lrqk.html"; echo '<script>'; cat "$here/page.js"; echo '</script></html>'; } >"$tmp/used.html"
dom "$tmp/used.html" 1280
sound
says data-said-rows 6

# What goes wrong would be seen: a script that fails, and an image from elsewhere.
page=broken
sed 's/^tiles();/tiles(); no_such_thing();/' "$tmp/full.html" >"$tmp/broken.html"
dom "$tmp/broken.html" 1280
says data-errors '.*no_such_thing.*'
page=asking
sed 's#</main>#<img src="http://127.0.0.1:9/x.png" alt=""></main>#' "$tmp/full.html" >"$tmp/asking.html"
dom "$tmp/asking.html" 1280
says data-errors 'blocked: .*img-src.*'
sed '/Content-Security-Policy/d' "$tmp/asking.html" >"$tmp/asking2.html"
dom "$tmp/asking2.html" 1280
asked >"$tmp/out" && grep -q '127.0.0.1:9' "$tmp/out" || wrong "asking: the request was not seen"

[ $failed = 0 ] && echo "pages of three policies: sound"
exit $failed
