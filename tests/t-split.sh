#!/bin/sh
# SPDX-License-Identifier: MIT
# Split outputs: their names, keys and sizes; parts of them written by independent processes; manifests of parts joined into that
# of the whole, and what is refused on the way.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
nano=tests/data/nano-v3
max=1500000
mkdir "$tmp/ck" "$tmp/one" "$tmp/split" "$tmp/parts" "$tmp/other"

# split FOLDER WORDS...: nano-v3 as FOLDER/m.gguf, in files of at most $max bytes
split()
{
    folder=$1
    shift
    "$PARE" convert "$nano" -o "$folder/m.gguf" -r Q8_0 -q --split-max-size $max "$@"
}
# pair FILE KEY N: the N bytes behind a key, its type first (2: 16 bits, 5: 32 bits with sign)
pair()
{
    at=$(LC_ALL=C grep -abo "$2" "$1" | head -n 1 | cut -d : -f 1)
    od -An -v -tu1 -j $((at + ${#2})) -N "$3" "$1" | tr -s ' \n' ' ' | sed 's/ $//'
}

# files
"$PARE" convert "$nano" -o "$tmp/one/m.gguf" -r Q8_0 -q >/dev/null
ok "nano-v3 is written in files of at most 1.5 MB" split "$tmp/split"
is "$(cd "$tmp/split" && echo *)" "$(for i in 1 2 3 4 5 6; do printf 'm-0000%d-of-00006.gguf ' $i; done)m.gguf.manifest.json" \
    "named as gguf-split names them, with one manifest"
is "$(find "$tmp/split" -name '*.gguf' -size +${max}c | wc -l)" 0 "none is larger"
planned=$("$PARE" plan "$nano" -r Q8_0 --split-max-size $max | sed -n 's/.*total \([0-9]*\) bytes.*/\1/p')
is "$(cat "$tmp"/split/*.gguf | wc -c)" "$planned" "together they have exactly the planned $planned bytes"
for i in 1 2 3 4 5 6; do
    file=$tmp/split/m-0000$i-of-00006.gguf
    is "$(pair "$file" split.no 6),$(pair "$file" split.count 6),$(pair "$file" split.tensors.count 8)" \
        " 2 0 0 0 $((i - 1)) 0, 2 0 0 0 6 0, 5 0 0 0 52 0 0 0" "file $i: split.no $((i - 1)), split.count 6, split.tensors.count 52"
    "$PARE" inspect "$file" >"$tmp/inspect" 2>&1
    has "$tmp/inspect" "6 files, 52 tensors" "it opens the whole model"
done
ok "the split model's values are those of the single file" "$PARE" diff "$tmp/split/m-00001-of-00006.gguf" "$tmp/one/m.gguf"
for model in split/m-00001-of-00006 one/m; do
    "$PARE" verify "$nano" "$tmp/$model.gguf" --text README.md --chunks 1 --ctx 64 -q --json | grep -v 'm.*\.gguf"' >"$tmp/report-${model%%/*}"
done
ok "and so is its verification, to the last digit" cmp "$tmp/report-split" "$tmp/report-one"
has "$tmp/report-split" '"kld"' "which was made"
cp "$tmp/split/m.gguf.manifest.json" "$tmp/manifest"

# check
for i in 1 4; do
    ok "check of file $i" "$PARE" check "$tmp/split/m-0000$i-of-00006.gguf"
    has "$tmp/stdout" "hashes checked: no problem found" "finds the manifest of the whole, and no problem"
done
cp "$tmp/split/m-00004-of-00006.gguf" "$tmp/kept"
printf '\125' | dd of="$tmp/split/m-00004-of-00006.gguf" bs=1 seek=1200000 conv=notrunc 2>/dev/null
fails 1 "a changed byte in file 4 is found from file 1" "$PARE" check "$tmp/split/m-00001-of-00006.gguf"
has "$tmp/stdout" "the tensor's bytes differ from the manifest's hash" "by its hash"
cp "$tmp/kept" "$tmp/split/m-00004-of-00006.gguf"
mv "$tmp/split/m-00005-of-00006.gguf" "$tmp/away"
fails 3 "a missing file is found" "$PARE" check "$tmp/split/m-00001-of-00006.gguf"
has "$tmp/stderr" "part 5 of 6 is missing" "and named"
mv "$tmp/away" "$tmp/split/m-00005-of-00006.gguf"
cp "$tmp/one/m.gguf.manifest.json" "$tmp/split"
fails 1 "a manifest that knows only the single file proves nothing about the split ones" "$PARE" check "$tmp/split/m-00001-of-00006.gguf"
has "$tmp/stdout" "m-00002-of-00006.gguf: the manifest does not list this file" "which is said of each"
cp "$tmp/manifest" "$tmp/split/m.gguf.manifest.json"
fails 2 "a single file does not take the split one's manifest" "$PARE" convert "$nano" -o "$tmp/split/m.gguf" -r Q8_0 -q
has "$tmp/stderr" "the output exists (--force replaces it): '$tmp/split/m.gguf.manifest.json'" "which lies there"
is "$(cksum <"$tmp/split/m.gguf.manifest.json"),$(ls "$tmp/split" | wc -l)" "$(cksum <"$tmp/manifest"),7" "nothing was touched"

# parts
for i in 2 3 1; do
    split "$tmp/parts" --part $i/3 >"$tmp/part-$i" 2>&1 &
done
wait
ok "three processes at once write a part each" sh -c "cat $tmp/part-1 $tmp/part-2 $tmp/part-3; ls $tmp/parts/m.gguf.part-3-of-3.manifest.json"
for i in 1 2 3 4 5 6; do
    ok "file $i is that of the single process" cmp "$tmp/parts/m-0000$i-of-00006.gguf" "$tmp/split/m-0000$i-of-00006.gguf"
done
p=$tmp/parts/m.gguf.part
part() { echo "$p-$1-of-3.manifest.json"; }
ok "merge joins their manifests, in any order" "$PARE" merge "$(part 3)" "$(part 1)" "$(part 2)"
ok "into that of the single process" cmp "$tmp/parts/m.gguf.manifest.json" "$tmp/manifest"
ok "which check uses" "$PARE" check "$tmp/parts/m-00003-of-00006.gguf"
has "$tmp/stdout" "hashes checked: no problem found" "and finds no problem"
is "$(ls "$tmp/parts" | grep -c 'journal\|partial')" 0 "no journal and no partial file is left"
for n in 4 5 6; do
    for i in $(seq $n); do
        split "$tmp/other" --part $i/$n >/dev/null || echo "$i/$n failed"
    done
    is "$(cat "$tmp"/other/*.gguf | cksum)" "$(cat "$tmp"/split/m-*.gguf | cksum)" "$n parts, one after another, write the same bytes"
    ok "and the same manifest" sh -c "'$PARE' merge $tmp/other/m.gguf.part-* && cmp $tmp/other/m.gguf.manifest.json $tmp/manifest"
    rm "$tmp"/other/*
done

# what cannot be merged
rm "$tmp/parts/m.gguf.manifest.json"
refused() # TITLE TEXT COMMAND...
{
    title=$1 text=$2 status=3
    shift 2
    [ "$text" != "cannot open" ] || status=4
    fails $status "$title is refused" "$@"
    has "$tmp/stderr" "$text" "which is said"
    is "$(wc -l <"$tmp/stderr"),$(ls "$tmp/parts" | grep -c 'gguf.manifest')" 1,0 "in one line, and nothing is written"
}
refused "a missing part" "2 manifests were given, the conversion has 3 parts" "$PARE" merge "$(part 1)" "$(part 3)"
refused "the same part twice" "this part was given twice" "$PARE" merge "$(part 1)" "$(part 3)" "$(part 1)"
refused "a whole conversion's manifest" "no manifest of a conversion's part" "$PARE" merge "$tmp/manifest"
printf '{}' >"$tmp/empty"
refused "a part beside a file that is none" "this is no manifest of pare" "$PARE" merge "$(part 1)" "$(part 2)" "$tmp/empty"
# alien TITLE TEXT SOURCE WORDS...: part 2 comes from another conversion by the same name
alien()
{
    title=$1 text=$2 from=$3
    shift 3
    mkdir -p "$tmp/alien"
    rm -f "$tmp"/alien/*
    "$PARE" convert "$from" -o "$tmp/alien/m.gguf" -q --split-max-size $max --part 2/3 "$@" >/dev/null
    refused "$title" "$text" "$PARE" merge "$(part 1)" "$tmp/alien/m.gguf.part-2-of-3.manifest.json" "$(part 3)"
}
"$TOOLS/mkcheckpoint" --family v3 --tokenizer "$nano" --out "$tmp/ck/nano-v3" >/dev/null
alien "a part of another recipe" "is of another conversion" "$nano" -r F16
alien "a part with another type for a role" "is of another conversion" "$nano" -r Q8_0 --type attn_k_b=F16
alien "a part with another name of the model" "is of another conversion" "$nano" -r Q8_0 --name other
alien "a part with the MTP layer" "is of another conversion" "$nano" -r Q8_0 --mtp keep
alien "a part of another checkpoint by the same name" "is of another conversion" "$tmp/ck/nano-v3" -r Q8_0
cp "$tmp/parts/m-00003-of-00006.gguf" "$tmp/kept"
printf 'x' >>"$tmp/parts/m-00003-of-00006.gguf"
refused "a file of another size than its manifest's" "m-00003-of-00006.gguf" "$PARE" merge "$(part 1)" "$(part 2)" "$(part 3)"
cp "$tmp/kept" "$tmp/parts/m-00003-of-00006.gguf"
printf 'x' | dd of="$tmp/parts/m-00003-of-00006.gguf" bs=1 seek=40 conv=notrunc 2>/dev/null
refused "another header than the manifest's" "m-00003-of-00006.gguf" "$PARE" merge "$(part 1)" "$(part 2)" "$(part 3)"
rm "$tmp/parts/m-00003-of-00006.gguf"
refused "a file that is not there" "cannot open" "$PARE" merge "$(part 1)" "$(part 2)" "$(part 3)"

# what cannot be done
for part in 0/3 4/3 -1/3 1/0 1/4097 1 1/ /3 x 1/3x ''; do
    fails 2 "--part '$part' is refused" split "$tmp/other" --part "$part"
    has "$tmp/stderr" "is no I/N with I in 1..N" "with what it must be"
done
fails 2 "more parts than files are refused" split "$tmp/other" --part 1/7
has "$tmp/stderr" "7 parts of 6 output files" "with both numbers"
fails 2 "a part of a single file is refused" "$PARE" convert "$nano" -o "$tmp/other/m.gguf" -q --part 1/2
has "$tmp/stderr" "needs --split-max-size" "and told what it needs"
fails 2 "an existing file of a split output is not replaced" split "$tmp/split"
fails 2 "nor by a part of it" split "$tmp/split" --part 2/3
is "$(ls "$tmp/other" | wc -l)" 0 "none of this leaves a file"
ok "a bound smaller than any tensor gives each its file" "$PARE" convert "$nano" -o "$tmp/other/m.gguf" -r Q8_0 -q --split-max-size 1
is "$(ls "$tmp"/other/*.gguf | wc -l)" 49 "but for the halves of kv_b, which are made together: 49 files of 52 tensors"
ok "which is the same model" "$PARE" diff "$tmp/other/m-00049-of-00049.gguf" "$tmp/one/m.gguf"
ok "and whole" "$PARE" check "$tmp/other/m-00007-of-00049.gguf"

# an interrupted part
"$PARE" status "$tmp/parts/m.gguf.part-2-of-3" >"$tmp/stdout" 2>&1
has "$tmp/stdout" "complete" "status knows a part by its name"
done_testing
