# window.sh - read by golden.sh: `lrqk run --session` on a tiny model with windows, which cannot go back to any token.  Answers are
# not golden (random weights): they are compared with those of a run without the session.
W=$tmp/window.gguf
"$tiny" "$W" window || exit 1
run() { "$lrqk" run -m "$W" --device host --raw --temp 0 -n 5 -c 1024 --active 64 --lite 8 "$@" </dev/null >"$tmp/out" 2>"$tmp/err"; }

# says NAME PATTERN: what the last run said on stderr.
says() {
  grep -q "$2" "$tmp/err"
  code=$?
  expect "$1" 0
}
# as_fresh NAME PROMPT: the last answer is that of a run without the session.
as_fresh() {
  cp "$tmp/out" "$tmp/kept"
  run -p "$2"
  [ -s "$tmp/out" ] && cmp "$tmp/out" "$tmp/kept"
  code=$?
  expect "$1" 0
}

long=$(head -c 700 "$W.txt")
near=$(head -c 690 "$W.txt")
far=$(head -c 100 "$W.txt")
run -p "$long" --session "$tmp/kept.lrqk"; code=$?
expect window-first 0

# A few tokens back the windows still hold what is needed.
cp "$tmp/kept.lrqk" "$tmp/near.lrqk"
run -p "$near another end" --session "$tmp/near.lrqk"; code=$?
expect window-near 0
says window-near-reused '6[0-9][0-9] of 7[0-9][0-9] tokens of the prompt reused'

# Far back they do not, and neither do those of the mark: everything is read again, and it is said.
run -p "$far another end" --session "$tmp/kept.lrqk"; code=$?
expect window-far 0
says window-far-warned 'warning: the windows of this model hold only the newest tokens: .* all 1[0-9][0-9] tokens are read again'
says window-far-reused ': 0 of 1[0-9][0-9] tokens of the prompt reused'
as_fresh window-far-answer "$far another end"
# What was saved then is whole: it goes on.
run -p "$far another end of it" --session "$tmp/kept.lrqk"; code=$?
expect window-again 0
says window-again-reused '1[0-9][0-9] of 1[0-9][0-9] tokens of the prompt reused'
