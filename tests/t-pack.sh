#!/bin/sh
# SPDX-License-Identifier: MIT
# Expert packs: what tar makes of them, every byte of them checked, back to GGUF and to other packs, subsets, splits and parts, and
# programs that read them without us (docs/examples).
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
nano=tests/data/nano-v3
p=$tmp/p
mkdir "$p" "$tmp/x"
LC_ALL=C
export LC_ALL

# pack NAME WORDS...: nano-v3 as $p/NAME.tar
pack()
{
    name=$1
    shift
    "$PARE" convert "$nano" -o "$p/$name.tar" --to pack -q "$@"
}
# field FILE NAME KEY: of the manifest's line that names NAME
field()
{
    head -c 200000 "$1" | tr '{' '\n' | grep -a "^\"name\":\"$2\"" | sed "s/.*\"$3\":\"\{0,1\}\([^,\"}]*\).*/\1/"
}

# what tar makes of it
ok "nano-v3 becomes a pack" pack q8 -r Q8_0_EXPERTS
tar tf "$p/q8.tar" >"$tmp/list"
is "$(head -n 2 "$tmp/list" | tr '\n' ' ')$(grep -c ^tensors/ "$tmp/list") $(grep -c ^experts/ "$tmp/list") $(wc -l <"$tmp/list")" \
    "manifest.json config.json 95 24 125" "tar lists manifest, side files, 95 tensors and 24 bundles"
ok "tar extracts it" tar xf "$p/q8.tar" -C "$tmp/x"
is "$(find "$tmp/x" -type f | wc -l)" 125 "into as many files: what aligns members makes none"
ok "the tokenizer is the source's" cmp "$tmp/x/tokenizer.json" "$nano/tokenizer.json"
tensor=model.layers.2.mlp.shared_experts.up_proj.weight
off=$(field "$p/q8.tar" $tensor offset) size=$(field "$p/q8.tar" $tensor size)
is $((off % 4096)) 0 "a tensor begins at a multiple of 4096"
dd if="$p/q8.tar" bs=4096 skip=$((off / 4096)) count=$((size / 4096)) 2>/dev/null >"$tmp/cut"
ok "the bytes at its offset are those that tar extracts" cmp "$tmp/cut" "$tmp/x/tensors/$tensor"
ok "one thread writes the same" pack j1 -r Q8_0_EXPERTS -j 1 --memory 60M
ok "byte for byte" cmp "$p/j1.tar" "$p/q8.tar"
planned=$("$PARE" plan "$nano" --to pack -r Q8_0_EXPERTS | sed -n 's/.*total \([0-9]*\) bytes.*/\1/p')
is "$(wc -c <"$p/q8.tar")" "$planned" "of exactly the planned $planned bytes"

# sources of every command
"$PARE" inspect "$p/q8.tar" >"$tmp/inspect"
has "$tmp/inspect" "1-3                8    208.90 kB    208.90 kB      1.67 MB  24 Q8_0" "inspect tells bytes of an expert and of a layer"
ok "check finds no problem" "$PARE" check "$p/q8.tar" -q
ok "nor by the manifest beside it" "$PARE" check "$p/q8.tar" -q -m "$p/q8.tar.manifest.json"
ok "a manifest of it is made" "$PARE" manifest "$p/q8.tar" -o "$tmp/m.json" -q
"$PARE" convert "$nano" -o "$p/a.gguf" -r Q8_0 -q >/dev/null
ok "it becomes GGUF" "$PARE" convert "$p/q8.tar" -o "$p/b.gguf" -r Q8_0 -q
has "$tmp/stdout" "98304 of 98304 blocks carried over" "whose experts are carried over, every block"
ok "byte for byte as from the release" cmp "$p/a.gguf" "$p/b.gguf"
ok "a GGUF keeps the blocks that are of the wanted type" "$PARE" convert "$p/a.gguf" -o "$p/c.gguf" -r Q8_0 -q
has "$tmp/stdout" "blocks carried over without loss" "and says so"
fails 1 "the default leaves everything but experts as released" sh -c '"$1" convert "$2" --to pack -o "$3" --search compat -q && "$1" diff "$2" "$3"' sh "$PARE" "$nano" "$p/d.tar"
is "$(grep -c _exps "$tmp/stdout"),$(tail -n 1 "$tmp/stdout")" "9,9 of 76 tensors differ" "only experts differ"
ok "of source nothing is changed" pack s -r source --layout plain --align 512
ok "no number" "$PARE" diff "$nano" "$p/s.tar"
tar xOf "$p/s.tar" config.json >"$tmp/config"
ok "nor the configuration" cmp "$tmp/config" "$nano/config.json"
ok "a pack of a pack" "$PARE" convert "$p/q8.tar" --to pack -r source -o "$p/again.tar" --align 65536 -q
tar xOf "$p/again.tar" experts/003/007 >"$tmp/bundle"
ok "has its bundles" cmp "$tmp/bundle" "$tmp/x/experts/003/007"
ok "verify measures it" "$PARE" verify "$nano" "$p/q8.tar" --tokens "$nano/golden/tokens.bin" --chunks 1 --ctx 64 -q --max-kld 0.01

