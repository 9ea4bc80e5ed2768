#!/usr/bin/env bash
# Prints a folder with unpacked Debian packages: tests/tools/debian.sh VARIABLE NAME WHAT "PACKAGE COMMAND [ARGUMENT...]"...
#   $VARIABLE        a folder of your own, laid out in the same way
#   .tools/NAME      else: PACKAGE/ is Debian's package, unpacked with the libraries that this system does not have;
#                    A+B/ are two, in one folder
# Nothing is installed and no service is started. A package that is not there is downloaded and unpacked; COMMAND, a path in
# it, shows that it runs. WHAT says in messages what the packages are.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
variable=$1 name=$2 what=$3
shift 3
commands=("$@")
tools=$here/../../.tools
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
folder=$tools/$name

fail() {
    echo "error: $*" >&2
    exit 1
}

runs() {
    # runs FOLDER COMMAND [ARGUMENT...]: a command of a package that is unpacked there.
    local unpacked=$1 libraries
    shift
    libraries=$(find "$unpacked" -name 'lib*.so*' -printf '%h\n' | sort -u | paste -sd:)
    LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$unpacked/$1" "${@:2}" >/dev/null 2>&1
}

download() {
    # download PACKAGE INTO [APT-OPTION...]: the package and those of its libraries that this system does not have.
    local into=$2 plan name names
    IFS=+ read -ra names <<<"$1"
    shift 2
    # Planned as if nothing were installed, so that what is half installed leaves no holes. Versions are not pinned: the
    # archive keeps only the one with the latest security fixes.
    plan=$(apt-get "$@" -o Dir::State::status=/dev/null install --simulate --no-install-recommends --yes "${names[@]}" 2>/dev/null) ||
        return 1
    while read -r name; do
        case $name in
            *-perl | *-dev | *-tools | *-common | *-data) ;; # no shared library
            libjs-* | lib*-java) names+=("$name") ;; # a web page or a class path finds them beside itself alone
            golang-*-go | golang-*-src | openjdk-*-jre-headless) names+=("$name") ;; # what a package without a version stands for
            lib*) dpkg-query --show --showformat='${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || names+=("$name") ;;
        esac
    done < <(awk '$1 == "Inst" { print $2 }' <<<"$plan")
    echo "$what: downloading ${names[*]}" >&2
    (cd "$into" && apt-get "$@" -o Dir::State::status=/dev/null --quiet=2 download "${names[@]}" >/dev/null 2>&1)
}

make() {
    # make PACKAGE COMMAND [ARGUMENT...]: runs in a subshell, whose end removes what is half done.
    local package=$1 temporary options archive
    shift
    temporary=$(mktemp -d "$folder.XXXXXX")
    # shellcheck disable=SC2064  # the folder as it is named now
    trap "rm -rf '$temporary'" EXIT
    mkdir -p "$temporary"/{packages,unpacked,lists/partial,cache/archives/partial}
    if ! download "$package" "$temporary/packages"; then
        # The system's package lists are missing or older than the archive. A copy of our own needs no root.
        echo "$what: the system's package lists do not serve: fetching fresh ones for this purpose" >&2
        options=(-o "Dir::State::Lists=$temporary/lists" -o "Dir::Cache=$temporary/cache")
        # Its status is not asked: it also fails for an archive that has nothing to do with this package.
        apt-get "${options[@]}" --quiet=2 update >/dev/null 2>&1 || true
        rm -f "$temporary"/packages/*
        download "$package" "$temporary/packages" "${options[@]}" ||
            fail "apt-get cannot find or download $package; set $variable to a folder that has it"
    fi
    for archive in "$temporary"/packages/*.deb; do
        dpkg-deb --extract "$archive" "$temporary/unpacked" || fail "$archive cannot be unpacked"
    done
    # A link to /etc means the file that came with the package.
    find "$temporary/unpacked" -type l -lname '/*' -printf '%l %p\n' | while read -r target link; do
        [[ ! -e $temporary/unpacked$target ]] || ln -sfnr "$temporary/unpacked$target" "$link"
    done
    runs "$temporary/unpacked" "$@" || fail "$package was unpacked, but '$*' does not run on this system"
    # One rename publishes it, so an interrupted call leaves nothing half done.
    mkdir -p "$folder"
    mv -T "$temporary/unpacked" "$folder/$package"
}

if [[ -n ${!variable:-} ]]; then
    # What the user chose is used or refused, never replaced.
    for each in "${commands[@]}"; do
        read -ra command <<<"$each"
        runs "${!variable}/${command[0]}" "${command[@]:1}" || fail "$variable=${!variable}: ${command[0]}/${command[1]} is not there or does not run"
    done
    (cd "${!variable}" && pwd)
    exit 0
fi

"$here/system.sh" "to unpack $what" flock
# One unpacks, the others wait.
exec 9>"$folder.lock"
flock 9
for each in "${commands[@]}"; do
    read -ra command <<<"$each"
    [[ -d $folder/${command[0]} ]] && continue
    for needed in apt-get dpkg-deb dpkg-query; do
        command -v "$needed" >/dev/null || fail "no Debian packages on this system ($needed is missing); set $variable to a folder that has it"
    done
    (make "${command[@]}")
done
echo "$folder"
