#!/bin/sh
# SPDX-License-Identifier: MIT
# Manual pages and completions are made of the option tables: nothing that a command takes is missing in them. They are driven in the
# shells themselves; what is installed is removed again.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
MAKE=${MAKE:-make}

commands=$("$PARE" --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
for shell in bash zsh fish; do
    ok "pare completion $shell prints a script" "$PARE" completion "$shell"
    cp "$tmp/stdout" "$tmp/$shell"
done

# The options that each has, sorted, one a line. The page's are all that the tables have (checked below against the sources).
page_options()
{
    sed -n '/^\\fB\\-/{s/\\-/-/g; s/\\f[BIR]//g; s/^\(-[a-z], \)*--\([a-z0-9-]*\).*/\2/p}' "$1" | sort
}
help_options()
{
    sed -n 's/^  \(    \|-[a-z], \)--\([a-z0-9-]*\).*/\2/p' "$1" | sort
}
bash_options()
{
    sed -n "/^        $1)\$/,/;;/p" "$tmp/bash" | tr " '" '\n\n' | sed -n 's/^--//p' | sort
}
zsh_options()
{
    sed -n "/^        $1)\$/,/;;/p" "$tmp/zsh" | sed -n "s/.*[,'*]--\([a-z0-9-]*\)[[}].*/\1/p" | sort
}
fish_options()
{
    sed -n "s/.*__pare_is $1' -l \([a-z0-9-]*\) .*/\1/p" "$tmp/fish" | sort
}
# words of a page for the parser: options with a value as --name=x
as_given()
{
    sed -n '/^\\fB\\-/{s/\\-/-/g; s/\\f[BIR]//g; s/^\(-[a-z], \)*\(--[a-z0-9-]*\) .*/\2=x/p; s/^\(-[a-z], \)*\(--[a-z0-9-]*\)$/\2/p}' "$1" |
        grep -v '^--help'
}

for command in $commands; do
    ok "pare man $command prints a page" "$PARE" man "$command"
    mv "$tmp/stdout" "$tmp/$command.1"
    page=$(page_options "$tmp/$command.1")
    count=$(echo "$page" | wc -l)
    is "$(bash_options "$command")" "$page" "bash completes the $count options of $command"
    is "$(zsh_options "$command")" "$page" "zsh does"
    is "$(fish_options "$command")" "$page" "fish does"
    ok "the parser takes them all, with a value where the page names one" "$PARE" "$command" $(as_given "$tmp/$command.1") --help-all
    help_options "$tmp/stdout" >"$tmp/help"
    is "$(echo "$page" | sort - "$tmp/help" | uniq -d | wc -l)" "$(wc -l <"$tmp/help")" "those of --help-all are among them"
    is "$(awk '/^\\fB\\-/ {option = $0; getline; if (/^(See \.|\.TP|)$/) print option}' "$tmp/$command.1")" "" "each is told of"
done
grep -oEh "\{(0|'.'), \"[a-z0-9-]+\", (NULL|\")" cli/*.c cli/*.h | sed 's/^[^"]*"//; s/".*//' | sort -u >"$tmp/sources"
for command in $commands; do page_options "$tmp/$command.1"; done | sort -u | comm -23 "$tmp/sources" - >"$tmp/missing"
is "$(cat "$tmp/missing")" "" "the $(wc -l <"$tmp/sources") names of options in the sources are all in some page"
ok "pare man without a command is pare(1)" "$PARE" man
is "$(sed -n 's/^.fBpare.-\([a-z]*\).fR(1),*$/\1/p' "$tmp/stdout")" "$commands" "it refers to every command's page"
fails 2 "there is no page of an unknown command" "$PARE" man frobnicate
fails 2 "there is no completion for an unknown shell" "$PARE" completion ksh

if command -v groff >/dev/null && echo | groff -man -z 2>/dev/null; then
    { "$PARE" man && for command in $commands; do cat "$tmp/$command.1"; done; } | groff -man -ww -z >"$tmp/warnings" 2>&1
    is "$(cat "$tmp/warnings")" "" "groff has no warning about any page"
elif command -v man >/dev/null; then
    { "$PARE" man && for command in $commands; do cat "$tmp/$command.1"; done; } >"$tmp/pages"
    is "$(man --warnings -l "$tmp/pages" 2>&1 >/dev/null)" "" "man has no warning about any page"
else
    skip "no groff and no man" "no page has a warning"
fi

# bash_completes WANT WORD...: what bash offers for the last word
cat >"$tmp/drive" <<'END'
. "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_pare
echo "${COMPREPLY[*]}"
END
bash_completes()
{
    want=$1
    shift
    is "$(bash "$tmp/drive" "$tmp/bash" "$@" 2>&1)" "$want" "bash completes '$*': $want"
}
if command -v bash >/dev/null; then
    bash_completes "calibrate" pare cal
    bash_completes "--help" pare --h
    bash_completes "gguf gptq gptq_v2" pare convert --to g
    bash_completes "gguf gptq gptq_v2" pare convert --to = g
    bash_completes "llama.cpp ik" pare convert x --dialect ''
    bash_completes "Q4_K_M Q4_K_S" pare plan -r Q4_K
    bash_completes "vllm sglang transformers llama.cpp" pare check --target ''
    bash_completes "bundle plain" pare convert --layout ''
    bash_completes "--max-kld --max-kld-p99" pare verify --max-k
    bash_completes "tests/data/nano-v3" pare inspect tests/data/n
    bash_completes "tests/data" pare convert --calib tests/da
    bash_completes "" pare convert --threads ''
    bash_completes "bash zsh fish" pare completion ''
    bash_completes "verify" pare man ver
else
    skip "no bash" "bash completes"
fi
if command -v fish >/dev/null; then
    is "$(fish -N -c "source $tmp/fish; complete -C 'pare convert --dialect '" | cut -f 1 | sort | tr '\n' ' ')" "ik llama.cpp " \
        "fish completes 'pare convert --dialect '"
else
    skip "no fish" "fish completes"
fi
if command -v zsh >/dev/null; then
    ok "zsh parses its script" zsh -fn "$tmp/zsh"
else
    skip "no zsh" "zsh parses its script"
fi

ok "make install writes into DESTDIR" "$MAKE" -s install DESTDIR="$tmp/root" PREFIX=/usr
ok "the installed program runs" "$tmp/root/usr/bin/pare" --version
is "$(cd "$tmp/root/usr/share/man/man1" && ls | wc -l)" "$(($(echo "$commands" | wc -w) + 1))" \
    "there is a manual page for every command and one of pare"
share=$tmp/root/usr/share
is "$(ls "$share/bash-completion/completions/pare" "$share/zsh/site-functions/_pare" "$share/fish/vendor_completions.d/pare.fish" | wc -l)" \
    3 "completions are where bash, zsh and fish look for them"
is "$(find "$tmp/root" -type f -empty)" "" "nothing of it is empty"
ok "make uninstall" "$MAKE" -s uninstall DESTDIR="$tmp/root" PREFIX=/usr
is "$(find "$tmp/root" -type f)" "" "leaves nothing"
done_testing
