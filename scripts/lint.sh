#!/bin/sh
# lint.sh - `make lint`: format, tree rules, static analysis, SPIR-V validation. Prints findings; exit code 1 on any.
set -u
cd "$(dirname "$0")/.."
failed=0
mkdir -p build
jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
include=""
[ ! -d third_party/newer/usr/include ] || include="-isystem third_party/newer/usr/include"

step() { printf 'lint: %s\n' "$1"; }
fail() { failed=1; printf 'lint: FAILED: %s\n' "$1"; }
need() { command -v "$1" >/dev/null 2>&1 || { fail "$1 is not installed (make deps-test)"; return 1; }; }

c_files() { git ls-files --cached --others --exclude-standard "$@"; }

step "tree rules"
python3 scripts/check_includes.py || fail "tree rules"

if need clang-format; then
    step "format ($(clang-format --version | sed 's/.*version \([0-9.]*\).*/\1/'))"
    c_files '*.c' '*.h' | xargs -r clang-format --dry-run -Werror || fail "format (make format)"
fi

if need clang-tidy; then
    step "static analysis"
    c_files 'hal/*.c' 'io/*.c' 'shaders/*.c' 'runtime/*.c' 'tools/*.c' |
        xargs -r -n 4 -P "$jobs" sh -c 'clang-tidy --quiet "$@" -- -std=gnu17 -D_GNU_SOURCE= -I. -Iruntime/include '"$include"' \
            2>/dev/null' clang-tidy ||
        fail "static analysis"
fi

if need clang; then
    step "warnings of the other compiler"
    ${MAKE:-make} CC=clang BUILD=build-clang all >build/clang.log 2>&1 ||
        { grep -A 6 -E 'error|warning' build/clang.log; fail "the build with clang"; }
fi

spirv_val=third_party/bin/spirv-val
[ -x $spirv_val ] || spirv_val=$(command -v spirv-val || true)
if [ -n "$spirv_val" ] && [ -d build/shaders ]; then
    step "SPIR-V validation"
    find build/shaders -name '*.spv' | xargs -r -n 16 -P "$jobs" sh -c 'bad=0
        for module; do
            "$0" --target-env vulkan1.3 --scalar-block-layout "$module" || { echo "lint: FAILED: $module"; bad=1; }
        done
        exit $bad' "$spirv_val" || fail "SPIR-V validation"
fi

if [ $failed = 0 ]; then echo "lint: clean"; else echo "lint: there are findings"; fi
exit $failed
