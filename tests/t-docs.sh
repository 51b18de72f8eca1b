#!/bin/sh
# SPDX-License-Identifier: MIT
# Documents that stay true: links lead somewhere, every page is in the index, options that pages name are options, every target has a page.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}

pages=$(ls *.md docs/*.md docs/*/*.md tests/*/*.md tests/data/*/*.md)

# "FROM TARGET" of every link with a relative target, outside of blocks; "#FILE ANCHOR" of every heading, as GitHub makes them.
links='
function slug(text)
{
    text = tolower(text)
    gsub(/[^a-z0-9 _-]/, "", text)
    gsub(/ /, "-", text)
    return text
}
FNR == 1 { fenced = 0 }
/^```/ { fenced = !fenced; next }
fenced || /^    / { next }
/^#+ / { text = $0; sub(/^#+ /, "", text); print "#" FILENAME, slug(text) }
{
    line = $0
    while (match(line, /\]\([^)]*\)/)) {
        target = substr(line, RSTART + 2, RLENGTH - 3)
        line = substr(line, RSTART + RLENGTH)
        if (target !~ /^[a-z]+:/) print FILENAME, target
    }
}'
awk "$links" $pages >"$tmp/links"
grep -v '^#' "$tmp/links" | while read -r from target; do
    file=${target%%#*} anchor=
    case $target in *'#'*) anchor=${target#*#} ;; esac
    case $file in '') path=$from ;; *) path=${from%/*}/$file; [ "$from" = "${from#*/}" ] && path=$file ;; esac
    while :; do # docs/targets/../x.md is docs/x.md
        case $path in */../*) path=$(echo "$path" | sed 's#[^/]*/\.\./##') ;; *) break ;; esac
    done
    [ -e "$path" ] || echo "$from: no $target"
    [ -z "$anchor" ] || grep -qxF -e "#$path $anchor" "$tmp/links" || echo "$from: no heading $target"
done >"$tmp/broken"
is "$(cat "$tmp/broken")" "" \
    "all $(grep -vc '^#' "$tmp/links") relative links of $(echo "$pages" | wc -l) pages lead to a file, and to its heading"

for page in $(cd docs && ls *.md */*.md examples/* | grep -v '^README.md$'); do
    grep -qF -e "]($page)" docs/README.md || echo "$page"
done >"$tmp/missing"
is "$(cat "$tmp/missing")" "" "every document is in the index"
has README.md "(docs/README.md)" "to which README leads"

for target in $("$PARE" completion bash | sed -n "s/^ *convert:-t.*_pare_words '\(.*\)'; return.*/\1/p"); do
    [ -e "docs/targets/$target.md" ] || grep -qF -e "--to $target" docs/targets/*.md || echo "$target"
done >"$tmp/missing"
is "$(cat "$tmp/missing")" "" "every target of convert has a page"

# "COMMAND OPTION" of every option in a line that begins with pare, up to a pipe, a redirection or a comment
uses='
{
    line = $0
    sub(/^[ $]*/, "", line)
    while (match(line, /(^|[`(; ]|\|\| )pare [a-z]+ [^`|>#;]*/)) {
        n = split(substr(line, RSTART, RLENGTH), word, " ")
        line = substr(line, RSTART + RLENGTH)
        for (i = 1; word[i] !~ /pare$/; i++) ;
        for (k = i + 2; k <= n; k++)
            if (word[k] ~ /^--?[a-z]/) {
                sub(/[=,.:)].*/, "", word[k])
                print FILENAME, word[i + 1], word[k]
            }
    }
}'
commands=$("$PARE" --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
for command in $commands; do
    "$PARE" man "$command" | sed -n '/^\\fB\\-/{
        s/\\-/-/g; s/\\f[BIR]//g; s/^\(-[a-z]\), \(--[a-z0-9-]*\).*/\1 \2/; s/^\(--[a-z0-9-]*\) .*/\1/; p; }' |
        tr ' ' '\n' | sed "s/^/$command /"
done >"$tmp/options"
awk "$uses" $pages | grep -E " ($(echo $commands | tr ' ' '|')) " | sort -u >"$tmp/uses"
while read -r page command option; do
    grep -qxF -e "$command $option" "$tmp/options" || echo "$page: pare $command $option"
done <"$tmp/uses" >"$tmp/unknown"
is "$(cat "$tmp/unknown")" "" "all $(wc -l <"$tmp/uses") options that pages give to a command of pare are its options"

# what other programs take, as pages name it
others="--parallel --quantization --speculative-config --enable-expert-parallel --speculative-algorithm --chat-template --tensor-parallel-size --tp
    --dry-run --only --candidate --kl-divergence-base"
others=$(echo $others)
grep -oEh '`--[a-z][a-z0-9-]*' $(ls README.md CHANGELOG.md docs/*.md docs/targets/*.md) | tr -d '`' | sort -u >"$tmp/named"
for option in $(cat "$tmp/named"); do
    case " $others " in *" $option "*) continue ;; esac
    grep -q -e " $option\$" "$tmp/options" || echo "$option"
done >"$tmp/unknown"
is "$(cat "$tmp/unknown")" "" "all $(wc -l <"$tmp/named") options that pages name are options of pare, or known to be another program's"
done_testing
