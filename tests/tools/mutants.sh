#!/usr/bin/env bash
# Changes the code in one place after the other, and tells which changes no test notices: `make mutants`.
#
# Most mutants fall to tests that take a second, so it goes in three passes, each over what the one before has left: the
# unit tests, then the native ones but for the slow, then all of them. ONLY (a pattern over what `cargo mutants --list`
# prints) and SHARD choose a part: ONLY='src/policy/' SHARD=0/4.
set -euo pipefail

readonly version=27.1.0
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tool=$root/.tools/cargo-mutants
report=$root/target/mutation

if [[ $("$tool/bin/cargo-mutants" mutants --version 2>/dev/null) != "cargo-mutants $version" ]]; then
    # Unoptimised: it only waits for what it starts, and is there in a fraction of the time.
    cargo install cargo-mutants --version "$version" --locked --force --debug --root "$tool" >&2
fi

# One folder for all passes, so that dependencies are built once.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target/mutation/build}
options=(--dir "$root" --output "$report" --colors never)
[[ -z ${ONLY:-} ]] || options+=(--re "$ONLY")
[[ -z ${SHARD:-} ]] || options+=(--shard "$SHARD")

pass() {
    local status=0
    "$tool/bin/cargo-mutants" mutants "${options[@]}" "$@" || status=$?
    # 2 and 3: some were missed, or took too long.
    [[ $status == [023] ]] || exit "$status"
}

rm -rf "$report/mutants.out"
pass -- --locked --lib
pass --iterate -- --locked --test native -- \
    --skip reference:: --skip vectors:: --skip any_bit --skip hostile:: --skip a_changed_value --skip a_signature_is_good
pass --iterate -- --locked --lib --test native

count() { cat "${@/#/$report/mutants.out/}" 2>/dev/null | sort -u | wc -l; }
caught=$(count caught.txt previously_caught.txt)
unviable=$(count unviable.txt)
missed=$(count missed.txt)
timeout=$(count timeout.txt)
sort -u "$report/mutants.out/missed.txt" "$report/mutants.out/timeout.txt"
echo "mutants: $caught caught, $missed missed, $timeout without an end; $unviable did not compile"
