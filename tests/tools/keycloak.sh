#!/usr/bin/env bash
# Prints the folder with what the tests with Keycloak run: tests/tools/keycloak.sh
#   $KEYCLOAK          a folder of your own, laid out in the same way
#   .tools/keycloak    else: default-jre-headless/, Debian's Java as debian.sh unpacks it, and keycloak/: the distribution that
#                      tests/issuers/keycloak.txt pins, from Maven's repository, built for a database in memory
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read -r artifact digest < <(grep -v '^#' "$here/../issuers/keycloak.txt")
java=usr/lib/jvm/default-java
# What Keycloak wants to know when it is built.
options=(--db=dev-mem --cache=local --https-client-auth=request)
pin="$artifact $digest ${options[*]}"

fail() {
    echo "error: $*" >&2
    exit 1
}

folder=$("$here/debian.sh" KEYCLOAK keycloak "Keycloak's Java" "default-jre-headless $java/bin/java -version")
if [[ -n ${KEYCLOAK:-} ]]; then
    [[ -x $folder/keycloak/bin/kc.sh ]] || fail "KEYCLOAK=$KEYCLOAK: keycloak/bin/kc.sh is not there"
elif [[ $(cat "$folder/keycloak/pin" 2>/dev/null) != "$pin" ]]; then
    "$here/system.sh" "to fetch and start Keycloak" mvn python3 flock
    # One fetches, the others wait.
    exec 9>"$folder.lock"
    flock 9
    [[ $(cat "$folder/keycloak/pin" 2>/dev/null) != "$pin" ]] || { echo "$folder"; exit 0; }
    temporary=$(mktemp -d "$folder/keycloak.XXXXXX")
    trap 'rm -rf "$temporary"' EXIT
    echo "fetching $artifact into $folder" >&2
    # Maven's own settings say which repository. A copy of what it fetches is of no use to anything else, so it is not kept.
    mvn --batch-mode --quiet "-Dmaven.repo.local=$temporary/repository" \
        org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
        "-Dartifact=$artifact" "-DoutputDirectory=$temporary" >"$temporary/log" 2>&1 </dev/null || {
        cat "$temporary/log" >&2
        fail "$artifact could not be fetched, see above; set KEYCLOAK to a folder that has keycloak/bin/kc.sh"
    }
    echo "$digest  $(ls "$temporary"/*.zip)" | sha256sum --check --status || fail "$artifact is not the file that was pinned"
    python3 -m zipfile -e "$temporary"/*.zip "$temporary/unpacked"
    mv "$temporary"/unpacked/keycloak-* "$temporary/keycloak"
    chmod +x "$temporary"/keycloak/bin/*.sh
    rm -rf "$folder/keycloak"
    mv -T "$temporary/keycloak" "$folder/keycloak"
    echo "building Keycloak for a database in memory" >&2
    # Half of its start; the rest is left for each test run. It remembers where it lies.
    JAVA_HOME=$folder/default-jre-headless/$java "$folder/keycloak/bin/kc.sh" build "${options[@]}" >"$temporary/log" 2>&1 </dev/null || {
        cat "$temporary/log" >&2
        fail "Keycloak cannot be built on this system, see above"
    }
    # Written last: a folder without it is unfinished.
    echo "$pin" >"$folder/keycloak/pin"
fi
echo "$folder"
