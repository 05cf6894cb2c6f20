#!/usr/bin/env bash
# Configures a preset for one whole build: several files compiled as one, twice as fast. A build that a developer has
# configured already stays as it is.
# usage: tools/configure-whole.sh PRESET [CMAKE_ARGUMENT ...]
set -euo pipefail
cd "$(dirname "$0")/.."

[ -e "build/$1/CMakeCache.txt" ] || cmake --preset "$1" -DFACET_UNITY=ON "${@:2}" >/dev/null
cmake --preset "$1" >/dev/null
