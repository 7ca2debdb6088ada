#!/usr/bin/env bash
# Fuzzes the targets one after another with libFuzzer, each on one core for so many minutes, and prints what came of it.
# Needs a nightly toolchain, a C++ compiler, and cargo-fuzz (`cargo install cargo-fuzz --locked`).
#
#   tests/fuzz/run.sh [MINUTES] [TARGET…]     fuzz (20 minutes, all targets)
#   tests/fuzz/run.sh --minimise [TARGET…]    put what reaches something new, and is short, into the corpus
set -euo pipefail
cd "$(dirname "$0")/../.."

minimise=false
minutes=20
if [[ ${1:-} == --minimise ]]; then
    minimise=true
    shift
elif [[ ${1:-} =~ ^[0-9]+$ ]]; then
    minutes=$1
    shift
fi
targets=("$@")
if ((${#targets[@]} == 0)); then
    for source in tests/fuzz/targets/*.rs; do targets+=("$(basename "$source" .rs)"); done
fi

# What runs leave behind: what they learnt, their logs, and the inputs that they found something with.
work=${POSTBACKD_FUZZ_WORK:-target/fuzz/work}
programs=${POSTBACKD_FUZZ_PROGRAMS:-target/fuzz/x86_64-unknown-linux-gnu/release}
longest=4096      # bytes of an input
kept=1024         # bytes of an input that goes into the corpus
slowest=10        # seconds for an input
memory=1024       # MiB of a program
allocation=64     # MiB of one allocation
export ASAN_OPTIONS=detect_odr_violation=0:quarantine_size_mb=16:detect_leaks=0

# Programs that were built before, and lie elsewhere, are taken as they are.
if [[ -z ${POSTBACKD_FUZZ_PROGRAMS:-} ]]; then
    cargo +nightly fuzz build --fuzz-dir tests/fuzz --target-dir target/fuzz
fi

# Hands a target's program what it needs in every run.
fuzz() {
    local target=$1
    shift
    local words=()
    if [[ -f tests/fuzz/dictionaries/$target ]]; then words=("-dict=tests/fuzz/dictionaries/$target"); fi
    "$programs/$target" -timeout=$slowest -rss_limit_mb=$memory -malloc_limit_mb=$allocation -print_final_stats=1 \
        "${words[@]}" "$@"
}

if $minimise; then
    for target in "${targets[@]}"; do
        mkdir -p "$work/$target/learnt" "$work/$target/added"
        rm -f "$work/$target/added"/*
        # What the corpus reaches already stays; of what was learnt, the shortest that reaches more.
        fuzz "$target" -merge=1 -max_len=$kept "$work/$target/added" "tests/fuzz/corpus/$target" "$work/$target/learnt" \
            >"$work/$target/merge.log" 2>&1
        added=0
        while read -r input; do
            if ((added == 20)); then break; fi
            if ! cmp -s "$input" "tests/fuzz/corpus/$target/$(basename "$input")"; then
                cp "$input" "tests/fuzz/corpus/$target/learnt_$(basename "$input" | cut -c1-12)"
                added=$((added + 1))
            fi
        done < <(find "$work/$target/added" -type f | sort)
        echo "$target: $added inputs added"
    done
    exit 0
fi

printf '%-16s %12s %10s %10s  %s\n' target executions coverage features found
found=0
for target in "${targets[@]}"; do
    mkdir -p "$work/$target/learnt" "$work/$target/found"
    log=$work/$target/log
    ended=ok
    fuzz "$target" -max_total_time=$((minutes * 60)) -max_len=$longest -artifact_prefix="$work/$target/found/" \
        "$work/$target/learnt" "tests/fuzz/corpus/$target" >"$log" 2>&1 || ended=failed
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    # `-` where the program ended before it could say.
    coverage=$({ grep -aoE 'cov: [0-9]+' "$log" || true; } | tail -1 | cut -d' ' -f2)
    features=$({ grep -aoE 'ft: [0-9]+' "$log" || true; } | tail -1 | cut -d' ' -f2)
    what=nothing
    if [[ $ended == failed ]]; then
        found=1
        what=$({ grep -aoE 'Test unit written to .*' "$log" || true; } | tail -1 | sed 's/Test unit written to //')
        what="${what:-nothing, but it failed}; see $log"
    fi
    printf '%-16s %12s %10s %10s  %s\n' "$target" "${executions:--}" "${coverage:--}" "${features:--}" "$what"
done
exit $found
