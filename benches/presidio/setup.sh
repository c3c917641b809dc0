#!/bin/sh
# Makes the Python environment of the peers bench in target/presidio, once for each state of requirements.txt.
set -eu
cd "$(dirname "$0")/../.."
venv="${CARGO_TARGET_DIR:-target}/presidio"
stamp="$venv/requirements.sha256"
wanted=$(sha256sum <benches/presidio/requirements.txt)
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
    exit 0
fi
rm -rf "$venv"
python3 -m venv "$venv" || {
    echo "setup.sh: python3 -m venv failed; on Debian or Ubuntu type: apt-get install python3-venv" >&2
    exit 1
}
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement benches/presidio/requirements.txt
# Written last: an environment without its stamp is made again.
printf '%s\n' "$wanted" >"$stamp"
