#!/bin/sh
# SPDX-License-Identifier: MIT
# What `make dist` made, where nothing of the build is: the Debian package is installed by apt in a clean Debian, the static program runs in
# an otherwise empty folder. Needs root, or sudo, for chroot; the base system is kept in the user's cache. SUITE, MIRROR: of which Debian.
. "$(dirname "$0")/../tests/sh-tap.sh"
suite=${SUITE:-bookworm}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pare-chroot
base=$cache/$suite.tar
nano=tests/data/nano-v3
version=$(sed -n 's/^#define PARE_VERSION "\(.*\)"$/\1/p' cli/cli.h)
deb=$(ls dist/pare_"$version"-1_*.deb)
tarball=$(ls dist/pare-"$version"-linux-*.tar.gz)
root=
[ "$(id -u)" -eq 0 ] || root=sudo
trap '$root rm -rf "$tmp"' EXIT
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

# converts CHROOT PARE TITLE: convert, check, verify of the checkpoint in /data
converts()
{
    ok "$3: convert makes a GGUF" $root chroot "$1" "$2" convert /data/nano-v3 -o /q4.gguf -r Q4_K_M
    ok "$3: check finds nothing wrong" $root chroot "$1" "$2" check /q4.gguf
    ok "$3: verify judges it" $root chroot "$1" "$2" verify /data/nano-v3 /q4.gguf --text /data/technical.txt --chunks 2 --max-kld 1
    has "$tmp/stdout" "gate max-kld 1: passed" "$3: and its gate passes"
    ok "$3: convert makes a compressed pack" $root chroot "$1" "$2" convert /data/nano-v3 -o /nano.tar --to pack -r source --compress
    ok "$3: which check reads" $root chroot "$1" "$2" check /nano.tar
}

if [ ! -f "$base" ]; then
    mkdir -p "$cache"
    ok "debootstrap makes a base system of $suite" $root debootstrap --variant=minbase "$suite" "$tmp/base" ${MIRROR:+"$MIRROR"}
    $root tar -C "$tmp/base" -cf "$base.$$" . && $root mv "$base.$$" "$base"
    $root rm -rf "$tmp/base"
fi
mkdir "$tmp/debian" "$tmp/empty"
ok "the base system is unpacked" $root tar -C "$tmp/debian" -xf "$base"
$root cp "$(readlink -f /etc/resolv.conf)" "$tmp/debian/etc/resolv.conf"
$root cp -r tests/data "$tmp/debian/data"
$root cp "$deb" "$tmp/debian/pare.deb"
in_debian="$root chroot $tmp/debian"
ok "apt knows its packages" $in_debian apt-get update -qq
ok "apt installs the package and what it needs" $in_debian apt-get install -y -qq --no-install-recommends /pare.deb
ok "the installed program runs" $in_debian pare --version
is "$(cat "$tmp/stdout")" "pare $version" "and tells the version"
converts "$tmp/debian" pare "package"
# libcurl is recommended, not needed
$in_debian pare verify /data/nano-v3 --text /data/technical.txt --chunks 1 -q --save-base /base >/dev/null
fails 3 "package: without libcurl no server is asked" $in_debian pare verify /base --server http://127.0.0.1:1 -q
has "$tmp/stderr" "install libcurl4" "package: and it says what is missing"
ok "apt installs libcurl" $in_debian apt-get install -y -qq --no-install-recommends libcurl4
fails 4 "package: with it one is" $in_debian pare verify /base --server http://127.0.0.1:1 -q
has "$tmp/stderr" "does not answer" "package: which does not answer"
for file in man/man1/pare.1.gz man/man1/pare-convert.1.gz bash-completion/completions/pare zsh/vendor-completions/_pare doc/pare/copyright doc/pare/changelog.gz; do
    ok "package: there is $file" test -s "$tmp/debian/usr/share/$file"
done
ok "apt takes it away again" $in_debian apt-get purge -y -qq pare
is "$(find "$tmp/debian/usr" -path '*pare*' -name 'pare*' | grep -E '/(bin|man1|completions|doc)/')" "" "and nothing of it is left"

ok "the static archive is unpacked" tar -C "$tmp" -xzf "$tarball"
static=$tmp/$(basename "$tarball" .tar.gz)
is "$(readelf -lW "$static/bin/pare" | grep -cE ' LOAD | INTERP ')" "$(readelf -lW "$static/bin/pare" | grep -c ' LOAD ')" \
    "its program is linked with nothing"
for file in LICENSE README.md licenses/libarchive13 share/man/man1/pare-verify.1 share/zsh/site-functions/_pare; do
    ok "static: there is $file" test -s "$static/$file"
done
cp "$static/bin/pare" "$tmp/empty/pare"
cp -r tests/data "$tmp/empty/data"
is "$($root chroot "$tmp/empty" /pare --version)" "pare $version" "static: it runs where nothing else is"
converts "$tmp/empty" /pare "static"
ok "both write the same bytes" cmp "$tmp/debian/q4.gguf" "$tmp/empty/q4.gguf"
ok "also of packs" cmp "$tmp/debian/nano.tar" "$tmp/empty/nano.tar"
done_testing
