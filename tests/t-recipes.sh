#!/bin/sh
# SPDX-License-Identifier: MIT
# Recipes: rules from JSON files, from --type, and llama-quantize's lists of tensor types; what each gives, what is refused.
. "$(dirname "$0")/sh-tap.sh"
PARE=${PARE:-./pare}
TOOLS=${TOOLS:-build/tests/tools}
nano=tests/data/nano-v3

recipe() { printf '%s\n' "$1" >"$tmp/r.json"; }

# types TITLE WANT NAME...: the last plan gives these tensors these types
types()
{
    title=$1 want=$2 got=
    shift 2
    for name in "$@"; do
        got="$got$(awk -v n="$name" '$1 == n {print $2 " "}' "$tmp/stdout")"
    done
    is "$got" "$want " "$title"
}

# refuses STATUS TITLE TEXT JSON: planning by this recipe ends with this line
refuses()
{
    recipe "$4"
    fails "$1" "$2 is refused" "$PARE" plan "$nano" -r "$tmp/r.json"
    has "$tmp/stderr" "$3" "$(printf '%s' "$3")"
    is "$(wc -l <"$tmp/stderr")" 1 "in one line"
}

recipe '{"name": "mine", "base": "Q4_K_M", "rules": [
    {"roles": ["ffn_down_exps", "ffn_up_exps"], "layers": "1", "type": "Q5_K"},
    {"roles": ["ffn_down_exps"], "experts": "0-7", "type": "Q3_K"},
    {"name": "^blk\\.[02]\\.attn_output", "type": "Q6_K"},
    {"layers": "0,2-9", "name": "shexp|ffn_gate[.]", "type": "Q8_0"}]}'
ok "a recipe file is planned" "$PARE" plan "$nano" -r "$tmp/r.json"
types "the first rule that matches wins" "Q5_K Q5_K Q3_K" blk.1.ffn_down_exps.weight blk.1.ffn_up_exps.weight blk.2.ffn_down_exps.weight
types "names are matched anywhere" "Q6_K Q6_K" blk.0.attn_output.weight blk.2.attn_output.weight
types "all conditions must hold" "Q8_0 Q8_0 Q8_0 Q4_K" blk.0.ffn_gate.weight blk.2.ffn_up_shexp.weight \
    blk.2.ffn_down_shexp.weight blk.1.ffn_gate_shexp.weight
types "the base gives the rest" "Q6_K Q5_0 Q4_K" output.weight blk.1.attn_k_b.weight token_embd.weight
types "norms and router stay F32" "F32 F32" blk.2.ffn_norm.weight blk.2.ffn_gate_inp.weight
has "$tmp/stdout" "recipe mine:" "the plan has the recipe's name"
is "$(awk '/^tensors by rule/ {n = 6} n-- > 0 && / rule / {printf "%s ", $1}' "$tmp/stdout")" "2 1 2 4 " "and the hits of each rule"
"$PARE" plan "$nano" -r "$tmp/r.json" --json >"$tmp/json"
is "$(tr -d ' \t\n' <"$tmp/json" | grep -o '"rules":.*' | grep -o '"tensors":[0-9]*' | tr '\n' ' ')" \
    '"tensors":2 "tensors":1 "tensors":2 "tensors":4 ' "so has --json"
ok "--type goes before a file's rules" "$PARE" plan "$nano" -r "$tmp/r.json" --type attn_output=F16 --type ffn_up_shexp=Q4_0 \
    --type ffn_up_shexp=Q5_1
types "the last one first" "F16 Q5_1 Q3_K" blk.0.attn_output.weight blk.2.ffn_up_shexp.weight blk.2.ffn_down_exps.weight
fails 2 "but --type that nothing has is an error" "$PARE" plan "$nano" --type attn_q=F16
has "$tmp/stderr" "--type attn_q=F16 matches no tensor" "which names it"

recipe '{"default": "Q5_1", "rules": []}'
ok "one type may be the default" "$PARE" plan "$nano" -r "$tmp/r.json"
types "for all that is quantized" "Q5_1 Q5_1 F32" output.weight blk.1.ffn_down_exps.weight blk.1.attn_norm.weight
has "$tmp/stdout" "recipe r.json:" "a recipe without a name has its file's"
recipe '{"base": "Q4_K_M", "pure": true}'
ok "pure takes the base's own base type" "$PARE" plan "$nano" -r "$tmp/r.json"
types "for all" "Q4_K Q4_K" output.weight blk.2.ffn_down_exps.weight

ok "llama-quantize's short names are known" "$PARE" plan "$nano" -r q4_k
has "$tmp/stdout" "recipe Q4_K_M:" "Q4_K is Q4_K_M"

