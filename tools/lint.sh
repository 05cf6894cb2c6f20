#!/usr/bin/env bash
# Formatting (clang-format) and static analysis (clang-tidy) over every source file.
# usage: tools/lint.sh
set -euo pipefail
cd "$(dirname "$0")/.."

tools/install-dependencies.sh lint
mapfile -t all < <(git ls-files '*.cc' '*.h' '*.cu' '*.cuh')
clang-format-14 --dry-run --Werror "${all[@]}"
echo "clang-format: ${#all[@]} files"

cmake --preset release >/dev/null
# clang reads g++'s compilation database; the flags that only g++ knows are dropped by --extra-arg. The three macros
# let clang 14 see the coroutines of g++'s library and of Boost 1.74, which take it for a compiler without.
mapfile -t units < <(git ls-files 'src/*.cc' 'apps/*.cc')
printf '%s\n' "${units[@]}" |
  xargs -P "$(nproc)" -n 4 clang-tidy-14 -p build/release --quiet --extra-arg=-Wno-unknown-warning-option \
    --extra-arg=-D__cpp_impl_coroutine=201902L --extra-arg=-DBOOST_ASIO_HAS_CO_AWAIT \
    --extra-arg=-DBOOST_ASIO_HAS_STD_COROUTINE 2>build/tidy.log ||
  { grep -v "warnings generated" build/tidy.log | tail -n 40; exit 1; }
echo "clang-tidy: ${#units[@]} files"
