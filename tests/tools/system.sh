#!/usr/bin/env bash
# Makes sure that system commands are there: tests/tools/system.sh WHY COMMAND...
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
        venv) echo python3-venv ;;
        flock) echo util-linux ;;
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

apt() {
    # stdout belongs to the caller of the scripts that use this one.
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" </dev/null >&2
}

echo "installing ${packages[*]} with apt-get: needed $why" >&2
# The package lists may be absent (a fresh container) or older than the archive: then refresh them and try again.
apt install -y --no-install-recommends "${packages[@]}" 2>/dev/null || {
    echo "refreshing the package lists with apt-get update: the installed ones do not serve ${packages[*]}" >&2
    apt update || true
    apt install -y --no-install-recommends "${packages[@]}" || fail "apt-get install ${packages[*]} failed"
}

for command in "${missing[@]}"; do
    present "$command" || fail "still missing after apt-get install ${packages[*]}"
done
