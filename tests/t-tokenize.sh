#!/bin/sh
# SPDX-License-Identifier: MIT
# pare tokenize on nano-v3: every form of its output, a folder and a GGUF made of it alike, conversations, and tokenizers it must
# refuse.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
nano=tests/data/nano-v3

tokenize() { "$PARE" tokenize "$@"; }
ids() { printf "$1" | tokenize "$nano" - | tr '\n' ' '; }

ok "nano-v3 becomes a GGUF" "$PARE" convert "$nano" -o "$tmp/nano.gguf" -r Q4_0 -q

# forms of the output
printf 'Hello world 123\n' >"$tmp/hello"
is "$(tokenize "$nano" "$tmp/hello")" "42 345 309 290 268 1126 223 798 21 201" "16 bytes of text have 10 ids"
is "$(tokenize "$nano" - <"$tmp/hello")" "42 345 309 290 268 1126 223 798 21 201" "standard input has them too"
is "$(tokenize "$nano" "$tmp/hello" --count)" 10 "--count says 10"
is "$(tokenize "$nano" "$tmp/hello" --pieces | tail -n 2 | tr '\t\n' '= ')" "21=3 201=\\n " "--pieces: id and text, a line feed as \\n"
is "$(printf '\303\251\\\001' | tokenize "$nano" - -p | cut -f 2 | tr '\n' ' ')" '\xc3 \xa9 \\ \x01 ' \
    "--pieces: parts of a character and controls in hexadecimal, a backslash twice"
ok "--json prints JSON" tokenize "$nano" "$tmp/hello" --json
has "$tmp/stdout" '"ids":	[42, 345, 309, 290, 268, 1126, 223, 798, 21, 201]' "with the ids"
has "$tmp/stdout" '"bytes":	16' "and the number of bytes"
ok "--raw writes a file" tokenize "$nano" "$tmp/hello" --raw "$tmp/ids"
is "$(wc -c <"$tmp/stdout")" 0 "and prints nothing"
is "$(od -An -v -td4 -w40 "$tmp/ids" | tr -s ' ')" " 42 345 309 290 268 1126 223 798 21 201" "of little-endian 32-bit integers"
fails 2 "--raw does not replace a file" tokenize "$nano" "$tmp/hello" --raw "$tmp/ids"
ok "with --force it does" tokenize "$nano" "$tmp/hello" --raw "$tmp/ids" --force
is "$(printf '%033d' 0 | tr 0 a | tokenize "$nano" - | awk '{print NF}' | tr '\n' ' ')" "16 16 1 " "33 ids stand in lines of 16"

# odd texts
is "$(ids '')" "" "an empty text has no id"
is "$(tokenize "$nano" - --count </dev/null)" 0 "which --count says as 0"
is "$(ids 'a')" "67 " "one byte has one"
is "$(ids 'a\000b')" "67 191 68 " "a NUL is a character"
is "$(ids '\377')" "$(ids '\357\277\275')" "an invalid byte is U+FFFD"
is "$(ids '\344\270')" "$(ids '\357\277\275')" "so is the beginning of a character"
is "$(ids '<|EOT|>')" "30 94 39 49 54 94 32 " "the text of a special token is text"
is "$(printf '<|EOT|>' | tokenize "$nano" - --special)" 2029 "with --special it is the token"
head -c 1000000 /dev/zero | tr '\0' e >"$tmp/e"
is "$(tokenize "$nano" "$tmp/e" -c)" 500000 "1 MB of the letter e has 500000 ids"
mkfifo "$tmp/fifo"
cat "$tmp/hello" >"$tmp/fifo" &
is "$(tokenize "$nano" "$tmp/fifo" -c)" 10 "a text may come through a pipe"

