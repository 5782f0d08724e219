#!/bin/sh
# fuzz.sh SECONDS PROGRAM... - runs each libFuzzer program for SECONDS on a copy of its committed corpus.
# The corpus of build-fuzz/fuzz_NAME is tests/fuzz/corpus/NAME; new inputs stay in build-fuzz/corpus/NAME.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
shift
[ $# -gt 0 ] || { echo "fuzz: there are no fuzz targets" >&2; exit 1; }
for program in "$@"; do
    name=${program##*/fuzz_}
    corpus=build-fuzz/corpus/$name
    mkdir -p "$corpus" "build-fuzz/findings/$name"
    seeds=""
    [ ! -d "tests/fuzz/corpus/$name" ] || seeds=tests/fuzz/corpus/$name
    echo "fuzz: $name for $seconds s"
    "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="build-fuzz/findings/$name/" "$corpus" $seeds
done
