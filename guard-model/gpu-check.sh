#!/usr/bin/env bash
# One unattended run on a machine with an NVIDIA GPU: the tests, the GPU's scores beside the CPU's and beside PyTorch's, and latency and
# throughput beside PyTorch on the same weights and batches. Prints one table. Nothing is installed and nothing is fetched.
#
#   guard-model/gpu-check.sh [--rehearse] [PROGRAM [MODEL [PYTHON]]]
#
#   PROGRAM  portcullis, built with `cargo build --release -p portcullis --features cuda`   (target/release/portcullis)
#   MODEL    a model folder                                                                (guard-model/weights/small)
#   PYTHON   a Python with PyTorch                                                         (python3)
#
# --rehearse runs all of it on a CPU, with any build: it shows that the script works and that PyTorch reads the weights the same way. Its
# times say nothing.
#
# Exit code 0: every figure is reached; 1: one is not; 2: something that it needs is missing, which it names.
set -euo pipefail
device=cuda:0
batches=1,8,32,128,512
if [ "${1:-}" = --rehearse ]; then
  device=cpu
  batches=1,4
  shift
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
program=${1:-$root/target/release/portcullis}
model=${2:-$here/weights/small}
python=${3:-python3}
# Texts whose scores are compared, of each file of data/eval; seconds for each figure.
texts=${GPU_CHECK_TEXTS:-300}
seconds=${GPU_CHECK_SECONDS:-2}

missing=0
lacks() {
  echo "gpu-check: missing: $1" >&2
  missing=1
}
"$program" guard bench --help >/dev/null 2>&1 || lacks "the program: $program; build it, or name it as the first argument"
[ -f "$model/manifest.json" ] || lacks "the model: $model has no manifest.json; name a model folder as the second argument"
"$python" -c 'import torch' 2>/dev/null || lacks "PyTorch: $python cannot import torch; name a Python that can as the third argument"
if [ "$device" != cpu ]; then
  nvidia-smi -L 2>/dev/null | grep -q GPU || lacks "an NVIDIA GPU: nvidia-smi lists none"
  "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null || lacks "PyTorch's GPU: torch.cuda.is_available() is not true"
  if [ "$missing" = 0 ] && ! reason=$("$program" guard score --model "$model" --device "$device" 2>&1 >/dev/null </dev/null); then
    lacks "the program's GPU: $reason"
  fi
fi
[ "$missing" = 0 ] || exit 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log() { echo "gpu-check: $1" >&2; }

log "1/5 tests"
tests="skipped: no cargo here"
if [ "$device" = cpu ]; then
  tests="skipped: a rehearsal"
elif command -v cargo >/dev/null && [ -f "$root/Cargo.toml" ]; then
  if (cd "$root" && cargo test --release -p portcullis-guard-model --features cuda) >"$work/tests.log" 2>&1; then
    tests="$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$work/tests.log" | awk '{n += $1} END {print n + 0}') passed"
  else
    tests="FAILED"
    tail -40 "$work/tests.log" >&2
  fi
fi

log "2/5 scores on the CPU and on $device"
for file in "$here"/data/eval/*.jsonl; do head -n "$texts" "$file"; done >"$work/texts.jsonl"
"$program" guard score --model "$model" --device cpu <"$work/texts.jsonl" >"$work/cpu.jsonl"
"$program" guard score --model "$model" --device "$device" <"$work/texts.jsonl" >"$work/device.jsonl"

log "3/5 the program on $device"
"$program" guard bench --model "$model" --device "$device" --seconds "$seconds" --batches "$batches" --windows "$work/windows.jsonl" --json >"$work/bench.json"

log "4/5 PyTorch on $device"
"$python" "$here/gpu_check.py" "$model" "$work" "$device" "$seconds" >"$work/torch.json"

log "5/5 the table"
"$python" "$here/gpu_check.py" --table "$work" "$device" "$tests"
