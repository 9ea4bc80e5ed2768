#!/usr/bin/env bash
# Prints the path of a Python interpreter that has the packages of tests/e2e/requirements.txt.
# It lives in the virtual environment .tools/venv, which is made anew when that file or the Python version changes.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
requirements=$root/tests/e2e/requirements.txt
venv=$root/.tools/venv

"$here/system.sh" "for the end-to-end suite" python3 venv flock
mkdir -p "$root/.tools"
exec 9>"$root/.tools/venv.lock"
flock 9

state=$(python3 -VV; sha256sum <"$requirements")
if [[ ! -x $venv/bin/python || $(cat "$venv/state" 2>/dev/null) != "$state" ]]; then
    echo "making the Python environment $venv" >&2
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --require-hashes --prefer-binary \
        --requirement "$requirements" >&2 || {
        echo "error: the packages of $requirements could not be installed for $(python3 --version)" >&2
        exit 1
    }
    # Written last: an environment without it is unfinished.
    echo "$state" >"$venv/state"
fi
echo "$venv/bin/python"