# identity: a run goes on with another's work only by the same recipe; the manifest tells it
recipe '{"name": "a", "base": "Q8_0", "rules": [{"roles": ["output"], "type": "Q6_K"}]}'
ok "a conversion by a recipe" "$PARE" convert "$nano" -o "$tmp/a.gguf" -r "$tmp/r.json" -q
has "$tmp/a.gguf.manifest.json" 'a base Q8_0 {\"roles\":[\"output\"],\"type\":\"Q6_K\"}' "has it in its manifest"
ok "the same by --type" "$PARE" convert "$nano" -o "$tmp/b.gguf" -r Q8_0 --type output=Q6_K -q
ok "is the same file" cmp "$tmp/a.gguf" "$tmp/b.gguf"
i=0
{
    printf '{"name": "many", "default": "Q8_0", "rules": ['
    while [ $i -lt 300 ]; do
        printf '{"name": "^blk[.]1[.]attn_q_a|never-%d", "type": "Q6_K"}, ' $i
        i=$((i + 1))
    done
    printf '{"roles": ["output"], "type": "Q4_0"}]}'
} >"$tmp/r.json"
fails 2 "of 300 rules for the same tensor the second is in vain" "$PARE" plan "$nano" -r "$tmp/r.json"
has "$tmp/stderr" "rule 2 of 'r.json'" "and named by its number"
sed 's/never-\([0-9]*\)"/never-\1|^token_embd"/; s/{"name": "^blk[^}]*}, //2g' "$tmp/r.json" >"$tmp/r2.json"
ok "long recipes" "$PARE" convert "$nano" -o "$tmp/c.gguf" -r "$tmp/r2.json" -q

# --via bf16: what a BF16 file holds, to the last bit
for recipe in F32 Q4_K_M; do
    ok "$recipe via bf16" "$PARE" convert "$nano" -o "$tmp/via.gguf" -r $recipe --via bf16 -q -f
    ok "and from a BF16 file" sh -c "'$PARE' convert $nano -o $tmp/bf16.gguf -r BF16 -q -f && \
        '$PARE' convert $tmp/bf16.gguf -o $tmp/from.gguf -r $recipe --name nano-v3 -q -f"
    ok "have the same values" "$PARE" diff "$tmp/via.gguf" "$tmp/from.gguf"
done
has "$tmp/via.gguf.manifest.json" '"Q4_K_M via bf16"' "the manifest tells"
fails 1 "without it there are others" sh -c \
    "'$PARE' convert $nano -o $tmp/plain.gguf -r Q4_K_M -q && '$PARE' diff $tmp/via.gguf $tmp/plain.gguf"
fails 2 "via anything else is misuse" "$PARE" plan "$nano" --via f16
ok "the plan tells, too" "$PARE" plan "$nano" -r Q4_K_M --via bf16
has "$tmp/stdout" "recipe Q4_K_M via bf16" "beside the recipe's name"

# refusals
refuses 3 "JSON that breaks off" "r.json" '{"base": "Q8_0"'
refuses 3 "a list" "a recipe is an object" '[]'
refuses 3 "neither base nor default" "either 'base' (a preset) or 'default' (a type)" '{"rules": []}'
refuses 3 "both" "either 'base' (a preset) or 'default' (a type)" '{"base": "Q8_0", "default": "Q8_0"}'
refuses 3 "pure without a base" "'pure' is for a 'base'" '{"default": "Q8_0", "pure": true}'
refuses 3 "an unknown base" "no preset: 'Q9'" '{"base": "Q9"}'
refuses 3 "an unknown key" "unknown key 'rule'" '{"base": "Q8_0", "rule": []}'
refuses 3 "a rule's unknown key" "rule 2: unknown key 'role'" \
    '{"base": "Q8_0", "rules": [{"type": "Q8_0", "layers": "1"}, {"role": ["output"], "type": "F16"}]}'
