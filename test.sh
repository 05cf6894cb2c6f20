#!/usr/bin/env bash
# Builds and runs the test suite on a fresh Debian 12 machine: all of it as released, then under the address and
# undefined-behaviour sanitizers (DESIGN.md says what that leaves out), then every fuzz target briefly.
# usage: ./test.sh
set -euo pipefail
cd "$(dirname "$0")"

tools/install-dependencies.sh test
jobs=$(nproc)
step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

for preset in release asan; do
  step "building: $preset"
  tools/configure-whole.sh "$preset"
  cmake --build --preset "$preset" -j "$jobs" | tail -n 1
  step "testing: $preset"
  ctest --preset "$preset" -j "$jobs" --progress | tail -n 15
done

step "fuzzing, a few seconds a target"
tools/fuzz.sh 5

step "done"
