#!/bin/sh
# SPDX-License-Identifier: MIT
# Headers and indexes with very many tensors: no step takes time for all pairs of them, and memory is bounded by the
# header's bytes. Bounds are generous; without sanitizers, which need several times as much, there is a second size.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-$PWD/pare}

# header N: names in the manner of experts, in an order that is not theirs
header()
{
    awk -v n="$1" 'BEGIN {
        for (i = 0; i < n; i++)
            printf "%s\"model.layers.%d.experts.%d.down_proj\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}",
                i ? "," : "{", i * 7919 % n / 256, i * 7919 % n % 256
        printf "}"
    }'
}

# index N
index()
{
    awk -v n="$1" 'BEGIN {
        for (i = 0; i < n; i++)
            printf "%s\"model.layers.%d.experts.%d.down_proj\":\"s\"", i ? "," : "{\"weight_map\":{", i / 256, i % 256
        printf "}}"
    }'
}

# le64 N: eight bytes
le64()
{
    le=$1
    for k in 1 2 3 4 5 6 7 8; do
        printf "\\$(printf %03o $((le % 256)))"
        le=$((le / 256))
    done
}

# opened N SECONDS: a file of N tensors, within so many seconds of CPU and 12 times the header and 64 MiB
opened()
{
    rm -rf "$tmp/ck"
    mkdir "$tmp/ck"
    header "$1" >"$tmp/header"
    bytes=$(($(wc -c <"$tmp/header")))
    { le64 $bytes; cat "$tmp/header"; } >"$tmp/ck/s"
    kib=$((bytes / 1024 * 12 + 65536))
    case $PARE in *build-*) kib=unlimited ;; esac
    ok "$1 tensors in a safetensors file are listed in $2 s and 12 times the header" env OMP_STACKSIZE=256k \
        sh -c "ulimit -t $2; ulimit -v $kib; exec '$PARE' inspect $tmp/ck/s"
    has "$tmp/stdout" " $1 tensors" "all $1 of them"
}

# checked N SECONDS: an index of the tensors of the file before
checked()
{
    index "$1" >"$tmp/ck/model.safetensors.index.json"
    fails 3 "$1 tensors in an index are checked in $2 s" sh -c "ulimit -t $2; exec '$PARE' inspect $tmp/ck"
    has "$tmp/stderr" "no config.json" "up to the configuration, which is missing"
}

case $PARE in
*build-*)
    opened 100000 40
    checked 100000 40
    skip "sanitizers are too slow for it" "400,000 tensors"
    ;;
*)
    opened 100000 2
    checked 100000 2
    opened 400000 8
    ;;
esac
done_testing
