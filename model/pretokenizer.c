/* SPDX-License-Identifier: MIT
 * The table of pre-tokenizers: split steps as the releases' tokenizer.json state them. Data.
 * Source: tokenizer.json of DeepSeek-V3 (R1, V3.1 and V3.2 have the same) and of DeepSeek-V2. */
#include "model/pretokenizer.h"

#include <stddef.h>
#include <string.h>

const struct pretokenizer pretokenizers[] = {
    {"deepseek-v3", {
        {STEP_SPLIT, "\\p{N}{1,3}"},
        {STEP_SPLIT, "[一-龥぀-ゟ゠-ヿ]+"},
        {STEP_SPLIT, "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p"
                     "{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"},
    }},
    {"deepseek-llm", {
        {STEP_SPLIT, "[\r\n]"},
        {STEP_SPLIT, "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ"
                     "-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-"
                     "ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"},
        {STEP_SPLIT, "\\s?[!-/:-~！-／：-～‘-‟　-。]+"},
        {STEP_SPLIT, "\\s+$"},
        {STEP_SPLIT, "[一-龥ࠀ-一가-퟿]+"},
        {STEP_DIGITS, NULL}, /* each digit alone */
    }},
    {0},
};

static int same_steps(const struct pretokenizer_step *a, const struct pretokenizer_step *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i].kind != b[i].kind || (a[i].pattern && strcmp(a[i].pattern, b[i].pattern)))
            return 0;
    return n == PRETOKENIZER_STEPS || a[n].kind == STEP_END;
}

const struct pretokenizer *pretokenizer_find(const struct pretokenizer_step *steps, size_t n)
{
    for (const struct pretokenizer *p = pretokenizers; p->name; p++)
        if (same_steps(p->steps, steps, n))
            return p;
    return NULL;
}
