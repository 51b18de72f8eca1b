#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: packaging/libcjson.sh OUT.a
# cJSON as a static library, which Debian has none of: the system's own where there is one, else one file compiled from the source of
# Debian's package. apt checks its signature; the system's lists and sources stay as they are.
set -eu

out=$1
cc=${CC:-cc}
have=$($cc -print-file-name=libcjson.a)
if [ -f "$have" ]; then
    cp "$have" "$out"
    exit 0
fi
command -v apt-get >/dev/null || { echo "a static build needs libcjson.a" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/parts" "$work/lists/partial" "$work/source"
. /etc/os-release
cat >"$work/parts/source.sources" <<END
Types: deb-src
URIs: ${MIRROR:-http://deb.debian.org/debian}
Suites: $VERSION_CODENAME
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
apt()
{
    apt-get -qq -o APT::Sandbox::User=root -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/parts" \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" "$@"
}
apt update
(cd "$work" && apt source --download-only cjson)
tar xf "$work"/cjson_*.orig.tar.* -C "$work/source" --strip-components=1
mkdir "$work/patches"
tar xf "$work"/cjson_*.debian.tar.* -C "$work/patches"
while read -r name; do
    case $name in
        '' | '#'*) ;;
        *) patch -s -p1 -d "$work/source" <"$work/patches/debian/patches/$name" ;;
    esac
done <"$work/patches/debian/patches/series"
$cc -O2 -g -c -o "$work/cJSON.o" "$work/source/cJSON.c"
rm -f "$out"
ar rcs "$out" "$work/cJSON.o"
