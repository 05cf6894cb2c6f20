#!/usr/bin/env bash
# Installs what building and testing Facet takes on Debian 12. Does nothing where all of it is there.
# usage: tools/install-dependencies.sh [build|test|lint]   (each includes the one before; default: build)
set -euo pipefail

build=(g++ cmake ninja-build git ca-certificates nlohmann-json3-dev libcli11-dev libfmt-dev libedit-dev
       libboost-dev)
test=(libgtest-dev libgmock-dev libbenchmark-dev liblzma-dev xz-utils clang-14 libclang-rt-14-dev llvm-14 python3)
lint=(clang-format-14 clang-tidy-14)

case "${1:-build}" in
  build) packages=("${build[@]}") ;;
  test) packages=("${build[@]}" "${test[@]}") ;;
  lint) packages=("${build[@]}" "${test[@]}" "${lint[@]}") ;;
  *) echo "usage: $0 [build|test|lint]" >&2; exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "Facet's scripts install packages with apt-get, which this system does not have. Needed: ${missing[*]}" >&2
  exit 1
fi
root=()
[ "$(id -u)" -eq 0 ] || root=(sudo)
echo "Installing: ${missing[*]}" >&2
"${root[@]}" apt-get update -qq >&2
DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