# damage
ok "a small pack" pack small -r Q8_0_EXPERTS --experts 2:6 --experts-only
ok "without any" "$PARE" check "$p/small.tar" -q
struck=0 found=0
cp "$p/small.tar" "$tmp/d.tar"
first=$(field "$p/small.tar" config.json offset) end=$(wc -c <"$p/small.tar")
bundle=$(head -c 20000 "$p/small.tar" | tr '{' '\n' | grep -a '^"layer":2,"expert":6' | sed 's/.*"offset":\([0-9]*\).*/\1/')
for at in 0 130 512 700 2500 $((first - 300)) $((first + 5)) $((bundle - 512)) $((bundle - 1000)) $((bundle - 4000)) $((bundle + 100)) \
    $((bundle + 208895)) $((end - 1)) $((end - 1024)); do
    old=$(od -An -tu1 -j "$at" -N 1 "$p/small.tar")
    printf "\\$(printf %o $((old ^ 4)))" | dd of="$tmp/d.tar" bs=1 seek="$at" conv=notrunc 2>/dev/null
    struck=$((struck + 1))
    "$PARE" check "$tmp/d.tar" -q >"$tmp/stdout" 2>"$tmp/stderr"
    got=$?
    if [ $got -eq 1 ] || [ $got -eq 3 ]; then found=$((found + 1)); else note "not found at $at"; fi
    printf "\\$(printf %o $((old)))" | dd of="$tmp/d.tar" bs=1 seek="$at" conv=notrunc 2>/dev/null
done
is $found $struck "of $struck flipped bits in headers, records, manifest, side files, an expert and the end, each is found"
end=$(wc -c <"$p/q8.tar")
bundle=$(head -c 200000 "$p/q8.tar" | tr '{' '\n' | grep -a '^"layer":2,"expert":6' | sed 's/.*"offset":\([0-9]*\).*/\1/')
head -c $((end - 600)) "$p/q8.tar" >"$tmp/cut.tar"
fails 3 "a pack that was cut does not open" "$PARE" inspect "$tmp/cut.tar"
cp "$p/q8.tar" "$tmp/d.tar"
printf '\377' | dd of="$tmp/d.tar" bs=1 seek=$((bundle + 9)) conv=notrunc 2>/dev/null
fails 3 "a conversion from a damaged pack ends at the tensor" "$PARE" convert "$tmp/d.tar" -o "$tmp/d.gguf" -r Q8_0 -q
has "$tmp/stderr" "not those of its hash" "by its hash"

