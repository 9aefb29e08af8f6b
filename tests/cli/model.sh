# model.sh - read by golden.sh: what the commands say about the default model, SmolLM2-135M-Instruct Q4_1.
[ -f "$M" ] || { echo "skipped: no model at $M"; exit 77; }

# ---- tokenize and inspect: no device
try tokenize tokenize -m "$M" -p 'Hello, world! "é" 日本'
try tokenize-json tokenize -m "$M" -p 'Hello, world!' --json
try tokenize-empty tokenize -m "$M" --json
try tokenize-special tokenize -m "$M" --special --json -p '<|im_start|>user'
try tokenize-plain tokenize -m "$M" --json -p '<|im_start|>user'
in=$tmp/bytes
printf 'a\0b\r\nc\n' >"$in"
try tokenize-bytes tokenize -m "$M"
"$lrqk" tokenize -m "$M" --json <"$in" 2>"$tmp/err" | "$lrqk" tokenize -m "$M" --decode >"$tmp/back" 2>>"$tmp/err"
cmp "$in" "$tmp/back"
code=$?
expect tokenize-round-trip 0
printf 'x \377 y' >"$in"
try tokenize-utf8 tokenize -m "$M" --json
in=/dev/null
try decode-json tokenize -m "$M" --decode --json -p '[19556, 28, 905, 17]'
try decode-bad tokenize -m "$M" --decode -p '1 two'
try decode-range tokenize -m "$M" --decode -p 49152
"$lrqk" inspect "$M" >"$tmp/all" 2>"$tmp/err"
code=$?
head -n 40 "$tmp/all" >"$tmp/out"
check inspect
head -c 2000000 "$M" >"$tmp/cut.gguf"
"$lrqk" inspect "$tmp/cut.gguf" --json >"$tmp/all" 2>"$tmp/err"
code=$?
expect inspect-cut 3
grep -q '"error": {"code": 3, "kind": "model"' "$tmp/all" || code=1000
expect inspect-cut-json 3

# ---- errors that need the model's numbers
try ctx-beyond run -m "$M" -p hello -c 9000
try ctx-beyond-json logits -m "$M" --tokens 1 -c 32K --json
try prompt-long run -m "$M" -p 'one two three four five six' -c 8
try prompt-long-json run -m "$M" -p 'one two three four five six' -c 8 --json
try tokens-range logits -m "$M" --tokens 1,49152
try compare-short compare -m "$M" -f "$here/../../LICENSE" --prefill 4000 --decode 100
try compare-ctx compare -m "$M" -f "$here/../../LICENSE" --prefill 8192 --decode 1
try perplexity-short perplexity -m "$M" -f "$here/../../LICENSE" -c 8000
"$lrqk" run -m "$M" -p hello --device nosuchdevice </dev/null 2>"$tmp/err"
code=$?
expect device-none 4

# ---- answers
try greedy run -m "$M" --raw -p 'The capital of France is' --temp 0 -n 12 --attention full
try greedy-json run -m "$M" --raw -p 'The capital of France is' --temp 0 -n 40 --attention full --json -q
in=$tmp/file
printf 'The capital\n' >"$in"
try file-and-prompt run -m "$M" -p 'What is this?' --temp 0 -n 1 --json -q
in=/dev/null
words='one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen'
try truncate run -m "$M" --raw --truncate -c 8 -n 1 --temp 0 -p "$words"
try truncate-chat run -m "$M" --truncate -c 40 -n 1 --temp 0 -p "$words"

"$lrqk" run -m "$M" --raw -p hello --temp 0 -n 400 --ignore-eos 2>"$tmp/err" </dev/null >"$tmp/all" &
pid=$!
# the answer has begun when the file is not empty
n=0
while [ ! -s "$tmp/all" ] && [ $n -lt 600 ]; do
  sleep 0.1
  n=$((n + 1))
done
kill -INT $pid
wait $pid
code=$?
expect interrupt 130
grep -q 'tokens/s.*hit rate' "$tmp/err" || code=1000
expect interrupt-line 130

{ "$lrqk" run -m "$M" --raw -p hello --temp 0 -n 400 --ignore-eos </dev/null 2>"$tmp/err"; echo $? >"$tmp/code"; } | head -c 20 >"$tmp/out"
code=$(cat "$tmp/code")
expect closed-pipe 141
[ "$(wc -c <"$tmp/out")" -eq 20 ] || code=1000
expect closed-pipe-bytes 141
if [ -c /dev/full ]; then
  "$lrqk" run -m "$M" --raw -p hello -n 4 </dev/null >/dev/full 2>"$tmp/err"
  code=$?
  expect full-disk 1
fi

# ---- plan: what it says is what run allocates, and a byte less is refused
try plan plan -m "$M" -c 2048 --device host --vram 4G
try plan-json plan -m "$M" -c 2048 --device host --vram 4G --attention offload --bandwidth 100 --bus-bandwidth 10 --json
keep='--active 256 --lite 16 --rank 16 --dense-layers 0 --proxy-type int8 -c 512'
bytes() { sed -n 's/.*"device_bytes": \([0-9]*\).*"host_bytes": \([0-9]*\).*"staging_bytes": \([0-9]*\).*/\1 \2 \3/p' "$1"; }
"$lrqk" plan -m "$M" $keep --json >"$tmp/out" 2>"$tmp/err"
planned=$(bytes "$tmp/out")
need=${planned%% *}
"$lrqk" run -m "$M" -p hello -n 2 $keep --vram "$need" --json </dev/null >"$tmp/out" 2>"$tmp/err"
code=$?
expect plan-enough 0
[ "$planned" = "$(bytes "$tmp/out")" ] || code=1000
expect plan-equal 0
try plan-short run -m "$M" -p hello -n 2 $keep --vram $((need - 1))
try plan-refused compare -m "$M" -f "$here/../../LICENSE" --prefill 100 --decode 4 --vram "$need"
try plan-weights perplexity -m "$M" -f "$here/../../LICENSE" -c 32 --vram 50M --json
for form in '' --json; do
  "$lrqk" plan -m "$M" --device host --vram $((need - 1)) $form >"$tmp/out" 2>"$tmp/err"
  code=$?
  grep -q 'given.up.*dense-layers 0 -> none, active 2048 -> 256, ctx-size 8192 -> ' "$tmp/out" || code=1000
  expect plan-fit 0
