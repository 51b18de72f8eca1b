#!/bin/sh
# SPDX-License-Identifier: MIT
# Conversions by an importance matrix: what they weigh, what they do without data, what they report and refuse; pare imatrix and
# inspect on the command line.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
nano=tests/data/nano-v3

value() { sed -n "s/.*\"$1\":[ 	]*\"*\([^\",]*\)\"*,*$/\1/p" "$tmp/stdout"; }
make() { "$TOOLS/mkimatrix" "$nano" "$@" || { echo "Bail out! no imatrix"; exit 1; }; }
# converts OUT WORDS...
converts() { out=$1; shift; "$PARE" convert "$nano" -o "$tmp/$out" -q "$@"; }
# same OUT OUT TITLE: the tensors are equal, whatever the keys say
same() { ok "$3" "$PARE" diff "$tmp/$1" "$tmp/$2"; }
differ() { fails 1 "$3" "$PARE" diff "$tmp/$1" "$tmp/$2"; }

make "$tmp/w.gguf"
make "$tmp/idle.gguf" --idle 3
make "$tmp/idle.dat" --idle 3 --dat
make "$tmp/less.gguf" --without blk.1.attn_q_a.weight --extra blk.99.ffn_up.weight
make "$tmp/kv_b.gguf" --kv-b
make "$tmp/other.gguf" --seed 2

# each head by its own columns: llama-quantize's bytes (tests/interop/t_imatrix.py)
ok "Q4_0 by an importance" converts heads.gguf -r Q4_0 --search compat --imatrix "$tmp/w.gguf"
is "$(grep -o '"name":"blk.1.attn_k_b.weight"[^}]*' "$tmp/heads.gguf.manifest.json" | sed -n '1s/.*xxh3_128":"\([0-9a-f]*\).*/\1/p')" \
    f68f9a94e4565cc25a16a138467aaec4 "heads of attn_k_b are weighed each by its own part"

# what a file holds
ok "inspect shows an imatrix" "$PARE" inspect "$tmp/idle.gguf"
has "$tmp/stdout" "33 entries, 75 matrices" "its entries"
has "$tmp/stdout" "7 chunks of 512 tokens, at most 1000 tokens" "chunks and tokens"
has "$tmp/stdout" "dataset texts/made-up.txt" "datasets"
has "$tmp/stdout" "without data: 6 matrices in 6 entries" "and experts without data"
ok "and one of the older form" "$PARE" inspect "$tmp/idle.dat" --json
is "$(value format)" "imatrix dat" "which it says it is"
printf 'x' >>"$tmp/idle.dat"
fails 3 "a damaged one is refused" "$PARE" inspect "$tmp/idle.dat"
is "$(cat "$tmp/stderr")" "pare inspect: error: 1 bytes follow the end: '$tmp/idle.dat', offset $(($(wc -c <"$tmp/idle.dat") - 1))" \
    "in one line that names file and offset"
make "$tmp/idle.dat" --idle 3 --dat

# forms and sums
ok "pare imatrix writes the older form by its suffix" "$PARE" imatrix "$tmp/idle.gguf" -o "$tmp/x.dat"
ok "which is what a writer of that form makes" cmp "$tmp/x.dat" "$tmp/idle.dat"
ok "--to chooses a form, too" "$PARE" imatrix "$tmp/idle.gguf" -o "$tmp/x" --to dat
ok "the same" cmp "$tmp/x" "$tmp/x.dat"
fails 2 "an existing file is not replaced" "$PARE" imatrix "$tmp/w.gguf" -o "$tmp/x.dat"
ok "unless it is forced" "$PARE" imatrix "$tmp/w.gguf" -o "$tmp/x.dat" --force
fails 2 "an unknown form is misuse" "$PARE" imatrix "$tmp/w.gguf" -o "$tmp/y" --to json
ok "two add up" "$PARE" imatrix "$tmp/w.gguf" "$tmp/other.gguf" -o "$tmp/sum.gguf" --json
is "$(value chunk_count) $(value most_tokens)" "14 2000" "with their chunks and tokens"
fails 3 "calls and tokens do not" "$PARE" imatrix "$tmp/w.gguf" "$tmp/x.dat" -o "$tmp/no.gguf"
is "$(ls "$tmp" | grep -c '^no')" 0 "and leave nothing"

# what is weighed
ok "a conversion weighs by an imatrix" converts w.out -r Q4_K_M --imatrix "$tmp/w.gguf"
has "$tmp/stdout" "33 of 35 tensors weighed, 2 of token_embd and output have no entry; without an entry, encoded without: 0" \
    "and says what was weighed"
has "$tmp/stdout" "0 of 81 matrices without data" "and that nothing lacked data"
converts plain.out -r Q4_K_M >/dev/null
differ w.out plain.out "which is another file than without one"
ok "threads and memory do not change a byte" converts w1.out -r Q4_K_M --imatrix "$tmp/w.gguf" -j 1 --memory 48M
ok "of the file" cmp "$tmp/w.out" "$tmp/w1.out"
has "$tmp/w.out" "quantize.imatrix.chunks_count" "the header names the imatrix"
is "$(grep -c "$tmp" "$tmp/w.out.manifest.json" "$tmp/w.out" | tr '\n' ' ')" "$tmp/w.out.manifest.json:0 $tmp/w.out:0 " "without any path"
has "$tmp/w.out.manifest.json" "w.gguf, $(wc -c <"$tmp/w.gguf") bytes, XXH3-128 " "and so does the manifest, with its hash"
ok "types that do not weigh columns are what they were" converts q8w.out -r Q8_0 --imatrix "$tmp/w.gguf" --json
is "$(value tensors_without_entry)" 0 "and lack nothing"
converts q8.out -r Q8_0 >/dev/null
same q8w.out q8.out "the same tensors"

