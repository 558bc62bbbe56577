#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Words that must not land: unfinished things, one machine's paths, package hosts, missing licences.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
bad=0

# Text files that people wrote; recorded traffic, seeds and locks are data.
text() {
    git ls-files -co --exclude-standard |
        grep -vE '^tests/(recorded|fixtures|cases)/|^tests/fuzz/corpus/|^tests/check/words\.sh$|package-lock\.json$|^LICENSE$' |
        grep -vE '\.(jsonl|png|svg|woff2|ico|pem|key|crt)$|(^|/)models\.json$' |
        while read -r file; do [ ! -f "$file" ] || printf '%s\n' "$file"; done
}

refuse() { # words, pattern
    local found
    found=$(text | xargs -r grep -nIE "$2" 2>/dev/null)
    if [ -n "$found" ]; then
        printf '%s:\n%s\n' "$1" "$found"
        bad=1
    fi
}

refuse "left unfinished" '\b(TODO|FIXME|XXX|HACK)\b|\b([Nn]ot implemented|[Uu]nimplemented)\b'
refuse "a path of one machine" '(^|[^[:alnum:]_.])/(wor[k]|home|Users|root)/[[:alnum:]_.-]|/tmp/bas[h]_|\.\./share[d]|\.librar[y]'
refuse "the host of a package index" 'pypi\.org|pythonhosted\.org|registry\.npmjs\.org|crates\.io|proxy\.golang\.org|deb\.debian\.org|security\.debian\.org|repo1?\.maven'
refuse "an index that belongs to a machine's own configuration" '--(extra-)?index-url|--registry[ =]|PIP_INDEX_URL'

missing=$(git ls-files -co --exclude-standard -- '*.c' '*.h' '*.S' '*.py' '*.sh' '*.ts' '*.tsx' '*.js' '*.mjs' '.ci/*' |
    grep -vE '^web/dist/|/node_modules/' |
    while read -r file; do
        [ ! -f "$file" ] || [ ! -s "$file" ] || head -n 3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || printf '%s\n' "$file"
    done)
if [ -n "$missing" ]; then
    printf 'without SPDX-License-Identifier: Apache-2.0 in the first lines:\n%s\n' "$missing"
    bad=1
fi
exit $bad
