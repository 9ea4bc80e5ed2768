#!/usr/bin/env bash
# Builds a crate for Envoy: tests/tools/wasm.sh MANIFEST-DIR OUTPUT.wasm
# Lints it:                 tests/tools/wasm.sh --clippy MANIFEST-DIR
#
# The target wasm32-wasip1 comes from the first of these that is there:
#   rustup  the Rust on PATH, with the target installed or added by `rustup target add`
#   debian  Debian's Rust packages, unpacked into .tools/debian-rust (nothing is installed), and the target's standard
#           library built with them from its source
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
    timeout 120 rustup target add "$target" >/dev/null 2>&1 && has_target && return
    say "rustup cannot add it here"
    return 1
}

# --- Debian --------------------------------------------------------------------------------------------------------

download_packages() {
    # download_packages FOLDER [APT-OPTION...]: the toolchain and those of its libraries that this system does not have.
    local folder=$1 lld plan name names=()
    shift
    # rustc links with the lld of the LLVM that it was itself built with. Versions are looked up, not pinned, because those
    # of a security archive move.
    lld=$(apt-cache "$@" depends rust-web-llvm 2>/dev/null | sed -nE 's/^ *Depends: llvm-([0-9]+)$/lld-\1/p')
    [[ -n $lld ]] || return 1
    # Planned as if nothing were installed, so that a half-installed toolchain of the system does not leave holes in ours.
    plan=$(apt-get "$@" -o Dir::State::status=/dev/null install --simulate --no-install-recommends --yes \
        rustc-web cargo-web rust-web-src rust-web-clippy wasi-libc "$lld" 2>/dev/null) || return 1
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

unpack_packages() {
    # unpack_packages FOLDER PREFIX
    local package
    for package in "$1"/*.deb; do
        # Of the sources only the standard library's are needed.
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$2" --anchored --no-wildcards-match-slash \
            --exclude='./usr/src/*/compiler' --exclude='./usr/src/*/src' --exclude='./usr/share' || return 1
    done
    # The name by which rustc calls its linker.
    (cd "$2/usr/bin" && ln -s lld-[0-9]* rust-lld)
}

build_target() {
    # build_target FOLDER PREFIX: the standard library for the target, put where rustup would put it, so that from here on
    # nothing differs between the two toolchains.
    local folder=$1 libraries=$2/usr/lib/rustlib/$target/lib
    mkdir -p "$folder/src" "$libraries/self-contained"
    printf '[package]\nname = "nothing"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n' >"$folder/Cargo.toml"
    echo '#![no_std]' >"$folder/src/lib.rs"
    say "building the standard library for $target (once; a minute or two)"
    # Building it is an unstable feature of cargo. Bitcode beside the machine code serves builds with and without LTO.
    (
        use_debian "$2"
        # shellcheck disable=SC2030
        export CARGO_ENCODED_RUSTFLAGS="-Cembed-bitcode=yes"$'\x1f'"--remap-path-prefix=$2=/debian-rust"
        RUSTC_BOOTSTRAP=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
            cargo build --quiet --release -Zbuild-std=std,panic_abort --target "$target" \
            --manifest-path "$folder/Cargo.toml" --target-dir "$folder/target" >&2
    ) || return 1
    rm -f "$folder/target/$target/release/deps"/libnothing-*
    cp "$folder/target/$target/release/deps"/*.rlib "$libraries/" &&
        cp "$2"/usr/lib/wasm32-wasi/* "$libraries/self-contained/" &&
        rm -rf "$2/usr/src" "$2/usr/lib/rustlib/src"
}

make_debian() {
    # Runs in a subshell, whose end removes what is half done.
    local temporary options
    temporary=$(mktemp -d "$debian.XXXXXX")
    # shellcheck disable=SC2064  # the folder as it is named now
    trap "rm -rf '$temporary'" EXIT
    mkdir -p "$temporary"/{packages,toolchain,target,lists/partial,cache/archives/partial}
    say "unpacking Debian's Rust packages into $debian (once; about 500 MB)"
    if ! download_packages "$temporary/packages"; then
        # The system's package lists are missing or older than the archive. A copy of our own needs no root.
        say "the system's package lists do not serve: fetching fresh ones for this purpose"
        options=(-o "Dir::State::Lists=$temporary/lists" -o "Dir::Cache=$temporary/cache")
        # Its status is not asked: it also fails for an archive that has nothing to do with Rust.
        apt-get "${options[@]}" --quiet=2 update >/dev/null 2>&1 || true
        rm -f "$temporary"/packages/*
        download_packages "$temporary/packages" "${options[@]}" || {
            say "apt-get cannot find or download rustc-web and its companions (Debian 12 and later have them, in the security archive too)"
            return 1
        }
    fi
    unpack_packages "$temporary/packages" "$temporary/toolchain" || return 1
    build_target "$temporary/target" "$temporary/toolchain" || return 1
    # What was built against another build of the standard library does not link with this one, and cargo cannot tell.
    rm -rf "$debian" "$root/target/wasm-debian" && mv -T "$temporary/toolchain" "$debian"
}

use_debian() {
    # use_debian PREFIX: cargo, rustc and clippy are those that are unpacked there.
    local libraries
    libraries=$(compgen -G "$1/usr/lib/*-linux-gnu*" | paste -sd:)
    export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export PATH=$1/usr/bin:$PATH RUSTC=$1/usr/bin/rustc
    # Not by way of cargo, which would prefer the cargo-clippy of a rustup in the home folder.
    clippy=("$1/usr/bin/cargo-clippy" clippy)
}

find_debian() {
    local command
    for command in apt-get apt-cache dpkg-deb dpkg-query; do
        command -v "$command" >/dev/null || { say "no Debian packages on this system ($command is missing)"; return 1; }
    done
    "$here/system.sh" "to unpack Debian's Rust packages" flock
    # One unpacks, the others wait; nobody holds the lock while the crate is built.
    exec 9>"$debian.lock"
    flock 9
    [[ -d $debian ]] || (make_debian) || return 1
    exec 9>&-
    use_debian "$debian"
    has_target
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
    # their dependencies, except for those that the profile says something else of: variables have no way to name them.
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
"$here/system.sh" "to build the WebAssembly module" cc python3 wasm-opt
clippy=(cargo clippy)
choose_toolchain

# No path of this machine inside the module. SIMD makes it a thirtieth smaller, and Envoy's V8 has it on every machine that
# Envoy is built for; inlining less makes it smaller by another twentieth.
flags=(
    "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
    "--remap-path-prefix=$root=/mtls-authz"
    -Ctarget-feature=+simd128
    -Cllvm-args=-inline-threshold=100
)
# shellcheck disable=SC2031  # what build_target sets is for its own subshell
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS
if [[ -f $root/Cargo.toml ]]; then
    mapfile -t profile < <(release_profile)
    ((${#profile[@]} == 0)) || export "${profile[@]}"
fi
# A folder for each toolchain: in a common one each would throw away the work of the other.
cargo_options=(--release --locked --target "$target" --manifest-path "$manifest" --target-dir "$root/target/wasm-$toolchain")

if [[ $action == clippy ]]; then
    say "clippy of $directory ($toolchain, $(rustc --version))"
    exec "${clippy[@]}" "${cargo_options[@]}" -- -D warnings
fi

say "building $directory ($toolchain, $(rustc --version))"
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

mkdir -p "$(dirname "$output")"
# What it merges and shortens across functions is a tenth of the module, and a little of every request's instructions. The
# features are those that rustc uses for the target, all of which Envoy has; with any other in the module this fails.
features=(bulk-memory multivalue mutable-globals nontrapping-float-to-int reference-types sign-ext simd)
trap 'rm -f "$output.$$"' EXIT
wasm-opt -Oz "${features[@]/#/--enable-}" "$artifact" --output "$output.$$"
# Only a module that passed the check appears, and whole.
python3 "$here/check_imports.py" "$output.$$"
mv "$output.$$" "$output"
size=$(stat -c %s "$output")
say "$output: $size bytes ($((size / 1024)) KiB)"
