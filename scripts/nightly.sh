#!/usr/bin/env bash
# What takes too long for every change: the readers of repositories, given 100,000 malformed inputs each.
# Usage: scripts/nightly.sh [RUNS]
set -euo pipefail
cd "$(dirname "$0")/.."
HOLDFAST_FUZZ_RUNS="${1:-100000}" npx --no-install vitest run test/fuzz
