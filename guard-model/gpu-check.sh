#!/usr/bin/env bash
# One unattended run on a machine with an NVIDIA GPU: parity of the GPU with the CPU, and throughput and latency beside PyTorch on the
# same weights and batches. Prints one table, and exits with 1 when a figure is missed.
#
#   guard-model/gpu-check.sh BINARY MODEL_DIR [PYTHON]
#
# It needs the program built with `cargo build --release --features cuda`, a model folder, and a Python with PyTorch and numpy.
# Nothing is installed and nothing is fetched.
set -euo pipefail
binary=$(realpath "${1:?the portcullis program, built with --features cuda}")
model=$(realpath "${2:?a model folder}")
python=${3:-python3}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -c 'import torch; assert torch.cuda.is_available(), "PyTorch sees no GPU"'

echo "1/4 scores on the CPU and on the GPU" >&2
"$binary" guard score --model "$model" --device cpu <"$here/data/eval/direct.jsonl" >"$work/cpu.jsonl"
"$binary" guard score --model "$model" --device cuda:0 <"$here/data/eval/direct.jsonl" >"$work/gpu.jsonl"

echo "2/4 throughput of the program" >&2
for batch in 1 8 32 128 512; do
  "$binary" guard bench --model "$model" --device cuda:0 --tokens 128 --batch "$batch" --json
done >"$work/program.jsonl"

echo "3/4 latency of the program at half its load" >&2
"$binary" guard bench --model "$model" --device cuda:0 --tokens 128 --half-load --json >"$work/half.jsonl"

echo "4/4 the same in PyTorch" >&2
"$python" "$here/gpu_check.py" "$model" "$work"
