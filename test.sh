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

cuda=()
if command -v nvcc >/dev/null; then cuda=(-DFACET_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90a-real); fi  # the H100 alone

step "building: release"
tools/configure-whole.sh release "${cuda[@]}"
cmake --build --preset release -j "$jobs" | tail -n 1
step "testing: release"
CUDA_VISIBLE_DEVICES=-1 ctest --preset release -E '(^|/)(Cuda|KernelTrace)' -j "$jobs" --progress | tail -n 15
if [ -x build/release/bin/cuda_test ]; then
  step "testing: CUDA"
  build/release/bin/facet doctor | grep '^gpu'
  build/release/bin/cuda_test --gtest_brief=1
else
  step "CUDA: not compiled, for nvcc is not installed"
fi

step "building: asan"
tools/configure-whole.sh asan
cmake --build --preset asan -j "$jobs" | tail -n 1
step "testing: asan"
ctest --preset asan -j "$jobs" --progress | tail -n 15

step "fuzzing, a few seconds a target"
tools/fuzz.sh 5

step "done"