done

# ---- eval: chosen tokens hold the number, sinks and a window alone do not; what --out has is not run again
filler=$here/../../tools/sample/war_and_peace.txt
try eval-beyond eval needle -m "$M" -f "$filler" --length 9000
try eval-print eval multikey -m "$M" --length 200 --depths 1 --print
needle() { "$lrqk" eval needle -m "$M" -f "$filler" --length 300 --depths 1 --json -q --out "$tmp/eval.jsonl" "$@" </dev/null; }
needle --policies full,lrqk:active=128,lite=16 >"$tmp/out" 2>"$tmp/err"
code=$?
check eval-found
needle --policies full,lrqk:active=4,lite=32 >"$tmp/out" 2>"$tmp/err"
code=$?
expect eval-window 0
grep -q '"policy": "lrqk:active=4,lite=32", "exact": 0, "questions": 1' "$tmp/out"
code=$?
expect eval-window-fails 0
[ "$(wc -l <"$tmp/eval.jsonl")" -eq 3 ]
code=$?
expect eval-lines 0
needle --policies full,lrqk:active=4,lite=32 --device nosuchdevice >"$tmp/again" 2>"$tmp/err"
code=$?
expect eval-again 0
cmp "$tmp/out" "$tmp/again"
code=$?
expect eval-again-same 0
head -c -2 "$tmp/eval.jsonl" >"$tmp/cut"
mv "$tmp/cut" "$tmp/eval.jsonl"
needle --policies full,lrqk:active=4,lite=32 --device nosuchdevice >"$tmp/out" 2>"$tmp/err"
code=$?
expect eval-cut 4
needle --policies full --device nosuchdevice >"$tmp/out" 2>"$tmp/err"
code=$?
expect eval-cut-rest 0

# ---- sessions: what is reused, what is refused and left alone
S=$tmp/kept
words='one two three four five six seven eight nine ten'
try session-first run -m "$M" --raw -p "$words" --temp 0 -n 4 -c 256 --session "$S"
try session-longer run -m "$M" --raw -p "$words eleven twelve thirteen fourteen" --temp 0 -n 4 -c 256 --session "$S"
try session-other run -m "$M" --raw -p "one two three" --temp 0 -n 2 -c 256 --session "$S"
try session-goes-on run -m "$M" --temp 0 -n 2 -c 256 --session "$S"
cp "$S" "$tmp/before"
try session-options run -m "$M" --raw -p "$words" -n 2 -c 256 --session "$S" --rank 8
try session-room run -m "$M" --raw -p one -n 2 -c 4 --session "$S"
try session-chat chat -m "$M" -c 256 --session "$S"
cp "$S" "$tmp/damaged"
printf 'XXXX' | dd of="$tmp/damaged" bs=1 seek=100000 conv=notrunc 2>"$tmp/err"
cp "$tmp/damaged" "$tmp/damaged.before"
try session-damaged run -m "$M" --raw -p "$words" -n 2 -c 256 --session "$tmp/damaged"
cmp "$tmp/damaged" "$tmp/damaged.before"
code=$?
expect session-damaged-left-alone 0
cp "$here/model.sh" "$tmp/script"
try session-none run -m "$M" --raw -p "$words" -n 2 -c 256 --session "$tmp/script" --json
cmp "$here/model.sh" "$tmp/script"
code=$?
expect session-none-left-alone 0
{ cat "$M"; printf x; } >"$tmp/other.gguf"
try session-model run -m "$tmp/other.gguf" --raw -p "$words" -n 2 -c 256 --session "$S"
rm "$tmp/other.gguf"
cmp "$S" "$tmp/before"
code=$?
expect session-left-alone 0

# ---- chat through a pipe: answers and nothing else on the standard output
in=$tmp/turns
printf 'My name is Ann.\n"""What is\nmy name?"""\n/regen\n/sats\n/save %s\nAnd \\\nnow?\n/load %s\nAnd \\\nnow?' "$tmp/talk" "$tmp/talk" >"$in"
try chat chat -m "$M" --temp 0 -n 8 -c 512
in=/dev/null
try chat-session chat -m "$M" --temp 0 -n 4 -c 512 --session "$tmp/talk" -p 'And then?'
try chat-system chat -m "$M" --temp 0 -n 4 -c 512 --session "$tmp/talk" -sys Short. -p 'And then?'
in=$tmp/turns
printf 'Tell me a story.\nAnd then?\n/clear\nHi.\n' >"$in"
try chat-full chat -m "$M" --temp 0 -c 64
printf 'What is this?\n' >"$in"
seq 1 100 >"$tmp/numbers"
try chat-document chat -m "$M" --temp 0 -n 4 -c 512 -f "$tmp/numbers"
in=/dev/null
try chat-document-long chat -m "$M" -c 256 -f "$tmp/numbers"
