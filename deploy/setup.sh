#!/usr/bin/env bash
# Installs what building and testing needs on Debian or Ubuntu, or says what to type.
#   deploy/setup.sh build    a C compiler and cmake (for the zlib-ng inside pingora)
#   deploy/setup.sh test     that, and python3-venv (for the OpenAI SDK and the ClickHouse engine in the tests), and cargo-nextest
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

# Installs the packages of commands that are missing: `need COMMAND PACKAGE ...`
missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }

install_missing() {
  [ "${#missing[@]}" -eq 0 ] && return 0
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
      sudo=(sudo -n)
    else
      say "please type:  sudo apt-get install -y ${missing[*]}    and then the same command again"
      exit 1
    fi
  fi
  if ! command -v apt-get >/dev/null 2>&1; then
    say "this machine has no apt; please install: ${missing[*]} (names of Debian's packages)"
    exit 1
  fi
  say "installing ${missing[*]}"
  "${sudo[@]}" apt-get update -qq >/dev/null
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

if ! command -v cargo >/dev/null 2>&1; then
  say "there is no Rust toolchain; https://rustup.rs shows how to get one (1.91 or newer), then the same command again"
  exit 1
fi

need cc gcc
need c++ g++
need make make
need cmake cmake
if [ "${1:-build}" = test ]; then
  need curl curl
  need python3 python3
  python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python3-venv)
fi
install_missing

if [ "${1:-build}" = test ] && ! command -v cargo-nextest >/dev/null 2>&1; then
  say "installing cargo-nextest (some minutes, once)"
  cargo install --locked --quiet cargo-nextest
fi
