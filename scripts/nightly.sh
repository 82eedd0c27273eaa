#!/usr/bin/env bash
# What takes too long for every change: bad networks, 5 GB objects, long listings; and the readers of repositories, given 100,000
# malformed inputs each.
# Usage: scripts/nightly.sh [RUNS]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install-tools.sh
scripts/install-tools.sh network
npx --no-install vitest run --config vitest.nightly.config.ts
HOLDFAST_FUZZ_RUNS="${1:-100000}" npx --no-install vitest run test/fuzz
