#!/bin/sh
# golden.sh LRQK usage|model|diff|window [TINY_MODEL] - runs the command line and compares exit code, stdout and stderr with
# expected/NAME.txt.  `usage` and `diff` need neither a model nor a device, `window` the program TINY_MODEL; `model` takes $LRQK_TEST_MODEL or models/SmolLM2-135M-Instruct.Q4_1.gguf
# and leaves with 77 (skipped) without it.  LRQK_UPDATE=1 writes the expected files instead.
here=$(cd "$(dirname "$0")" && pwd)
lrqk=$1
suite=$2
tiny=$3
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
ran=0
failed=0
M=${LRQK_TEST_MODEL:-$here/../../models/SmolLM2-135M-Instruct.Q4_1.gguf}
update=${LRQK_UPDATE:-}
for v in $(env | sed -n 's/^\(LRQK_[A-Z_]*\)=.*/\1/p'); do unset "$v"; done

# What differs between machines and runs: places of files, times, rates, bytes of caches.
normal() {
  sed -e "s#$M#MODEL#g" -e "s#$tmp#TMP#g" \
    -e 's/\("[a-z_]*_\(ms\|ms_per_token\|per_s\)": \)[0-9.e+nul-]*/\1TIME/g' -e 's/"seed": [0-9]*/"seed": SEED/' \
    -e 's/\("[a-z_]*_bytes": \)[0-9]*/\1SIZE/g' -e 's/[0-9.]* [KMG]iB/SIZE/g' \
    -e 's/  *SIZE  [0-9]*$/  SIZE/' -e 's/[0-9]* bytes of\( device memory\| memory, which\)/SIZE bytes of\1/' -e 's/\(budget is\|at least\) [0-9]\{5,\}/\1 SIZE/' -e 's/([0-9]* of them/(SIZE of them/' -e 's/[0-9.]* s\b/TIME s/g' \
    -e 's/[0-9.-]* tokens\/s/RATE tokens\/s/g' -e '/warning: .*software/d'
}

# check NAME: compares what `try` left behind.
check() {
  { echo "exit $code"; echo "--- stdout"; normal <"$tmp/out"; echo; echo "--- stderr"; normal <"$tmp/err"; } >"$tmp/got"
  ran=$((ran + 1))
  if [ "$update" ]; then
    mkdir -p "$here/expected"
    cp "$tmp/got" "$here/expected/$1.txt"
  elif ! diff -u "$here/expected/$1.txt" "$tmp/got"; then
    echo "FAIL $1"
    failed=$((failed + 1))
  fi
}

# try NAME ARGUMENTS...: stdin is empty unless $in names a file.
in=/dev/null
try() {
  name=$1
  shift
  "$lrqk" "$@" <"$in" >"$tmp/out" 2>"$tmp/err"
  code=$?
  check "$name"
}

# expect NAME CODE: for what golden texts cannot hold.
expect() {
  ran=$((ran + 1))
  if [ "$code" != "$2" ]; then
    echo "FAIL $1: exit $code, expected $2"
    cat "$tmp/err"
    failed=$((failed + 1))
  fi
}

. "$here/$suite.sh"
echo "$suite: $ran checks, $failed failed"
[ "$ran" -gt 0 ] && [ "$failed" = 0 ]
