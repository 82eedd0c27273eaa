#!/usr/bin/env bash
# The tests that are too large for every change: objects of 5 GB and long listings, on a local disk and on S3.
# They need about 16 GB in TMPDIR.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/install-tools.sh
npm run build
npx vitest run --config vitest.nightly.config.ts "$@"
