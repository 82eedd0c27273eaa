#!/usr/bin/env bash
# Installs what the tests need beside npm's packages; does nothing where all of it is there.
#   system   Debian packages (only when root); ProFTPD, a second FTP server, into Holdfast's cache
#   temporal the Temporal CLI with its embedded server, into Holdfast's cache
#   s3       versitygw, an S3 server for the tests, into Holdfast's cache
#   network  toxiproxy, which makes networks bad for the nightly tests and the benchmark, into Holdfast's cache
# Usage: scripts/install-tools.sh [system|temporal|s3|network]...      (all but network when none is named)
set -euo pipefail

cache="${XDG_CACHE_HOME:-$HOME/.cache}/holdfast"

system() {
  command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || return 0
  local missing=()
  command -v git >/dev/null || missing+=(git ca-certificates)
  command -v g++ >/dev/null || missing+=(g++)
  command -v make >/dev/null || missing+=(make)
  command -v python3 >/dev/null || missing+=(python3)
  command -v getfattr >/dev/null || missing+=(attr)
  command -v zstd >/dev/null || missing+=(zstd)
  command -v 7zz >/dev/null || missing+=(7zip)
  command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ] || missing+=(mariadb-server)
  [ -x /usr/sbin/sshd ] || missing+=(openssh-server)
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing+=(postgresql)
  [ -x /usr/sbin/sshd ] && [ -x /usr/bin/ssh-keygen ] || missing+=(openssh-server openssh-client)
  [ -x /usr/sbin/vsftpd ] || missing+=(vsftpd)
  command -v openssl >/dev/null || missing+=(openssl)
  command -v ps >/dev/null || missing+=(procps)
  python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "Installing Debian packages: ${missing[*]}"
  apt-get update -qq
  # The servers are for tests to start: installing them must not.
  local policy=/usr/sbin/policy-rc.d
  if [ -e "$policy" ]; then policy=; else printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; fi
  local status=0
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || status=$?
  [ -z "$policy" ] || rm -f "$policy"
  return "$status"
}

# Debian lets one FTP server be installed at a time: the second one is unpacked beside it, with the libraries it needs.
proftpd() {
  local folder="$cache/tools/proftpd" work
  [ -x "$folder/usr/sbin/proftpd" ] && return 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  echo "Unpacking ProFTPD into $folder"
  apt-get update -qq
  apt-cache depends proftpd-core | sed -n 's/^ *Depends: \(lib.*\)$/\1/p' |
    DEBIAN_FRONTEND=noninteractive xargs apt-get install -y -qq --no-install-recommends >/dev/null
  mkdir -p "$folder"
  work="$(mktemp -d)"
  (cd "$work" && chmod 755 . && apt-get download -qq proftpd-core && dpkg -x proftpd-core_*.deb "$folder")
  rm -rf "$work"
}

# go_tool NAME PACKAGE FOLDER [BUILT]: builds a Go program into FOLDER, unless it is there or on PATH; BUILT is what Go calls it.
go_tool() {
  local name="$1" package="$2" folder="$3" built="${4:-$1}"
  [ -x "$folder/$name" ] && return 0
  command -v "$name" >/dev/null && return 0
  if ! command -v go >/dev/null; then
    echo "$name is missing and there is no Go to build it: install Go 1.24 or later (https://go.dev/dl), or put $name on PATH." >&2
    return 1
  fi
  echo "Building $name (go install $package)"
  mkdir -p "$folder"
  local build
  build="$(mktemp -d "$folder/.build-XXXXXX")"
  GOBIN="$build" go install "$package" || { rm -rf "$build"; return 1; }
  mv "$build/$built" "$folder/$name"
  rmdir "$build"
  echo "Built $folder/$name"
}

temporal() { go_tool temporal github.com/temporalio/cli/cmd/temporal@v1.5.1 "$cache/temporal/bin"; }
s3() {
  case "$(uname -s)" in MINGW* | MSYS*) echo 'versitygw has no Windows build'; return 0 ;; esac
  go_tool versitygw github.com/versity/versitygw/cmd/versitygw@v1.8.0 "$cache/tools/bin"
}
network() { go_tool toxiproxy-server github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0 "$cache/tools/bin" server; }

for part in "${@:-all}"; do
  case "$part" in
    system) system; proftpd ;;
    temporal | s3 | network) "$part" ;;
    all) system; proftpd; temporal; s3 ;;
    *) echo "install-tools.sh: unknown part $part" >&2; exit 2 ;;
  esac
done
