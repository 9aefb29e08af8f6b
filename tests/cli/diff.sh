# diff.sh - read by golden.sh: `lrqk profile diff` on profiles written by hand; no model, no device.
cp "$here"/../data/profile/*.json "$tmp"
A=$tmp/before.json
B=$tmp/after.json
try diff profile diff "$A" "$B"
try diff-json profile diff "$A" "$B" --json
try diff-back profile diff "$B" "$A" --threshold 25
try diff-same profile diff "$A" "$A"
try diff-threshold profile-diff --threshold 40 "$A" "$B"
try diff-by-layer profile diff "$tmp/by-layer.json" "$tmp/by-layer.json"
try diff-layers profile diff "$A" "$tmp/by-layer.json"
try diff-schema profile diff "$A" "$tmp/later.json"
try diff-schema-json profile diff "$tmp/later.json" "$A" --json
try diff-row profile diff "$A" "$tmp/row.json"
try diff-twice profile diff "$A" "$tmp/twice.json"
try diff-none profile diff "$A" "$tmp/none.json"
try diff-one profile diff "$A"
try diff-three profile diff "$A" "$B" "$B"
try diff-value profile diff "$A" "$B" --threshold -1
printf '{"schema": 1, "kernels": [' >"$tmp/short.json"
try diff-short profile diff "$tmp/short.json" "$A"
printf '[1, 2]' >"$tmp/list.json"
try diff-list profile diff "$A" "$tmp/list.json"
try help-diff help profile diff
