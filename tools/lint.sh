#!/usr/bin/env bash
# Formatting (clang-format) and static analysis (clang-tidy) over every source file. `analyze` runs clang's
# path-sensitive analyzer and two slow checks instead, which take several times longer.
# usage: tools/lint.sh [analyze]
set -euo pipefail
cd "$(dirname "$0")/.."

tools/install-dependencies.sh lint
mapfile -t all < <(git ls-files '*.cc' '*.h' '*.cu' '*.cuh')
clang-format-14 --dry-run --Werror "${all[@]}"
echo "clang-format: ${#all[@]} files"

# Files are analysed several as one, as they are compiled where time counts (cmake/unity_build.cmake): parsing the
# dependencies' headers is most of the work.
checks='-bugprone-suspicious-include'
if [ "${1:-}" = analyze ]; then
  checks="-*,bugprone-reserved-identifier,performance-unnecessary-value-param,clang-analyzer-*"
  checks+=",-clang-analyzer-optin.cplusplus.VirtualCall,-clang-analyzer-optin.performance.Padding"
fi

cmake --preset lint >/dev/null
# clang reads g++'s compilation database; the flags that only g++ knows are dropped by --extra-arg. The three macros
# let clang 14 see the coroutines of g++'s library and of Boost 1.74, which take it for a compiler without.
# The database is that of a build without the CUDA backend, whose headers a machine for linting need not have.
mapfile -t units < <(sed -n 's/^ *"file": "\(.*\)".*/\1/p' build/lint/compile_commands.json | grep -v page_data)
printf '%s\n' "${units[@]}" |
  xargs -P "$(nproc)" -n 1 clang-tidy-14 -p build/lint --quiet --checks="$checks" --extra-arg=-Wno-unknown-warning-option \
    --extra-arg=-D__cpp_impl_coroutine=201902L --extra-arg=-DBOOST_ASIO_HAS_CO_AWAIT \
    --extra-arg=-DBOOST_ASIO_HAS_STD_COROUTINE 2>build/lint/tidy.log ||
  { grep -v "warnings generated" build/lint/tidy.log | tail -n 40; exit 1; }
echo "clang-tidy: ${#units[@]} units of $(git ls-files 'src/*.cc' 'apps/*.cc' ':!src/backend/cuda' | wc -l) files"
