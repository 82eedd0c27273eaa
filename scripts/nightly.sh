#!/usr/bin/env bash
# What takes too long for every change: bad networks, objects of 5 GB, long listings (about 16 GB in TMPDIR); and the readers of
# repositories, given 100,000 malformed inputs each; and prunes, killed 20 times.
# Usage: scripts/nightly.sh [RUNS]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install-tools.sh
scripts/install-tools.sh network
npm run build
npx --no-install vitest run --config vitest.nightly.config.ts
HOLDFAST_FUZZ_RUNS="${1:-100000}" npx --no-install vitest run test/fuzz
scripts/kill-prune.sh
