#!/bin/sh
# SPDX-License-Identifier: MIT
# pare calibrate: the folder, its parts, an interrupted run, what is refused, the plan.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
nano=tests/data/nano-v3
text=docs/verify.md

calibrate()
{
    "$PARE" calibrate $nano --text $text --ctx 128 -q "$@"
}

ok "a text is walked" calibrate --chunks 4 -o "$tmp/whole"
has "$tmp/stdout" "gate mass" "and the coverage of experts told"
ok "three threads make" calibrate --chunks 4 -o "$tmp/three" -j3
for file in $(ls "$tmp/whole"); do
    ok "the same $file" cmp "$tmp/whole/$file" "$tmp/three/$file"
done
ok "inspect shows the folder" "$PARE" inspect "$tmp/whole"
has "$tmp/stdout" "4 chunks of 128 tokens" "with its tokens"
ok "and the imatrix in it" "$PARE" inspect "$tmp/whole/imatrix.gguf"
has "$tmp/stdout" "35 entries" "which has every weight"
ok "as JSON" "$PARE" inspect "$tmp/whole" --json

ok "part 1 of 2" calibrate --chunks 4 --part 1/2 -o "$tmp/p1"
ok "part 2 of 2" calibrate --chunks 4 --part 2/2 -o "$tmp/p2"
ok "parts add up" "$PARE" merge "$tmp/p2" "$tmp/p1" -o "$tmp/merged"
ok "and serve" "$PARE" convert $nano -o "$tmp/m.gguf" -r Q4_K_S -q --calib "$tmp/merged"
fails 3 "a part is no whole" "$PARE" merge "$tmp/p1" "$tmp/p1" -o "$tmp/twice"

# an interrupted run: killed as soon as its first layer is behind it
"$PARE" calibrate $nano --text $text --ctx 128 -q --chunks 4 -o "$tmp/killed" >"$tmp/stdout" 2>&1 &
pid=$!
while [ ! -e "$tmp/killed/resume.hidden" ] && kill -0 $pid 2>/dev/null; do sleep 0.01; done
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
if [ -e "$tmp/killed/resume.hidden" ]; then
    fails 4 "a killed run's folder is not used" "$PARE" convert $nano -o "$tmp/k.gguf" -q --calib "$tmp/killed"
    fails 2 "other tokens do not go on with it" calibrate --chunks 3 -o "$tmp/killed"
fi
ok "a killed run is gone on with" calibrate --chunks 4 -o "$tmp/killed"
for file in $(ls "$tmp/whole"); do
    ok "and its $file is the same" cmp "$tmp/whole/$file" "$tmp/killed/$file"
done

fails 2 "a finished folder is not replaced" calibrate --chunks 4 -o "$tmp/whole"
fails 2 "-o is needed" calibrate --chunks 4
mkdir "$tmp/other"
echo mine >"$tmp/other/notes.txt"
fails 2 "a folder with other files is left alone" calibrate --chunks 4 -o "$tmp/other"
cp -r "$tmp/whole" "$tmp/cut"
truncate -s 1000 "$tmp/cut/layer-001-mlp.safetensors"
fails 3 "a file cut short is refused" "$PARE" convert $nano -o "$tmp/c.gguf" -q --calib "$tmp/cut"
has "$tmp/stderr" "layer-001-mlp.safetensors" "by name"

printf '%s\n' '{"messages":[{"role":"user","content":"How far is the moon?"},{"role":"assistant","content":"384,400 km on average, as far as thirty Earths in a row."}]}' >"$tmp/talk.jsonl"
ok "conversations are walked" "$PARE" calibrate $nano --text "$tmp/talk.jsonl" --ctx 8 -q -o "$tmp/talk"
ok "a plan runs nothing" "$PARE" calibrate $nano --text $text --plan
has "$tmp/stdout" "hours" "and says the hours"
done_testing
