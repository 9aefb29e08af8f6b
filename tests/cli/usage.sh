# usage.sh - read by golden.sh: help, usage errors, exit codes; no model, no device.
try none
try version --version
try help help
try help-flag --help
for c in run chat tokenize logits perplexity compare eval bench profile inspect devices; do try "help-$c" "$c" --help; done
try help-unknown help rum
try command-unknown rnu -m x
try command-json lunch -m x --json
try flag-near run -m x --temprature 0
try flag-dash run -m x -top-k 3
try flag-other run -m x --prefill 3
try flag-foreign run -m x -ngl 99
try flag-far run -m x --zzz
try flag-json run -m x --zzz --json
try value-missing run -m x -n
try value-word run -m x -n many
try value-suffix run -m x -c 32KB
try value-range run -m x --top-p 1.5
try value-negative run -m x -n -2
try value-big run -m x -c 99999999999
try value-overflow run -m x -s 99999999999999999999
try value-hex run -m x --temp 0x1
try value-empty run -m x --temp ""
try value-flag run -m x --raw=1
try value-cache run -m x -p y --rank 5
try value-switch run -m x -p y --freeze-basis=maybe
try value-order run -m "$tmp/none.gguf" -p y --proxy pairs --preset paper --rank 5
try value-policy run -m x -p y --attention some
try model-missing run -p y
try model-twice run -m x y
try model-none run -m "$tmp/none.gguf" -p y
try model-none-json run -m "$tmp/none.gguf" -p y --json
try prompt-empty run -m x -p ""
try prompt-none-json run -m x --json
try prompt-file run -m x -f "$tmp/none.txt"
try system-raw run -m x -p y --raw -sys z
try chat-pipe chat -m x -f -
try chat-json chat -m x --json
try chat-model chat -m "$tmp/none.gguf" -p y
try chat-template-raw run -m x -p y --raw --chat-template chatml
try logits-both logits -m x -p y --tokens 1
try logits-empty logits -m x -p ""
try policies-first compare -m x -p 1
try policies-key compare -m x --policies rank=16
try policies-colon compare -m x --policies full,lrqk:
try policies-empty compare -m x --policies full,,lrqk
try policies-name compare -m x --policies full,some
try policies-value compare -m x --policies "lrqk:dense-layers=0,3-5,rank=5" --json
try policies-switch compare -m x --policies lrqk:preset=paper,freeze-basis,refresh=x
try devices-word devices x
try completions completions tcsh
try profile-form profile -m x -f y --json --csv
try profile-every profile -m x -f y --every 0
try bench-list bench -m x -p 12,x
try bench-range bench -m x -d 0-4K*2
try bench-none bench -m x -p 0 -n 0
try bench-form bench -m x -o html
try bench-fill bench -m x --fill ones --json

# ---- eval: prompts are made without a model
filler=$here/../../tools/sample/war_and_peace.txt
try eval-none eval --print
try eval-task eval needles --print
try eval-twice eval needle x y
try eval-model eval needle -f "$filler"
try eval-length eval needle -f "$filler" --print --length 1024,x
try eval-short eval needle -f "$filler" --print --length 1K,100
try eval-depths eval needle --print --depths 65
try eval-policy eval multikey -m x --policies full,some
try eval-filler eval needle --print
try eval-needle eval needle -f "$filler" --print --length 300 --depths 3
try eval-needle-json eval needle -f "$filler" --print --length 200,250 --samples 2 --depths 1 --json
try eval-multikey eval multikey --print --length 250 --depths 2
try eval-common-words eval common-words --print --length 1K --seed 7
try eval-variables eval variable-tracking -f "$filler" --print --length 500
"$lrqk" eval needle -f "$filler" --print --length 300 --seed 1 >"$tmp/one" 2>"$tmp/err"
"$lrqk" eval needle -f "$filler" --print --length 300 --seed 2 >"$tmp/two" 2>>"$tmp/err"
cmp -s "$tmp/one" "$tmp/two"
code=$?
expect eval-seeds 1

try vram-word plan -m x --vram lots
try vram-none plan -m x --vram 0
try vram-unit run -m x -p y --vram 8X
try vram-point bench -m x --vram 1.5
try vram-negative compare -m x -f y --vram -1
try vram-huge plan -m x --vram 99999999T
try hit-rate plan -m x --hit-rate 2

LRQK_TEMP=hot
export LRQK_TEMP
try env-bad run -m x -p y
LRQK_TEMP= LRQK_JSON=1 LRQK_MODEL=$tmp/env.gguf
export LRQK_JSON LRQK_MODEL
try env-model run -p y
unset LRQK_TEMP LRQK_JSON LRQK_MODEL

printf 'GGUF' >"$tmp/short.gguf"
try model-short run -m "$tmp/short.gguf" -p y --json
printf 'no model' >"$tmp/text.gguf"
try model-text inspect "$tmp/text.gguf"

if [ -c /dev/full ]; then
  "$lrqk" help >/dev/full 2>"$tmp/err"
  code=$?
  expect full-disk 1
  grep -q "No space left" "$tmp/err" || code=1000
  expect full-disk-message 1
fi
