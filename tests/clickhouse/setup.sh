#!/bin/sh
# Makes the Python environment of the ClickHouse tests in target/clickhouse-venv, once for each state of requirements.txt.
set -eu
cd "$(dirname "$0")/../.."
venv="${CARGO_TARGET_DIR:-target}/clickhouse-venv"
stamp="$venv/requirements.sha256"
wanted=$(sha256sum <tests/clickhouse/requirements.txt)
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
    exit 0
fi
rm -rf "$venv"
python3 -m venv "$venv" || {
    echo "setup.sh: python3 -m venv failed; on Debian or Ubuntu type: apt-get install python3-venv" >&2
    exit 1
}
# Without its dependencies: the engine alone, no data frames.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement tests/clickhouse/requirements.txt || {
    echo "setup.sh: the ClickHouse engine (chdb-core) cannot be installed: there are wheels for Linux on x86-64 and arm64, Python 3.9 or newer" >&2
    exit 1
}
# Written last: an environment without its stamp is made again.
printf '%s\n' "$wanted" >"$stamp"