# without data
ok "experts without data weigh 1 in every column" converts idle.out -r Q3_K_S --imatrix "$tmp/idle.gguf" --json
is "$(value matrices_without_data) $(value missing) $(value first_without)" "6 uniform blk.1.ffn_gate_exps.weight" "by default, with counts"
ok "the older form says the same of them" converts idle2.out -r Q3_K_S --imatrix "$tmp/idle.dat" --json
is "$(value matrices_without_data)" 6 "by means that are all 1"
ok "--imatrix-missing layer weighs them by the others" converts layer.out -r Q3_K_S --imatrix "$tmp/idle.gguf" --imatrix-missing layer
has "$tmp/stdout" "6 of 81 matrices without data, weighed by the mean" "and says so"
differ idle.out layer.out "which is another file"
is "$("$PARE" diff "$tmp/idle.out" "$tmp/layer.out" | tail -n 1)" "6 of 52 tensors differ" "in those tensors alone"
fails 3 "--imatrix-missing fail refuses" converts none.out -r Q3_K_S --imatrix "$tmp/idle.gguf" --imatrix-missing fail
has "$tmp/stderr" "0 of 35 tensors have no entry, 6 of 81 matrices no data" "with counts"
ok "but not what lacks nothing" converts full.out -r Q3_K_S --imatrix "$tmp/w.gguf" --imatrix-missing fail
ok "a tensor without an entry is encoded without" converts less.out -r Q4_K_M --imatrix "$tmp/less.gguf" --json
is "$(value tensors_without_entry) $(value first_without)" "1 blk.1.attn_q_a.weight" "with counts"
is "$(value entries_unused) $(value first_unused)" "1 blk.99.ffn_up.weight" "as is an entry without a tensor"
fails 3 "which --imatrix-missing fail refuses, too" converts none.out -r Q4_K_M --imatrix "$tmp/less.gguf" --imatrix-missing fail
has "$tmp/stderr" "blk.1.attn_q_a.weight" "by its name"
ok "what an undivided kv_b saw weighs attn_v_b" converts kv_b.out -r Q4_K_M --imatrix "$tmp/kv_b.gguf" --json
is "$(value tensors_from_kv_b) $(value tensors_without_entry) $(value first_without)" "3 3 blk.0.attn_k_b.weight" "and not attn_k_b"
is "$(value entries_unused)" 0 "every entry is used"

# refused
make "$tmp/wide.gguf" --without blk.1.attn_q_a.weight --extra blk.1.attn_q_a.weight
fails 3 "an entry of another size is refused" "$PARE" plan "$nano" -r Q4_K_M --imatrix "$tmp/wide.gguf"
has "$tmp/stderr" "1 x 32 columns for a tensor of 1 x 256: '$tmp/wide.gguf', tensor 'blk.1.attn_q_a.weight'" "by its name and file"
make "$tmp/embd.gguf" --extra token_embd.weight
ok "but for token_embd, which is not multiplied with anything" "$PARE" plan "$nano" -r Q4_K_M --imatrix "$tmp/embd.gguf"
fails 2 "Q2_K_S needs an imatrix" "$PARE" plan "$nano" -r Q2_K_S
has "$tmp/stderr" "Q2_K_S needs an importance matrix (--imatrix)" "and says so"
ok "with one it is planned" "$PARE" plan "$nano" -r Q2_K_S --imatrix "$tmp/w.gguf"
fails 3 "unless it lacks a tensor" "$PARE" plan "$nano" -r Q2_K_S --imatrix "$tmp/less.gguf"
fails 2 "an unknown way is misuse" "$PARE" plan "$nano" --imatrix "$tmp/w.gguf" --imatrix-missing guess
fails 2 "and so is a way without an imatrix" "$PARE" plan "$nano" --imatrix-missing layer
fails 4 "an imatrix that is not there exits 4" "$PARE" plan "$nano" --imatrix "$tmp/nowhere"
fails 3 "a model is none" "$PARE" plan "$nano" --imatrix "$tmp/q8.out"
fails 2 "the imatrix is no output" converts w.gguf -r Q4_K_M --imatrix "$tmp/w.gguf" --force

# an interrupted run and parts
"$TOOLS/mkimatrix" "$nano" "$tmp/part.gguf" --seed 3
parts() { converts split.gguf -r Q4_K_M --split-max-size 1M --imatrix "$@"; }
ok "one part" parts "$tmp/w.gguf" --part 1/2
cp "$tmp/w.gguf" "$tmp/kept"
cp "$tmp/part.gguf" "$tmp/w.gguf"
ok "and another by another imatrix of the same name" parts "$tmp/w.gguf" --part 2/2
fails 3 "do not become one" "$PARE" merge "$tmp/split.gguf.part-1-of-2.manifest.json" "$tmp/split.gguf.part-2-of-2.manifest.json"
has "$tmp/stderr" "imatrix" "and it says why"
cp "$tmp/kept" "$tmp/w.gguf"
ok "by the same they do" parts "$tmp/w.gguf" --part 2/2 --force
ok "become one" "$PARE" merge "$tmp/split.gguf.part-1-of-2.manifest.json" "$tmp/split.gguf.part-2-of-2.manifest.json"
has "$tmp/split.gguf.manifest.json" "XXH3-128" "which names its imatrix"
same split.gguf w.out "and has the whole's tensors"
done_testing
