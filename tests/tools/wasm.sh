#!/usr/bin/env bash
# Builds a crate for Envoy: tests/tools/wasm.sh MANIFEST-DIR OUTPUT.wasm
# Lints it:                 tests/tools/wasm.sh --clippy MANIFEST-DIR
#
# The target wasm32-wasip1 comes from the first of these that is there:
#   rustup  the Rust on PATH, with the target installed or added by `rustup target add`
#   debian  Debian's Rust packages, unpacked into .tools/debian-rust (installed only where unpacking does not do),
#           with which cargo builds the standard library from its source
# WASM_TOOLCHAIN=rustup or WASM_TOOLCHAIN=debian allows only that one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=wasm32-wasip1
debian=$root/.tools/debian-rust

say() { echo "wasm: $*" >&2; }

fail() {
    echo "error: $*" >&2
    exit 1
}

# --- rustup --------------------------------------------------------------------------------------------------------

has_target() {
    local libraries
    command -v cargo >/dev/null || return 1
    libraries=$(rustc --print target-libdir --target "$target" 2>/dev/null) || return 1
    compgen -G "$libraries/libstd-*.rlib" >/dev/null
}

add_target() {
    command -v rustup >/dev/null || return 1
    say "adding the target $target with rustup"
    # A machine that cannot reach rustup's server must not wait for long: the other toolchain serves as well.
    timeout 120 rustup target add "$target" >/dev/null 2>&1 && has_target
}

# --- Debian --------------------------------------------------------------------------------------------------------

debian_packages() {
    # The packages to build with. rustc links with the lld of the LLVM that it was itself built with; versions are
    # looked up, not pinned, because those of a security archive move.
    local lld
    lld=$(apt-cache "$@" depends rust-web-llvm 2>/dev/null | sed -nE 's/^ *Depends: llvm-([0-9]+)$/lld-\1/p')
    [[ -n $lld ]] && echo rustc-web cargo-web rust-web-src rust-web-clippy wasi-libc "$lld"
}

download_packages() {
    # download_packages FOLDER [APT-OPTION...]: those packages and the libraries of theirs that this system does not have.
    local folder=$1 wanted plan name names=()
    shift
    wanted=$(debian_packages "$@") || return 1
    # Planned as if nothing were installed, so that a half-installed toolchain of the system does not leave holes in ours.
    # shellcheck disable=SC2086  # words
    plan=$(apt-get "$@" -o Dir::State::status=/dev/null install --simulate --no-install-recommends --yes $wanted 2>/dev/null) || return 1
    while read -r name; do
        case $name in
            *-web | *rust-web* | lld-* | libllvm* | wasi-libc) names+=("$name") ;;
            lib*-dev) ;; # of the C compiler, which the system has
            lib*) dpkg-query --show --showformat='${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || names+=("$name") ;;
        esac
    done < <(awk '$1 == "Inst" { print $2 }' <<<"$plan")
    say "downloading ${names[*]}"
    (cd "$folder" && apt-get "$@" --quiet=2 download "${names[@]}" >/dev/null 2>&1)
}

