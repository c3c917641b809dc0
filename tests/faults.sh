#!/usr/bin/env bash
# The tests of faults that a usual machine does not offer: a file system of 8 MiB that is full, and a disk whose syncs fail (by strace).
# Needs Linux, and either root or user namespaces. `tests/faults.sh` makes the file system in a mount namespace of its own, so that
# nothing is left behind, and runs them there.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" != inside ]; then
  command -v strace >/dev/null 2>&1 || { echo "faults: strace is missing; type:  sudo apt-get install -y strace" >&2; exit 1; }
  cargo build --locked --workspace
  exec unshare --map-root-user --mount "$0" inside
fi
PORTCULLIS_SMALL_DISK="$(mktemp -d)"
export PORTCULLIS_SMALL_DISK
mount -t tmpfs -o size=8m tmpfs "$PORTCULLIS_SMALL_DISK"
trap 'umount "$PORTCULLIS_SMALL_DISK" && rmdir "$PORTCULLIS_SMALL_DISK"' EXIT
cargo nextest run --locked --workspace --test audit_fail_modes --run-ignored only --test-threads 1
