#!/usr/bin/env bash
# Changes the code in one place after the other, and tells which changes no test notices: `make mutants`.
#
# Most mutants fall to tests that take a second, so it goes in two passes: all tests but the slow, and then those for what
# is left. ONLY, a pattern over what `cargo mutants --list` prints, chooses a part: ONLY=src/policy/. The few mutants that
# delete a field are in every part.
set -euo pipefail

readonly version=27.1.0
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tool=$root/.tools/cargo-mutants
report=$root/target/mutation
slow=(reference:: vectors:: spellings:: any_bit hostile:: a_changed_value a_signature_is_good a_hundred_thousand)

if [[ $("$tool/bin/cargo-mutants" mutants --version 2>/dev/null) != "cargo-mutants $version" ]]; then
    # Unoptimised: it only waits for what it starts, and is there in a fraction of the time.
    cargo install cargo-mutants --version "$version" --locked --force --debug --root "$tool" >&2
fi

# One folder for all passes, so that dependencies are built once.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target/mutation/build}
export RUST_BACKTRACE=0
options=(--dir "$root" --output "$report" --colors never)
[[ -z ${ONLY:-} ]] || options+=(--re "$ONLY")

pass() {
    local status=0
    "$tool/bin/cargo-mutants" mutants "${options[@]}" "$@" || status=$?
    # 2 and 3: some were missed, or took too long.
    [[ $status == [023] ]] || exit "$status"
    # Who does not come to an end is noticed, and need not be waited for again.
    cat "$report/mutants.out/timeout.txt" >> "$report/endless.txt"
    # The next pass counts these among what was caught.
    cat "$report/mutants.out/unviable.txt" >> "$report/unviable.txt"
    cat "$report/mutants.out/timeout.txt" >> "$report/mutants.out/caught.txt"
}

mkdir -p "$report"
rm -rf "$report/mutants.out" "$report/endless.txt" "$report/unviable.txt"
pass -- --locked --lib --test native -- "${slow[@]/#/--skip=}"
pass --iterate -- --locked --test native -- "${slow[@]}"

count() { cat "$@" 2>/dev/null | sort -u | wc -l; }
cd "$report/mutants.out"
settled=$(count caught.txt previously_caught.txt unviable.txt)
endless=$(count ../endless.txt)
unviable=$(count ../unviable.txt)
missed=$(count missed.txt)
sort -u missed.txt
echo "mutants: $((settled - endless - unviable)) caught, $endless endless, $missed missed; $unviable do not compile"
