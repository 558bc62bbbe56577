#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make top`: where to look twice. Guides, not limits: a file of 800 lines, a function of 60, a
# complexity of 15.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
program() { git ls-files -co --exclude-standard '*.c' '*.h' | grep -E '^(gateway|providers|policy|routing|deploy)/'; }

echo "The largest files (lines)"
program | xargs -r wc -l | awk '$2 != "total"' | sort -rn | head -n 15

echo
echo "The longest functions (lines, where)"
if command -v ctags >/dev/null; then
    program | grep '\.c$' | xargs -r ctags -x --kinds-C=f --_xformat='%n %{end} %N %F' |
        awk '$2 ~ /^[0-9]+$/ { printf "%7d %s:%d %s\n", $2 - $1 + 1, $4, $1, $3 }' | sort -rn | head -n 15
else
    echo "  needs: apt-get install universal-ctags"
fi

echo
echo "The most complex functions (McCabe, where)"
if command -v pmccabe >/dev/null; then
    program | grep '\.c$' | xargs -r pmccabe 2>/dev/null |
        awk -F'\t' '{ n = split($6, at, " "); printf "%7d %s %s\n", $1, at[1], at[n] }' | sort -rn | head -n 15
else
    echo "  needs: apt-get install pmccabe"
fi

echo
echo "All of it (lines of C, of tests)"
program | xargs -r cat | wc -l
git ls-files -co --exclude-standard 'tests/*.c' 'tests/*.py' 'tests/**/*.c' 'tests/**/*.py' | sort -u | xargs -r cat | wc -l
