#!/bin/sh
# SPDX-License-Identifier: MIT
# The command line as a product: help, misuse, exit statuses.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
nano=tests/data/nano-v3

ok "pare --version exits 0" "$PARE" --version
ok "pare --help exits 0" "$PARE" --help
is "$(wc -c <"$tmp/stderr")" 0 "help goes to stdout alone"
for command in $("$PARE" --help | awk '/^  [a-z]/ {print $1}'); do
    ok "pare $command --help exits 0" "$PARE" "$command" --help
    is "$(awk 'length > 80' "$tmp/stdout" | wc -l)" 0 "pare $command --help fits 80 columns"
    is "$(awk 'END {print (NR <= 24)}' "$tmp/stdout")" 1 "pare $command --help fits 24 lines"
    if [ "$command" = man ]; then
        ok "pare man needs no operand" "$PARE" man
    else
        fails 2 "pare $command without operands is misuse: exit 2" "$PARE" "$command"
        is "$(wc -l <"$tmp/stderr")" 1 "and says so in one line"
    fi
    fails 2 "pare $command --no-such-option is misuse: exit 2" "$PARE" "$command" --no-such-option x
    has "$tmp/stderr" "--help" "and names --help"
done
fails 2 "an unknown command exits 2" "$PARE" frobnicate
fails 2 "no command at all exits 2 after the usage" "$PARE"

fails 4 "a source that does not exist exits 4" "$PARE" inspect "$tmp/none"
has "$tmp/stderr" "No such file" "and says why"
fails 3 "a folder without a checkpoint exits 3" "$PARE" inspect "$tmp"
fails 3 "a text file exits 3" "$PARE" inspect README.md
fails 2 "an unknown recipe exits 2" "$PARE" plan "$nano" -r Q9_9
fails 2 "an unknown target exits 2" "$PARE" plan "$nano" --to onnx
fails 2 "an unknown role exits 2" "$PARE" plan "$nano" --type nose=F16
fails 2 "a role that is always F32 cannot be overridden" "$PARE" plan "$nano" --type ffn_gate_inp=Q8_0
fails 2 "a nonsense memory bound exits 2" "$PARE" plan "$nano" --memory lots
fails 2 "a memory bound that is too small exits 2" "$PARE" plan "$nano" --memory 100k
has "$tmp/stderr" "are needed" "and says how much is needed"
fails 2 "convert without -o exits 2" "$PARE" convert "$nano"
fails 4 "a full standard output is an error" sh -c "'$PARE' inspect $nano >/dev/full"

ok "inspect tells about nano-v3" "$PARE" inspect "$nano"
has "$tmp/stdout" "DeepSeek-V3, checkpoint, 3 files, 239 tensors" "its family, files and tensors"
has "$tmp/stdout" "experts 8 routed (2 used, 1 of 2 groups) + 1 shared" "its experts"
ok "inspect --json is JSON with roles" "$PARE" inspect "$nano" --json
has "$tmp/stdout" '"kv_lora_rank":	256' "and hyper-parameters"
ok "inspect --tensors lists every tensor" "$PARE" inspect "$nano" --tensors
has "$tmp/stdout" "model.layers.3.eh_proj.weight" "the MTP layer's too"
ok "inspect lists a single shard" "$PARE" inspect "$nano/model-00001-of-000003.safetensors"
has "$tmp/stdout" "no whole model" "and says that it is no whole model"
ok "check finds nothing wrong with nano-v3" "$PARE" check "$nano"
has "$tmp/stdout" "no problem found" "and says so"
done_testing
