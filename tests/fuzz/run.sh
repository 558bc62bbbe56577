#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# `make fuzz`: fuzz for long, on every core, and keep what was learnt.
#
#   run.sh TARGET MINUTES     one target (head for head_fuzz.c); no TARGET: each in turn
#
# The corpus grows in build-fuzz/corpus/TARGET, so a later run goes on where this one stopped; inputs
# that fail land in build-fuzz/findings. CPU hours are added up in tests/fuzz/HOURS.
set -euo pipefail
cd "$(dirname "$0")/../.."
minutes=${2:-60}
hours=tests/fuzz/HOURS
[[ $minutes =~ ^[0-9]+$ ]] || { echo "fuzz: MINUTES=$minutes is no number" >&2; exit 2; }

names() {
    local source
    for source in tests/fuzz/*_fuzz.c; do
        source=${source##*/}
        echo "${source%_fuzz.c}"
    done
}

# Add CPU seconds to the target's line.
book() {
    touch "$hours"
    awk -v name="$1" -v more="$2" '
        $1 == name { $2 = sprintf("%.2f", $2 + more / 3600); seen = 1 }
        { print $1, $2 }
        END { if (!seen) printf "%s %.2f\n", name, more / 3600 }' "$hours" | sort >"$hours.new"
    mv "$hours.new" "$hours"
}

fuzz() {
    local name=$1 begun=$SECONDS status=0 jobs words=()
    jobs=$(nproc)
    mkdir -p "build-fuzz/corpus/$name" build-fuzz/findings
    [ ! -f "tests/fuzz/$name.dict" ] || words=("-dict=tests/fuzz/$name.dict")
    local seeds=()
    [ ! -d "tests/fuzz/corpus/$name" ] || seeds=("tests/fuzz/corpus/$name")
    echo "fuzz: $name for $minutes minutes on $jobs cores; findings in build-fuzz/findings"
    "build-fuzz/tests/fuzz/${name}_fuzz" "-fork=$jobs" "-max_total_time=$((minutes * 60))" -timeout=10 \
        -rss_limit_mb=2048 "-artifact_prefix=build-fuzz/findings/$name-" "${words[@]}" \
        "build-fuzz/corpus/$name" "${seeds[@]}" || status=$?
    book "$name" $(((SECONDS - begun) * jobs))
    return $status
}

failed=""
for name in ${1:-$(names)}; do
    [ -x "build-fuzz/tests/fuzz/${name}_fuzz" ] || { echo "fuzz: no target '$name'; there are: $(names | xargs)" >&2; exit 2; }
    fuzz "$name" || failed="$failed $name"
done
cat "$hours"
[ -z "$failed" ] || { echo "fuzz: found something:$failed"; exit 1; }
