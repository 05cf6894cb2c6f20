#!/usr/bin/env bash
# Builds Facet on a fresh Debian 12 machine and tells a story with the model that ships with it.
# usage: ./demo.sh [PROMPT]
set -euo pipefail
cd "$(dirname "$0")"

tools/install-dependencies.sh build
tools/configure-whole.sh release
make --no-print-directory build >&2
prompt=${1:-Once upon a time}
echo "\$ build/release/bin/facet run \"$prompt\"" >&2
printf '%s' "$prompt"
build/release/bin/facet run "$prompt"
