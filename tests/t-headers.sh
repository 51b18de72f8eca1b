#!/bin/sh
# SPDX-License-Identifier: MIT
# The house rules that a compiler can check: every header compiles alone, rooms include in one direction.
. "$(dirname "$0")/sh-tap.sh"

for header in base/*.h formats/*.h quant/*.h quant/*/*.h model/*.h convert/*.h verify/*.h cli/*.h; do
    ok "$header compiles alone" "${CC:-cc}" -std=c11 -D_GNU_SOURCE -I. -Wall -Werror -fsyntax-only -x c "$header"
done
ok "no include runs against the direction" make -s deps
done_testing
