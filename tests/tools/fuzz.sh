#!/usr/bin/env bash
# Fuzzes: tests/tools/fuzz.sh SECONDS [TARGET...]
# Each target (all of fuzz/Cargo.toml unless some are named) runs for so many seconds, as many side by side as there are
# cores. cargo-fuzz is built into .tools/ at first use. Fails if any input was a finding, and says where it lies.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
version=0.13.2
tool=$root/.tools/cargo-fuzz-$version

seconds=${1:?usage: tests/tools/fuzz.sh SECONDS [TARGET...]}
shift
"$here/system.sh" "to build libFuzzer" c++ flock

mkdir -p "$root/.tools"
exec 9>"$tool.lock"
flock 9
if [[ ! -x $tool/bin/cargo-fuzz ]]; then
    echo "fuzz: building cargo-fuzz $version (once)" >&2
    cargo install --quiet cargo-fuzz --version "$version" --locked --root "$tool"
fi
exec 9>&-

cd "$root"
mapfile -t known < <("$tool/bin/cargo-fuzz" fuzz list)
(($#)) || set -- "${known[@]}"
for target in "$@"; do
    [[ " ${known[*]} " == *" $target "* ]] || {
        echo "error: no target $target; there are ${known[*]}" >&2
        exit 1
    }
done

# No sanitizer: it would look for broken memory, which code without `unsafe` cannot break, and needs an unstable compiler.
# No cfg(fuzzing): what is fuzzed is what is shipped, dependencies included.
"$tool/bin/cargo-fuzz" fuzz build --sanitizer none --no-cfg-fuzzing --features libfuzzer --target-dir target/fuzz
programs=target/fuzz/$(rustc -vV | sed -n 's/^host: //p')/release

run() {
    local target=$1 log=fuzz/logs/$1.log begun=$SECONDS status=0 result=good
    # New inputs go into the first folder; the others are only read.
    local corpora=("fuzz/corpus/$target" "fuzz/seeds/$target")
    [[ ! -d ../shared/vectors ]] || corpora+=(../shared/vectors)
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target" fuzz/logs
    # A request's headers and a certificate have at most 32 KiB; what takes five seconds is as bad as a crash.
    "$programs/$target" -max_total_time="$seconds" -max_len=32768 -timeout=5 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" "${corpora[@]}" >"$log" 2>&1 || status=$?
    ((status == 0)) || result="FAILED: see $log"
    printf '%-20s %7d s  %10s runs  %6s edges  %s\n' "$target" $((SECONDS - begun)) \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
        "$(sed -nE 's/.* cov: ([0-9]+) .*/\1/p' "$log" | tail -n 1)" "$result"
    ((status == 0)) || sed -n 's/^.*Test unit written to /                     /p' "$log"
    return "$status"
}
export -f run
export programs seconds

printf '%s\n' "$@" | xargs -P "$(nproc)" -I {} bash -c 'run {}' || {
    echo "error: some inputs are findings; repeat one with $programs/TARGET FILE" >&2
    exit 1
}
