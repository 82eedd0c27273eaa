#!/usr/bin/env bash
# Kills `holdfast prune` with -9 at random moments: each time what is left has to check clean, the next prune has to finish, and
# every snapshot that stays has to restore as it was. Needs a built program.
# Usage: scripts/kill-prune.sh [TIMES]
set -euo pipefail
times="${1:-20}"
program="$(cd "$(dirname "$0")/.." && pwd)/bin/holdfast.js"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export HOLDFAST_CONFIG="$work/holdfast.yaml"
holdfast() { node "$program" "$@"; }
write_config() {
  cat > "$HOLDFAST_CONFIG" <<YAML
host: h
state: $work/state
spool: { path: $work/spool }
destinations: { nas: { type: local, path: $work/nas } }
jobs:
  j: { sources: [{ type: files, paths: [$work/src] }], destinations: [nas], retention: { keepLast: $1 } }
YAML
}
write_config 9
mkdir "$work/src" "$work/was"
for round in 1 2 3 4 5; do
  for file in 1 2 3 4 5 6 7 8; do
    # Most files change from round to round: old packs become half empty.
    if [ "$round" = 1 ] || [ $(((round + file) % 3)) != 0 ]; then head -c 700000 /dev/urandom > "$work/src/$file"; fi
  done
  id="$(holdfast backup j --json 2> "$work/errors" | python3 -c 'import json,sys; print(json.load(sys.stdin)["snapshot"])')"
  cp -a "$work/src" "$work/was/$id"
done
write_config 2
cp -a "$work/nas" "$work/nas.before"
cp -a "$work/state" "$work/state.before"
SECONDS=0
began="$(date +%s%N)"
holdfast prune j > "$work/out" 2>&1
whole=$((($(date +%s%N) - began) / 1000000))
for ((time = 1; time <= times; time++)); do
  rm -rf "$work/nas" "$work/state"
  cp -a "$work/nas.before" "$work/nas"
  cp -a "$work/state.before" "$work/state"
  after=$((RANDOM * 32768 % whole + RANDOM % whole))
  after=$((after % whole))
  setsid node "$program" prune j > "$work/out" 2>&1 &
  group=$!
  sleep "$(python3 -c "print($after / 1000)")"
  kill -9 -- "-$group" 2> /dev/null || true
  wait "$group" 2> /dev/null || true
  holdfast check j --read-data > "$work/out" 2>&1 || { cat "$work/out"; echo "check failed, killed after $after ms" >&2; exit 1; }
  holdfast prune j > "$work/out" 2>&1 || { cat "$work/out"; echo "prune failed, killed after $after ms" >&2; exit 1; }
  stayed="$(holdfast snapshots j --json 2> "$work/errors" | python3 -c 'import json,sys; print(*[one["id"] for one in json.load(sys.stdin)])')"
  [ "$(wc -w <<< "$stayed")" = 2 ] || { echo "$stayed stayed, killed after $after ms" >&2; exit 1; }
  for id in $stayed; do
    rm -rf "$work/back"
    holdfast restore j --snapshot "$id" --to "$work/back" > "$work/out" 2>&1
    diff -r "$work/was/$id" "$work/back$work/src" || { echo "$id differs, killed after $after ms" >&2; exit 1; }
  done
  echo "killed after $after of $whole ms: whole, and pruned by the next"
done