# types for each expert
cat >"$tmp/mix.json" <<'END'
{"name": "mix", "base": "source", "rules": [
 {"layers": "1", "experts": "0-3", "roles": ["ffn_gate_exps"], "type": "Q8_0"},
 {"experts": "0-5", "roles": ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"], "type": "INT4-G128"},
 {"experts": "6", "roles": ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"], "type": "Q3_K"},
 {"roles": ["attn_kv_b"], "type": "Q6_K"}]}
END
ok "experts get types of their own, by rules" pack mix -r "$tmp/mix.json"
"$PARE" inspect "$p/mix.tar" >"$tmp/inspect"
has "$tmp/inspect" "4 Q8_0, 14 INT4-G128, 3 Q3_K, 3 F8_E4M3" "as inspect lists"
ok "check finds no problem" "$PARE" check "$p/mix.tar" -q
fails 3 "GGUF cannot hold them" "$PARE" convert "$p/mix.tar" -o "$tmp/mix.gguf" -r Q8_0 -q
has "$tmp/stderr" "layer 1 ffn_gate_exps 4 x Q8_0, 2 x INT4-G128, 1 x Q3_K, 1 x F8_E4M3; layer 1 ffn_up_exps" "and the list says why"
ok "--requantize makes one type of them" "$PARE" convert "$p/mix.tar" -o "$tmp/mix.gguf" -r F32 --requantize --mtp keep -q
ok "of the decoded values" "$PARE" diff "$p/mix.tar" "$tmp/mix.gguf"
ok "a folder of another engine is made of a pack, too" "$PARE" convert "$p/mix.tar" -o "$tmp/ct" --to compressed-tensors -r W4A16_EXPERTS -q

# importance and error feedback, also where the first expert is missing
"$TOOLS/mkimatrix" "$nano" "$tmp/w.gguf"
"$PARE" convert "$nano" -o "$p/w.gguf" -r Q4_K --pure --search compat --imatrix "$tmp/w.gguf" --mtp keep -q >/dev/null
ok "experts are weighed" pack w -r Q4_K_EXPERTS --search compat --imatrix "$tmp/w.gguf" --experts "1:1-3,7;3" --experts-only
"$PARE" diff "$p/w.gguf" "$p/w.tar" -a >"$tmp/diff"
is "$(grep -c '_exps.*0.000e+00 0.000e+00   0.00' "$tmp/diff")" 6 "as in a GGUF by the same importance"
printf '{"base": "Q4_K_EXPERTS", "rules": [{"experts": "0", "type": "Q8_0"}]}' >"$tmp/hot.json"
ok "also behind an expert whose type does not weigh" pack hot -r "$tmp/hot.json" --search compat --imatrix "$tmp/w.gguf" --experts "1:0-3" --experts-only
ok "a subset of a subset" "$PARE" convert "$p/hot.tar" --to pack -r source --experts "1:1-3" -o "$p/cold.tar" -q
"$PARE" diff "$p/w.gguf" "$p/cold.tar" -a >"$tmp/diff"
is "$(grep -c '_exps.*0.000e+00 0.000e+00   0.00' "$tmp/diff")" 3 "has experts that are as in that GGUF"

# subsets
ok "a pack of some experts" pack sub -r Q8_0_EXPERTS --experts "1:0-3;2"
printf '{"1": [0, 1, 2, 3], "2": [7, 6, 5, 4, 3, 2, 1, 0]}' >"$tmp/set.json"
ok "or by a file" pack file -r Q8_0_EXPERTS --experts "@$tmp/set.json"
ok "which is the same" cmp "$p/sub.tar" "$p/file.tar"
ok "can be checked" "$PARE" check "$p/sub.tar" -q
"$PARE" inspect "$p/sub.tar" >"$tmp/inspect" 2>&1
has "$tmp/inspect" "this pack holds some of the routed experts" "and inspected"
fails 1 "and compared" "$PARE" diff "$p/sub.tar" "$p/q8.tar"
has "$tmp/stdout" "4 experts are on one side only" "with what it has"
fails 3 "it becomes nothing whole" "$PARE" convert "$p/sub.tar" -o "$tmp/sub.gguf" -q
has "$tmp/stderr" "12 of 24 routed experts are not in this pack, the first is expert 4 of layer 1" "because experts are missing"
fails 3 "and cannot run" "$PARE" verify "$p/sub.tar" --tokens "$nano/golden/tokens.bin" --chunks 1 -q
for wrong in "0:1" "1:8" "9" "1:" "x" "1:3-1" "1;" "1:2,,3" "99999999999"; do
    fails 2 "--experts '$wrong' is refused" pack wrong --experts "$wrong"
done
fails 2 "an alignment of 1000 is refused" pack wrong --align 1000
fails 2 "--layout is for packs" "$PARE" convert "$nano" -o "$tmp/x.gguf" --layout plain
fails 2 "a GGUF becomes no pack" "$PARE" convert "$p/a.gguf" -o "$tmp/x.tar" --to pack
fails 2 "types of tiles are refused" pack wrong --type ffn_up_exps=FP8-BLOCK

# files and parts
mkdir "$tmp/split" "$tmp/parts"
ok "a split pack" "$PARE" convert "$nano" -o "$tmp/split/m.tar" --to pack -r Q8_0_EXPERTS --split-max-size 5M -q
is "$(cd "$tmp/split" && echo *)" "m-00001-of-00003.tar m-00002-of-00003.tar m-00003-of-00003.tar m.tar.manifest.json" "is three files"
is "$(find "$tmp/split" -size +5000000c)" "" "none is larger"
ok "it opens by the whole's name" "$PARE" check "$tmp/split/m.tar" -q
ok "and by any file's, with the values of a single one" "$PARE" diff "$tmp/split/m-00003-of-00003.tar" "$p/q8.tar"
for i in 2 1; do
    "$PARE" convert "$nano" -o "$tmp/parts/m.tar" --to pack -r Q8_0_EXPERTS --split-max-size 5M --part $i/2 -q >/dev/null
done
ok "two runs write a part each" "$PARE" merge "$tmp/parts/m.tar.part-1-of-2.manifest.json" "$tmp/parts/m.tar.part-2-of-2.manifest.json"
same=0
for i in 1 2 3; do
    cmp "$tmp/split/m-0000$i-of-00003.tar" "$tmp/parts/m-0000$i-of-00003.tar" && same=$((same + 1))
done
is $same 3 "with the same bytes"
mv "$tmp/split/m-00002-of-00003.tar" "$tmp/away"
fails 3 "a missing file is told" "$PARE" inspect "$tmp/split/m-00001-of-00003.tar"
has "$tmp/stderr" "file 2 of 3 is missing" "by its number"

# programs of others
row=model.layers.2.mlp.experts.6.down_proj.weight
"$PARE" convert "$p/q8.tar" -o "$p/f32.gguf" -r F32 -q >/dev/null
at=$("$PARE" inspect "$p/f32.gguf" --json --tensors | tr -d ' \t\n' | sed 's/.*"name":"blk.2.ffn_down_exps.weight"[^}]*"offset":\([0-9]*\).*/\1/')
od -An -v -tf4 -j $((at + 4 * 256 * (256 * 6 + 5))) -N 1024 "$p/f32.gguf" | tr -s ' ' '\n' | grep . >"$tmp/want"
ok "a program without our library reads a row of an expert" "$TOOLS/pack_reader" "$p/q8.tar" $row 5
is "$(paste "$tmp/stdout" "$tmp/want" | awk '$1 - $2 > 1e-8 || $2 - $1 > 1e-8 { n++ } END { print NR, n + 0 }')" "256 0" "with our values"
pack q4 -r Q4_0_EXPERTS >/dev/null
ok "also of Q4_0" "$TOOLS/pack_reader" "$p/q4.tar" $row 0
fails 1 "it finds damage" "$TOOLS/pack_reader" "$tmp/d.tar" model.layers.2.mlp.experts.6.gate_proj.weight 0
has "$tmp/stderr" "CRC-32" "by the CRC-32"
fails 1 "and an expert that was cut off" "$TOOLS/pack_reader" "$tmp/cut.tar" none 0
head -c $((bundle + 50)) "$p/q8.tar" >"$tmp/cut.tar"
fails 1 "before its end" "$TOOLS/pack_reader" "$tmp/cut.tar" $row 0
has "$tmp/stderr" "does not lie in the file" "by its place"
fails 1 "and a manifest that was" sh -c 'head -c 9000 "$1" >"$2.cut"; "$3" "$2.cut" none 0' sh "$p/q8.tar" "$tmp/d" "$TOOLS/pack_reader"

ok "a forward pass up to layer 2" "$TOOLS/layer-state" "$p/q8.tar" 2 "$nano/golden/tokens.bin" 37 "$tmp/in" "$tmp/out"
ok "the layer's experts from the pack alone" "$TOOLS/moe_layer" "$p/q8.tar" 2 "$tmp/in" "$tmp/got"
cp "$tmp/stdout" "$tmp/told"
has "$tmp/told" "experts read 417792 of 1671168 bytes" "two of eight experts"
read=$(sed -n 's/.*the layer read //p' "$tmp/told")
ok "and no byte of others: $read were read, with the shared expert's, router and norm" test "$read" -lt 640000
ok "give the same bits" cmp "$tmp/out" "$tmp/got"
cp "$p/q8.tar" "$tmp/d.tar"
for x in 0 1 2 3 4 5 6 7; do
    grep -q "^expert $x," "$tmp/told" && continue
    at=$(head -c 200000 "$p/q8.tar" | tr '{' '\n' | grep -a "^\"layer\":2,\"expert\":$x," | sed 's/.*"offset":\([0-9]*\).*/\1/')
    head -c 208896 /dev/zero | tr '\0' '\377' | dd of="$tmp/d.tar" bs=4096 seek=$((at / 4096)) conv=notrunc 2>/dev/null
done
ok "the other six may be destroyed" "$TOOLS/moe_layer" "$tmp/d.tar" 2 "$tmp/in" "$tmp/got"
ok "without any difference" cmp "$tmp/out" "$tmp/got"
done_testing