# a folder and a GGUF of it
cat README.md model/*.c tests/*.c tests/data/nano-v3/tokenizer.json >"$tmp/text"
for special in "" --special; do
    for text in "$tmp/text" "$nano/model-00003-of-000003.safetensors" "$tmp/e"; do
        tokenize "$nano" "$text" $special --raw "$tmp/a" -f
        tokenize "$tmp/nano.gguf" "$text" $special --raw "$tmp/b" -f
        ok "$(basename "$text") $special: $(($(wc -c <"$tmp/a") / 4)) ids, the same from the GGUF" cmp "$tmp/a" "$tmp/b"
    done
done

# conversations
cat >"$tmp/chat" <<'END'
{"messages":[{"role":"system","content":"S"},{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}

{"conversations":[{"from":"human","value":"a"}]}
END
want="0 53 2033 67 2034 68 1 0 2033 67"
is "$(tokenize "$nano" --conversations "$tmp/chat")" "$want" "two conversations have 10 ids, by the chat template"
is "$(tokenize "$tmp/nano.gguf" --conversations "$tmp/chat")" "$want" "the GGUF gives the same"
is "$(tokenize "$nano" --conversations - <"$tmp/chat")" "$want" "they may come from standard input"
ok "--raw writes them to a file" tokenize "$nano" --conversations "$tmp/chat" --raw "$tmp/ids" -f
is "$(od -An -v -td4 -w40 "$tmp/ids" | tr -s ' ')" " $want" "as integers"
ok "--json prints them" tokenize "$nano" --conversations "$tmp/chat" --json
has "$tmp/stdout" '"tokens":	10' "with their number"
fails 2 "a text and conversations at once: exit 2" tokenize "$nano" "$tmp/hello" --conversations "$tmp/chat"
fails 2 "neither: exit 2" tokenize "$nano"
fails 2 "--special says nothing of conversations: exit 2" tokenize "$nano" --conversations "$tmp/chat" --special
fails 4 "conversations that do not exist: exit 4" tokenize "$nano" --conversations "$tmp/none"
echo '{"messages":[{"role":"user"}]}' >>"$tmp/chat"
fails 3 "a line that is no conversation: exit 3" tokenize "$nano" --conversations "$tmp/chat" --raw "$tmp/partial"
has "$tmp/stderr" "line 4: a message's 'content' is missing or no text: '$tmp/chat', offset 162" "its number and place are named"
ok "and no ids are written" test ! -e "$tmp/partial"
echo '{{ bos_token }}{{ messages }}' >"$tmp/template"
ok "a GGUF may have a template of its own" "$PARE" convert "$nano" -o "$tmp/own.gguf" -r Q4_0 -q --chat-template-file "$tmp/template"
fails 3 "which takes no conversations: exit 3" tokenize "$tmp/own.gguf" --conversations "$tmp/chat"
has "$tmp/stderr" "the chat template is none that is known" "and says so"
has "$tmp/stderr" "$tmp/own.gguf" "of the model"

# what is refused
fails 4 "a text that does not exist exits 4" tokenize "$nano" "$tmp/none"
fails 3 "a folder is no text: exit 3" tokenize "$nano" "$tmp"
fails 3 "one shard has no tokenizer: exit 3" tokenize "$nano/model-00001-of-000003.safetensors" "$tmp/hello"
has "$tmp/stderr" "there is no tokenizer" "and says so"
ok "a GGUF may lack a vocabulary" "$PARE" convert "$nano" -o "$tmp/no.gguf" -r Q4_0 --no-vocab -q
fails 3 "then it cannot tokenize: exit 3" tokenize "$tmp/no.gguf" "$tmp/hello"
fails 4 "a full standard output is an error" sh -c "'$PARE' tokenize $nano $tmp/text >/dev/full"

# refuses STATUS TITLE TEXT SED: a tokenizer.json changed by a sed script
mkdir "$tmp/bad"
for file in "$nano"/*.json "$nano"/*.safetensors; do ln -s "$(realpath "$file")" "$tmp/bad"; done
refuses()
{
    rm "$tmp/bad/tokenizer.json"
    sed "$4" "$nano/tokenizer.json" >"$tmp/bad/tokenizer.json"
    fails "$1" "$2: exit $1" tokenize "$tmp/bad" "$tmp/hello" && has "$tmp/stderr" "$3" "and says so"
}
for flag in lstrip rstrip single_word; do
    refuses 3 "an added token with $flag" "strips blanks" "0,/\"$flag\": *false/s//\"$flag\": true/"
done
refuses 3 "a byte without a token" "no token stands for byte 0x61" 's/"a": *67\b/"aaaa": 67/'
refuses 3 "two added tokens of one text" "two added tokens have the text" 's/"content": *"<｜User｜>"/"content": "<｜Assistant｜>"/'
refuses 3 "a merge of an unknown token" "names an unknown token" '/"merges"/,/\]/s/"Ġ"/"ooooo"/'
ok "the folder that was changed is good but for that" sh -c \
    "cp $nano/tokenizer.json $tmp/bad/ && '$PARE' tokenize $tmp/bad $tmp/hello"
sed 's/<｜fim▁hole｜>/x<｜/' "$nano/tokenizer.json" >"$tmp/bad/tokenizer.json"
is "$(printf 'x<｜begin▁of▁sentence｜>x<｜' | tokenize "$tmp/bad" - --special)" "90 0 2030" \
    "a normalized added token is looked for in what the others leave"
rm "$tmp/bad/config.json"
echo '{}' >"$tmp/bad/config.json"
fails 3 "a config.json without vocab_size: exit 3" tokenize "$tmp/bad" "$tmp/hello"
has "$tmp/stderr" "no config.json with a vocab_size" "and says so"
rm "$tmp/bad/tokenizer.json"
fails 3 "a folder without tokenizer.json: exit 3" tokenize "$tmp/bad" "$tmp/hello"
done_testing
