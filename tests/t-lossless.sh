#!/bin/sh
# SPDX-License-Identifier: MIT
# Lossless packs: --to pack -r source --compress keeps a release in fewer bytes, by any number of threads, in files and parts, through kills
# and damage; every command reads it; --to source gives the release back byte for byte; damage is found.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-$PWD/pare}
nano=tests/data/nano-v3

pack() { out=$1; shift; "$PARE" convert "$nano" --to pack -r source --compress -o "$tmp/$out" -q "$@"; }
# released FOLDER: its shards and what lies beside them are the release's
released()
{
    for file in model-00001-of-000003.safetensors model-00002-of-000003.safetensors model-00003-of-000003.safetensors \
        model.safetensors.index.json config.json tokenizer.json tokenizer_config.json generation_config.json; do
        cmp "$nano/$file" "$1/$file" || return 1
    done
}

ok "a release is packed" pack one.tar
ok "it is proven" "$PARE" check "$tmp/one.tar" -q
ok "plain tar lists it" sh -c 'tar tf "$1" | grep -q experts/001/000' sh "$tmp/one.tar"
"$PARE" convert "$nano" --to pack -r source -o "$tmp/plain.tar" -q >/dev/null
ok "it is shorter by a fifth" test "$(stat -c %s "$tmp/one.tar")" -lt $(($(stat -c %s "$tmp/plain.tar") * 8 / 10))
ok "and holds the same" "$PARE" diff "$tmp/plain.tar" "$tmp/one.tar" -q
for threads in 1 2 5; do
    ok "$threads threads" pack t.tar -j $threads -f
    ok "make the same bytes" cmp "$tmp/one.tar" "$tmp/t.tar"
done
ok "back again" "$PARE" convert "$tmp/one.tar" --to source -o "$tmp/back" -q
ok "every file is the release's" released "$tmp/back"
ok "and proven" "$PARE" check "$tmp/back" -q
ok "a pack of the pack" "$PARE" convert "$tmp/one.tar" --to pack -r source --compress --layout plain --align 512 -o "$tmp/again.tar" -q
ok "becomes the release, too" "$PARE" convert "$tmp/again.tar" --to source -o "$tmp/back2" -q
ok "with every file" released "$tmp/back2"
ok "a GGUF of it" "$PARE" convert "$tmp/one.tar" -o "$tmp/pack.gguf" -r Q4_K_M --name nano-v3 -q
ok "a GGUF of the release" "$PARE" convert "$nano" -o "$tmp/folder.gguf" -r Q4_K_M --name nano-v3 -q
ok "are the same bytes" cmp "$tmp/pack.gguf" "$tmp/folder.gguf"
ok "verify reads it" "$PARE" verify "$nano" "$tmp/one.tar" --tokens "$nano/golden/tokens.bin" --chunks 1 --no-local -q
has "$tmp/stdout" "KL(base || candidate), mean              0.000000" "and finds no difference"

ok "several files" pack split.tar --split-max-size 2M
n=$(ls "$tmp" | grep -c '^split-0.*tar$')
ok "are a pack" "$PARE" check "$tmp/split-00001-of-0000$n.tar" -q
for part in 1 2; do
    ok "part $part" pack part.tar --split-max-size 2M --part $part/2
done
i=0
while [ $i -lt "$n" ]; do
    i=$((i + 1))
    name=$(printf -- '-%05d-of-%05d.tar' $i "$n")
    cmp "$tmp/split$name" "$tmp/part$name" >/dev/null || echo "$name" >>"$tmp/differ"
done
ok "are those of one run" test ! -e "$tmp/differ"
ok "back from several files" "$PARE" convert "$tmp/split-00001-of-0000$n.tar" --to source -o "$tmp/back3" -q
ok "every file is the release's, again" released "$tmp/back3"

# kills, and a byte that changes before the run goes on
for after in 0.01 0.02 0.03 0.05 0.08 0.12; do
    [ ! -e "$tmp/killed.tar" ] || break
    timeout -s KILL $after "$PARE" convert "$nano" --to pack -r source --compress -o "$tmp/killed.tar" -q --sync-every 64K -j 2 --rehash >/dev/null 2>&1
    [ ! -e "$tmp/killed.tar.partial" ] || printf X | dd of="$tmp/killed.tar.partial" bs=1 seek=400000 conv=notrunc 2>/dev/null
done
[ -e "$tmp/killed.tar" ] || pack killed.tar --sync-every 64K --rehash >"$tmp/stdout" 2>"$tmp/stderr"
ok "up to six kills and as many damaged bytes later the bytes are those of an undisturbed run" cmp "$tmp/one.tar" "$tmp/killed.tar"

# damage: a byte of the manifest, of a header, of a table, of chunks, of the end
size=$(stat -c %s "$tmp/one.tar")
rm "$tmp/one.tar.manifest.json"
for at in 700 200000 300100 $((size / 2)) $((size / 2 + 777777)) $((size - 3000)) $((size - 600)); do
    cp "$tmp/one.tar" "$tmp/bad.tar"
    byte=$(od -An -tu1 -j $at -N 1 "$tmp/bad.tar")
    printf "\\$(printf %o $(((byte + 1) % 256)))" | dd of="$tmp/bad.tar" bs=1 seek=$at conv=notrunc 2>/dev/null
    "$PARE" check "$tmp/bad.tar" -q >/dev/null 2>&1
    status=$?
    ok "a byte at $at of $size that changed is found" test $status -eq 1 -o $status -eq 3
done
head -c $((size / 2)) "$tmp/one.tar" >"$tmp/short.tar"
fails 3 "half a pack is refused" "$PARE" check "$tmp/short.tar" -q
fails 3 "also as a source" "$PARE" convert "$tmp/short.tar" --to source -o "$tmp/back4" -q

fails 2 "a pack of other types has no release in it" sh -c '"$1" convert "$2" --to pack -o "$3/q.tar" -q && "$1" convert "$3/q.tar" --to source -o "$3/back5" -q' \
    sh "$PARE" "$nano" "$tmp"
has "$tmp/stderr" "made with --recipe source" "which it says"
fails 2 "nor has a folder" "$PARE" convert "$nano" --to source -o "$tmp/back6" -q
fails 2 "types do not go with it" "$PARE" convert "$tmp/one.tar" --to source --type output=Q8_0 -o "$tmp/back7" -q
fails 2 "only packs are coded" "$PARE" convert "$nano" --compress -o "$tmp/x.gguf" -q
ok "quantized packs can be" "$PARE" convert "$nano" --to pack --compress -o "$tmp/qc.tar" -q
ok "and hold the same" "$PARE" diff "$tmp/q.tar" "$tmp/qc.tar" -q
done_testing
