#!/usr/bin/env bash
# Makes sure that system commands are there: tests/tools/system.sh WHY COMMAND...
# venv stands for Python's module of that name.
# Installs what is missing with apt-get (as root, or through sudo) and says what and why; silent when nothing is missing.
set -euo pipefail

why=$1
shift

present() {
    case $1 in
        venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

package() {
    case $1 in
        cc) echo gcc libc6-dev ;;
        c++) echo g++ ;;
        venv) echo python3-venv ;;
        flock) echo util-linux ;;
        mvn) echo maven ;;
        ps) echo procps ;;
        wasm-opt) echo binaryen ;;
        *) echo "$1" ;;
    esac
}

missing=() packages=()
for command in "$@"; do
    present "$command" && continue
    missing+=("$command")
    read -ra names <<<"$(package "$command")"
    packages+=("${names[@]}")
done
((${#missing[@]})) || exit 0

fail() {
    echo "error: missing: ${missing[*]} (needed $why); $1" >&2
    exit 1
}

command -v apt-get >/dev/null || fail "install it with this system's package manager (Debian's packages: ${packages[*]})"
root=()
if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "run as root: apt-get install ${packages[*]}"
    root=(sudo)
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" </dev/null >"$log" 2>&1
}

echo "installing ${packages[*]} with apt-get: needed $why" >&2
# The package lists may be absent (a fresh container) or older than the archive: then refresh them and try again.
apt install -y --no-install-recommends "${packages[@]}" || {
    echo "refreshing the package lists with apt-get update: those that are here do not serve" >&2
    # Its status is not asked: it also fails for an archive that has nothing to do with these packages.
    apt update || true
    apt install -y --no-install-recommends "${packages[@]}" || {
        cat "$log" >&2
        fail "apt-get install ${packages[*]} failed, see above"
    }
}

for command in "${missing[@]}"; do
    present "$command" || fail "still missing after apt-get install ${packages[*]}"
done
