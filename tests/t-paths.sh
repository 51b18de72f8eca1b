#!/bin/sh
# SPDX-License-Identifier: MIT
# Names and places of files: no name in an index leaves its folder (also t-checkpoint.c), special files never hang a run,
# links are followed only where the user's own hub cache puts them, and no output takes the place of an input.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-$PWD/pare}
nano=$PWD/tests/data/nano-v3
index=model.safetensors.index.json
one=model-00001-of-000003.safetensors
sum() { cat "$@" | cksum; }

# refused TITLE TEXT SHELL-COMMANDS: they run in a copy of nano-v3 with links for shards; inspect exits 3 within 2 s of CPU
refused()
{
    rm -rf "$tmp/ck"
    mkdir "$tmp/ck"
    cp "$nano"/*.json "$tmp/ck"
    ln -s "$nano"/*.safetensors "$tmp/ck"
    (cd "$tmp/ck" && eval "$3") || note "the damage itself failed"
    fails 3 "$1" timeout 60 sh -c "ulimit -t 20; exec '$PARE' inspect $tmp/ck"
    has "$tmp/stderr" "$2" "$1: '$2'"
}

# shards
mkdir "$tmp/hub" "$tmp/hub/blobs"
cp "$nano"/*.json "$tmp/hub"
i=0
for shard in "$nano"/*.safetensors; do
    i=$((i + 1))
    ln -s "$shard" "$tmp/hub/blobs/$i"
    ln -s "blobs/$i" "$tmp/hub/${shard##*/}"
done
ok "shards may be links to links, as in the hub's cache" "$PARE" inspect "$tmp/hub"
ln -s hub "$tmp/alias"
ok "the folder may be a link" "$PARE" inspect "$tmp/alias"
refused "a shard that is a link to nothing" "missing" "rm $one && ln -s nowhere $one"
refused "a shard that is a link to itself" "missing" "rm $one && ln -s $one $one"
refused "a shard that is a link to a device" "not a regular file" "rm $one && ln -s /dev/zero $one"
refused "a shard that is a link to its folder" "not a regular file" "rm $one && ln -s . $one"
refused "a shard in upper case beside the real one" "the index" \
    "ln -s $one MODEL.safetensors; sed -i '0,/$one/s//MODEL.safetensors/' $index"
refused "one shard under two names" "the index" "ln $one second.safetensors; sed -i '0,/$one/s//second.safetensors/' $index"
refused "a shard name of 5,000 digits" "missing" \
    "sed -i '0,/$one/s//$(printf %05000d 0)/' $index"
refused "a percent-encoded way up" "missing" "sed -i '0,/$one/s//..%2f..%2fetc%2fpasswd/' $index"
refused "a shard name that is a URL" "names no plain file" "sed -i '0,/$one/s##file:///etc/passwd#' $index"
refused "an escaped slash in a shard name" "names no plain file" "sed -i '0,/$one/s##..\\\\/x#' $index"
refused "an escape sequence for the terminal in a shard name" "names no plain file" "sed -i '0,/$one/s//\\\\u001b[2J/' $index"

# side files
refused "a config.json that is a FIFO" "not a regular file" "rm config.json && mkfifo config.json"
refused "a config.json that is a device" "not a regular file" "rm config.json && ln -s /dev/zero config.json"
refused "a config.json that is a folder" "not a regular file" "rm config.json && mkdir config.json"
refused "an index that is a device" "not a regular file" "rm $index && ln -s /dev/zero $index"
refused "a config.json of 1 GB" "more than the" "truncate -s 1G config.json"
refused "an index of 1 GB" "more than the" "truncate -s 1G $index"

# outputs: refused before anything is touched
cp -r "$nano" "$tmp/own"
before=$(sum "$tmp"/own/*.*)
ln -s "$one" "$tmp/own/link.gguf"
ln "$tmp/own/$one" "$tmp/own/hard.gguf"
mkfifo "$tmp/fifo"
for out in own/$one own/link.gguf own/hard.gguf own/./$one own/$index own/config.json own/tokenizer.json \
    own/tokenizer_config.json own/generation_config.json own fifo; do
    fails 2 "no output over $out, even with --force" "$PARE" convert "$tmp/own" -o "$tmp/$out" -f
done
fails 2 "no output over a device" "$PARE" convert "$tmp/own" -o /dev/null -f
fails 4 "no output in a folder that is not there" "$PARE" convert "$tmp/own" -o "$tmp/nowhere/x.gguf"
rm "$tmp/own/link.gguf" "$tmp/own/hard.gguf"
is "$(sum "$tmp"/own/*.*)" "$before" "the checkpoint keeps its bytes"
ok "an output beside the shards is fine" "$PARE" convert "$tmp/own" -o "$tmp/own/x.gguf" -q
done_testing
