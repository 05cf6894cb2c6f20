#!/usr/bin/env bash
# Builds the libFuzzer targets and runs each for some seconds over its corpus. A crash, a leak, a hang or more
# than 2 GiB of memory fails.
# usage: tools/fuzz.sh SECONDS [TARGET ...]
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?usage: tools/fuzz.sh SECONDS [TARGET ...]}
shift
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz -j "$(nproc)" | tail -n 1
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || for binary in build/fuzz/bin/*_fuzz; do targets+=("$(basename "$binary")"); done

for target in "${targets[@]}"; do
  found=build/fuzz/found/$target
  mkdir -p "$found"
  corpus=fuzz/corpus/${target%_fuzz}
  seeds=()
  [ -d "$corpus" ] && seeds=("$corpus")
  log=build/fuzz/$target.log
  if ! "build/fuzz/bin/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
      -artifact_prefix="build/fuzz/$target-" "$found" "${seeds[@]}" >"$log" 2>&1; then
    tail -n 40 "$log"
    echo "FAILED: $target (input saved as build/fuzz/$target-*)"
    exit 1
  fi
  echo "$target: $(grep -a number_of_executed_units "$log" | grep -ao '[0-9]*$') inputs, no failure"
done
