#!/usr/bin/env bash
# Builds and runs the test suite on a fresh Debian 12 machine: all of it as released, then under the address and
# undefined-behaviour sanitizers (DESIGN.md says what that leaves out), then every fuzz target briefly. Where nvcc is
# installed the CUDA backend is compiled too; its tests run if there is a GPU.
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

if command -v nvcc >/dev/null; then
  step "building: CUDA, for the H100's generation alone"
  cmake --preset cuda-check >/dev/null
  cmake --build --preset cuda-check -j "$jobs" --target facet cuda_test | tail -n 1
  step "testing: CUDA"
  build/cuda-check/bin/facet doctor | grep '^gpu'
  build/cuda-check/bin/cuda_test --gtest_brief=1
else
  step "CUDA: not compiled, for nvcc is not installed"
fi

step "fuzzing, a few seconds a target"
tools/fuzz.sh 5

step "done"