refuses 3 "a rule without a type" "rule 1: it has no 'type'" '{"base": "Q8_0", "rules": [{"roles": ["output"]}]}'
refuses 3 "an unknown role" "rule 1: unknown role 'nose'" '{"base": "Q8_0", "rules": [{"roles": ["nose"], "type": "F16"}]}'
refuses 3 "the router" "rule 1: ffn_gate_inp is always F32" '{"base": "Q8_0", "rules": [{"roles": ["ffn_gate_inp"], "type": "F16"}]}'
refuses 3 "a norm" "rule 1: attn_norm is always F32" '{"base": "Q8_0", "rules": [{"roles": ["attn_norm"], "type": "F16"}]}'
refuses 3 "an unknown type" "rule 1: unknown type 'Q7'" '{"base": "Q8_0", "rules": [{"layers": "0", "type": "Q7"}]}'
refuses 3 "a type without an encoder" "rule 1: TQ1_0 can be read, not written" '{"base": "Q8_0", "rules": [{"layers": "0", "type": "TQ1_0"}]}'
refuses 3 "layers as numbers" "rule 1: no text with ranges" '{"base": "Q8_0", "rules": [{"layers": 1, "type": "F16"}]}'
for range in "" "-1" "2-1" "1-" "1,," "a" "1;2" "1-2,2" "3,1" "99999999999999999999"; do
    refuses 3 "the range '$range'" "rule 1: " '{"base": "Q8_0", "rules": [{"layers": "'"$range"'", "type": "F16"}]}'
done
refuses 3 "a broken pattern" "rule 1: pattern 'a(b', at character 4" '{"base": "Q8_0", "rules": [{"name": "a(b", "type": "F16"}]}'
refuses 3 "a pattern without end" "takes too many steps" '{"base": "Q8_0", "rules": [{"name": "^(?:[a-z0-9_.]+)+(?:[!?]|[#%])", "type": "F16"}]}'
refuses 2 "a rule for a layer that is not there" "rule 1 of 'r.json' ({\"layers\":\"7\",\"type\":\"F16\"}) matches no tensor" \
    '{"base": "Q8_0", "rules": [{"layers": "7", "type": "F16"}]}'
refuses 2 "a rule behind one that takes all" "rule 2 of" \
    '{"base": "Q8_0", "rules": [{"type": "Q4_0"}, {"roles": ["output"], "type": "F16"}]}'
refuses 2 "a rule for some experts of a stack" "takes 4 of the 8 experts that lie in one tensor" \
    '{"base": "Q8_0", "rules": [{"roles": ["ffn_up_exps"], "experts": "0-2,7", "type": "F16"}]}'
refuses 2 "a rule for experts that are not there" "matches no tensor" '{"base": "Q8_0", "rules": [{"experts": "8-9", "type": "F16"}]}'
fails 2 "a recipe that is neither preset nor file exits 2" "$PARE" plan "$nano" -r "$tmp/none.json"
has "$tmp/stderr" "neither a file nor one of F32, F16" "and names the presets"
head -c 1100000 /dev/zero | tr '\0' ' ' >"$tmp/r.json"
fails 3 "a recipe of more than 1 MiB is refused" "$PARE" plan "$nano" -r "$tmp/r.json"
is "$(find "$tmp" -name 'x.gguf*' | wc -l)" 0 "nothing is written by a refused recipe"

# llama-quantize's
printf 'BLK\\.[01]\\.attn_q_a=q8_0\tattn_q=Q5_1\r\nffn_\\D+own_exps=iq4_nl never=f16\n' >"$tmp/types"
ok "a list of tensor types is read" "$PARE" plan "$nano" -r Q4_K_M --tensor-type-file "$tmp/types"
types "patterns are in lower case, the first wins" "Q8_0 Q5_1 Q5_1" blk.1.attn_q_a.weight blk.2.attn_q_a.weight blk.1.attn_q_b.weight
types "even where that changes their meaning" "Q6_K" blk.2.ffn_down_exps.weight
has "$tmp/stderr" "ffn_\\D+own_exps=iq4_nl matches nothing, nor do 1 more" "what matches nothing is told"
ok "--tensor-type stands where it was given" "$PARE" plan "$nano" -r Q4_K_M --tensor-type blk.1.attn_q=f16 --tensor-type-file "$tmp/types" \
    --tensor-type attn_q=F32 --type attn_q_b=Q4_0
types "and --type before all" "Q8_0 F16 Q4_0" blk.0.attn_q_a.weight blk.1.attn_q_a.weight blk.1.attn_q_b.weight
printf 'a=Q8_0 b\n' >"$tmp/types"
fails 3 "an entry that is no PATTERN=TYPE is refused" "$PARE" plan "$nano" --tensor-type-file "$tmp/types"
has "$tmp/stderr" "entry 2: 'b' is no PATTERN=TYPE: '$tmp/types'" "with its number and file"
fails 2 "an unknown type is misuse" "$PARE" plan "$nano" --tensor-type a=Q7
fails 2 "so is a broken pattern" "$PARE" plan "$nano" --tensor-type 'a(=Q8_0'
fails 4 "a list that is not there exits 4" "$PARE" plan "$nano" --tensor-type-file "$tmp/none"
done_testing
