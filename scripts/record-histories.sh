#!/usr/bin/env bash
# Records the histories that test/workflows/replay.test.ts replays, from the scenarios in test/workflows/{backup,own-clock,care}.test.ts.
# Run it, and commit what it writes, only when old runs need not go on with the new workflow code: a history that no
# longer replays is a run that breaks at the next upgrade. Otherwise branch with patched() in src/workflows.
set -euo pipefail
cd "$(dirname "$0")/.."
HOLDFAST_RECORD_HISTORIES=1 npx vitest run test/workflows/backup.test.ts test/workflows/own-clock.test.ts test/workflows/care.test.ts "$@"
ls -l test/histories
