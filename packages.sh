#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: packages.sh PKGCONFIG_NAME... HEADER.h...
# Looks for the compiler and libraries that the build needs; says what is missing and installs it with the system's
# package manager (apt, dnf or Homebrew; with sudo when not root). Quick and silent when nothing is missing.
set -eu

missing=
command -v "${CC:-cc}" >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || missing=" compiler"
if command -v pkg-config >/dev/null 2>&1; then
    for name in "$@"; do
        case $name in
            *.h) echo "#include <$name>" | "${CC:-cc}" -E -o /dev/null - 2>/dev/null ;;
            *) pkg-config --exists "$name" ;;
        esac || missing="$missing $name"
    done
else
    missing="$missing pkg-config"
fi
[ -n "$missing" ] || exit 0

root=
[ "$(id -u)" -eq 0 ] || root=sudo
if command -v apt-get >/dev/null 2>&1; then
    list="build-essential pkg-config zlib1g-dev libarchive-dev libcjson-dev libxxhash-dev libpcre2-dev libhtscodecs-dev libcurl4-openssl-dev"
    install="$root apt-get update -qq && $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $list"
elif command -v dnf >/dev/null 2>&1; then
    list="gcc make pkgconf-pkg-config zlib-devel libarchive-devel cjson-devel xxhash-devel pcre2-devel htscodecs-devel libcurl-devel"
    install="$root dnf install -y $list"
elif command -v brew >/dev/null 2>&1; then
    list="pkg-config zlib libarchive cjson xxhash pcre2 libomp htscodecs curl"
    install="brew install $list"
else
    echo "missing:$missing; no package manager that this script knows (apt, dnf, Homebrew)" >&2
    exit 1
fi
echo "missing:$missing; installing: $list" >&2
sh -c "$install" >&2 || { echo "could not install them; run: $install" >&2; exit 1; }
