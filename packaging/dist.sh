#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: packaging/dist.sh
# Makes dist/pare_VERSION-1_ARCH.deb with debhelper, and dist/pare-VERSION-linux-ARCH.tar.gz with a static program that needs nothing but
# a kernel, manual pages, completions, and the licenses of the libraries in it. The version is cli/cli.h's; times in the archives are
# SOURCE_DATE_EPOCH or the last commit's.
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n 's/^#define PARE_VERSION "\(.*\)"$/\1/p' cli/cli.h)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH
for tool in dpkg-buildpackage dh patch; do
    command -v "$tool" >/dev/null || { echo "there is no $tool: apt-get install debhelper" >&2; exit 1; }
done
rm -rf dist build-dist
mkdir -p dist build-dist

static()
{
    name=pare-$version-linux-$(uname -m)
    root=build-dist/static
    make -s STATIC=1 all
    make -s STATIC=1 install DESTDIR="$root" PREFIX="/$name"
    strip "$root/$name/bin/pare"
    mkdir -p "$root/$name/licenses"
    cp README.md CHANGELOG.md LICENSE "$root/$name"
    cp -r docs schemas "$root/$name"
    for library in zlib1g libarchive13 libcjson1 libxxhash0 libpcre2-8-0 libhtscodecs2 libgomp1 libc6; do
        cp "/usr/share/doc/$library/copyright" "$root/$name/licenses/$library"
    done
    tar -C "$root" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$name" |
        gzip -n9 >"dist/$name.tar.gz"
}

debian()
{
    source=build-dist/pare-$version
    mkdir "$source"
    tar --exclude=./.git --exclude='./build*' --exclude=./dist --exclude=./demo --exclude=./pare -cf - . | tar -C "$source" -xf -
    cp -r packaging/debian "$source/debian"
    cat >"$source/debian/changelog" <<END
pare ($version-1) unstable; urgency=medium

  * What changed is told in CHANGELOG.md.

 -- $(sed -n 's/^Maintainer: //p' packaging/debian/control)  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
    (cd "$source" && DEB_BUILD_OPTIONS="noautodbgsym ${DEB_BUILD_OPTIONS:-}" dpkg-buildpackage -b -us -uc)
    mv build-dist/*.deb dist
}

static
debian
rm -rf build-dist
ls -l dist
