#!/usr/bin/env bash
# Shows Holdfast at work on this machine: builds it, brings up the embedded default, backs up a folder, restores it and compares.
# On a terminal it stays up afterwards, until Ctrl-C, so that the Web UI can be looked at.
# Usage: npm run quickstart [-- FOLDER]                      (without FOLDER: a small demo tree)
set -euo pipefail

root="$(cd "$(dirname "$0")/.." && pwd)"
work="$(mktemp -d "${TMPDIR:-/tmp}/holdfast-quickstart-XXXXXX")"
work="$(cd "$work" && pwd -P)"
config="$work/holdfast.yaml"
log="$work/up.log"
source="${1:-}"
up=

say() { printf '\n%s\n' "$*"; }
holdfast() { node "$root/bin/holdfast.js" --config "$config" "$@"; }
stop() {
  if [ -n "$up" ] && kill "$up" 2>/dev/null; then wait "$up" || true; fi
}
trap stop EXIT

# A little of everything that a backup has to bring back.
make_demo() {
  mkdir -p "$1/empty folder" "$1/deep/er"
  cp -R "$root/src" "$root/package-lock.json" "$1/"
  ln -s src/errors.ts "$1/a symbolic link"
  ln "$1/package-lock.json" "$1/deep/a hard link"
  printf 'secret\n' >"$1/deep/er/private" && chmod 0600 "$1/deep/er/private"
  touch -t 196912241200 "$1/deep/er/private"
  head -c 5000000 /dev/urandom >"$1/random bytes"
}

# Kinds, modes, owners, times to the nanosecond, link targets and contents of a tree, one line each.
describe() {
  (
    cd "$1"
    if find . -maxdepth 0 -printf '' 2>/dev/null; then
      find . -mindepth 1 -printf '%P|%y|%m|%U:%G|%T@|%l\n' | LC_ALL=C sort
    fi
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum 2>/dev/null || find . -type f -exec shasum -a 256 {} + | LC_ALL=C sort
  )
}

say '1. Building'
(cd "$root" && npm run --silent build)

if [ -z "$source" ]; then
  source="$work/demo"
  make_demo "$source"
fi
source="$(cd "$source" && pwd -P)"

(umask 077 && node -p "require('node:crypto').randomBytes(24).toString('base64url')" >"$work/passphrase")
cat >"$config" <<END
# Written by scripts/quickstart.sh
host: quickstart
state: "$work/state"
encryption:
  passphrase: \${file:$work/passphrase}
destinations:
  disk: { type: local, path: "$work/repository" }
jobs:
  demo:
    sources:
      - { type: files, name: folder, paths: ["$source"] }
    destinations: [disk]
    schedule: { every: 6h }
    retention: { keepLast: 3, keepDaily: 7 }
END

say '2. Starting Holdfast with its embedded Temporal server (the first time it may have to be fetched or built: minutes)'
# Not through the function: $! has to be Holdfast itself.
node "$root/bin/holdfast.js" --config "$config" up >"$log" 2>&1 &
up=$!
last=
until url="$(grep -oE 'https?://(127\.0\.0\.1|localhost|\[::1\]):[0-9]+[^ "]*' "$log" | head -1)" && [ -n "$url" ]; do
  kill -0 "$up" 2>/dev/null || { cat "$log" >&2; exit 1; }
  line="$(tail -n 1 "$log")"
  [ "$line" = "$last" ] || printf '   %s\n' "$line"
  last="$line"
  sleep 0.2
done
echo "   Temporal Web UI: $url"

say "3. Backing up $source"
holdfast backup demo

say "4. Restoring to $work/restored"
holdfast restore demo --to "$work/restored"

say '5. Comparing'
describe "$source" >"$work/before.txt"
describe "$work/restored$source" >"$work/after.txt"
if ! diff "$work/before.txt" "$work/after.txt"; then
  say "The restored tree differs. Everything is in $work."
  exit 1
fi
echo "   identical: $(find "$source" | wc -l | tr -d ' ') entries, with their contents, modes, owners and times"

say "Done in $SECONDS s. The Temporal Web UI: $url"
cat <<END
Try next (config, passphrase, repository and state are in $work):
  alias holdfast='node $root/bin/holdfast.js --config $config'
  holdfast snapshots demo
  holdfast ls demo
  holdfast runs list
  holdfast init                 # a config of your own
END
if [ -t 1 ] && [ -z "${CI:-}" ]; then
  say 'Holdfast is still up. Press Ctrl-C to stop it.'
  # Ctrl-C reaches Holdfast too: it stops by itself, and the second wait sees it end.
  trap : INT
  wait "$up" || wait "$up" || true
  up=
fi