unpack_debian() {
    # In a subshell of its own: see the caller.
    local temporary options package
    temporary=$(mktemp -d "$debian.XXXXXX")
    # shellcheck disable=SC2064  # the folder as it is named now
    trap "rm -rf '$temporary'" EXIT
    mkdir -p "$temporary"/{packages,toolchain,lists/partial,cache/archives/partial}
    if ! download_packages "$temporary/packages"; then
        # The system's package lists are missing or older than the archive. A copy of our own needs no root.
        say "the system's package lists do not serve: fetching fresh ones for this purpose"
        options=(-o "Dir::State::Lists=$temporary/lists" -o "Dir::Cache=$temporary/cache")
        # Its status is not asked: it also fails for an archive that has nothing to do with Rust.
        apt-get "${options[@]}" --quiet=2 update >/dev/null 2>&1 || true
        rm -f "$temporary"/packages/*
        download_packages "$temporary/packages" "${options[@]}" || return 1
    fi
    for package in "$temporary"/packages/*.deb; do
        # Of the sources only the standard library's are needed.
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$temporary/toolchain" --anchored --no-wildcards-match-slash \
            --exclude='./usr/src/*/compiler' --exclude='./usr/src/*/src' --exclude='./usr/share'
    done
    # A toolchain that does not run is no toolchain.
    (use_debian "$temporary/toolchain" && rustc --version && cargo --version && cargo clippy --version) >/dev/null 2>&1 || return 1
    rm -rf "$debian"
    mv -T "$temporary/toolchain" "$debian"
}

install_debian() {
    local packages
    packages=$(debian_packages) || { ((EUID == 0)) && apt-get -qq update >&2; packages=$(debian_packages); } || return 1
    if ((EUID != 0)); then
        say "Debian's Rust packages do not work unpacked here; run as root: apt-get install --no-install-recommends $packages"
        return 1
    fi
    say "installing $packages: Debian's Rust packages do not work unpacked here"
    # shellcheck disable=SC2086  # words
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $packages </dev/null >&2
}

use_debian() {
    # use_debian PREFIX: the environment for the toolchain that is unpacked there ("" for the installed one).
    local lld libraries
    lld=$(compgen -G "$1/usr/bin/wasm-ld-*" | sort -V | tail -n 1)
    [[ -x $1/usr/bin/rustc && -n $lld ]] || return 1
    if [[ -n $1 ]]; then
        libraries=$(compgen -G "$1/usr/lib/*-linux-gnu*" | paste -sd:)
        export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    fi
    export PATH=$1/usr/bin:$PATH RUSTC=$1/usr/bin/rustc
    # Building the standard library is an unstable feature of cargo.
    export RUSTC_BOOTSTRAP=1
    export CARGO_TARGET_WASM32_WASIP1_LINKER=$lld
    rust_flags+=(-Clink-self-contained=no "-L$1/usr/lib/wasm32-wasi")
    cargo_options+=(-Zbuild-std=std,panic_abort)
}

find_debian() {
    local command
    for command in apt-get apt-cache dpkg-deb dpkg-query; do
        command -v "$command" >/dev/null || { say "no Debian packages on this system ($command is missing)"; return 1; }
    done
    "$here/system.sh" "to unpack Debian's Rust packages" flock
    exec 9>"$debian.lock"
    flock 9
    [[ -d $debian ]] && use_debian "$debian" && return
    say "unpacking Debian's Rust packages into $debian (once; about 550 MB)"
    (unpack_debian) && use_debian "$debian" && return
    install_debian && use_debian ""
}

# --- the choice ----------------------------------------------------------------------------------------------------

choose_toolchain() {
    case ${WASM_TOOLCHAIN:-} in
        rustup)
            toolchain=rustup
            has_target || add_target || fail "WASM_TOOLCHAIN=rustup: the target $target is not installed and cannot be added; leave WASM_TOOLCHAIN unset"
            ;;
        debian)
            toolchain=debian
            find_debian || fail "WASM_TOOLCHAIN=debian: Debian's Rust packages cannot be used here"
            ;;
        "")
            toolchain=rustup
            has_target && return
            # Unpacked before, so rustup's server was out of reach then: do not wait for it at every call.
            [[ -d $debian ]] || ! add_target || return 0
            toolchain=debian
            find_debian || fail "no Rust for $target: 'rustup target add $target' does not work here, nor do Debian's Rust packages"
            ;;
        *) fail "WASM_TOOLCHAIN=$WASM_TOOLCHAIN: expected rustup or debian" ;;
    esac
}

release_profile() {
    # The filter's release profile as environment variables. Every crate is built with it, so that they share one build of
    # their dependencies, and with Debian's toolchain of the standard library.
    awk -F '[[:space:]]*=[[:space:]]*' '
        /^\[/ { inside = $0 ~ /^\[profile\.release\][[:space:]]*(#.*)?$/; next }
        inside && NF > 1 && !/^#/ {
            key = toupper($1); gsub(/-/, "_", key)
            value = $2; sub(/[[:space:]]*#.*/, "", value); gsub(/"/, "", value)
            print "CARGO_PROFILE_RELEASE_" key "=" value
        }' "$root/Cargo.toml"
}

usage="usage: tests/tools/wasm.sh MANIFEST-DIR OUTPUT.wasm
       tests/tools/wasm.sh --clippy MANIFEST-DIR"
[[ $# == 2 ]] || fail "$usage"
action=build directory=$1 output=$2
[[ $1 != --clippy ]] || action=clippy directory=$2
manifest=$directory/Cargo.toml
[[ -f $manifest ]] || fail "no crate at $directory: $manifest does not exist"

mkdir -p "$root/.tools"
"$here/system.sh" "to build the WebAssembly module" cc python3
rust_flags=() cargo_options=()
choose_toolchain

# No path of this machine inside the module.
rust_flags+=("--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" "--remap-path-prefix=$root=/mtls-authz")
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${rust_flags[*]}")
export CARGO_ENCODED_RUSTFLAGS
if [[ -f $root/Cargo.toml ]]; then
    mapfile -t profile < <(release_profile)
    ((${#profile[@]} == 0)) || export "${profile[@]}"
fi
# A folder for each toolchain: in a common one each would throw away the work of the other.
cargo_options+=(--release --locked --target "$target" --manifest-path "$manifest" --target-dir "$root/target/wasm-$toolchain")

if [[ $action == clippy ]]; then
    say "clippy of $directory ($(rustc --version))"
    exec cargo clippy "${cargo_options[@]}" -- -D warnings
fi

say "building $directory ($(rustc --version))"
artifact=$(
    cargo build --lib "${cargo_options[@]}" --message-format=json-render-diagnostics | python3 -c '
import json, os, sys
manifest = os.path.realpath(sys.argv[1])
for line in sys.stdin:
    message = json.loads(line)
    if message["reason"] == "compiler-artifact" and os.path.realpath(message["manifest_path"]) == manifest:
        for file in message["filenames"]:
            if file.endswith(".wasm"):
                print(file)
' "$manifest"
)
[[ -f $artifact ]] || fail "$manifest builds no .wasm file: its [lib] needs crate-type = [\"cdylib\"]"

python3 "$here/check_imports.py" "$artifact"
mkdir -p "$(dirname "$output")"
# Only a module that passed the check appears, and whole.
cp "$artifact" "$output.new"
mv "$output.new" "$output"
size=$(stat -c %s "$output")
say "$output: $size bytes ($((size / 1024)) KiB)"
