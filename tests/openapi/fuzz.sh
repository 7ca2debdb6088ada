#!/usr/bin/env bash
# Fuzzes a running daemon by its own OpenAPI document with schemathesis (https://schemathesis.io).
#
# Usage: tests/openapi/fuzz.sh [SECONDS] [SEED]
#
# Needs cargo, curl, Python 3 with venv, and PyPI once. Everything runs on loopback in a temporary directory, and what was
# started is ended by its id. POSTBACKD names another binary, POSTBACKD_FUZZ_VENV where schemathesis is installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
project=$PWD

seconds=${1:-300}
seed=${2:-$RANDOM}
venv=$(realpath -m "${POSTBACKD_FUZZ_VENV:-target/openapi-venv}")
binary=$(realpath -m "${POSTBACKD:-target/debug/postbackd}")
work=$(mktemp -d)
processes=()

end() {
    for process in "${processes[@]}"; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap end EXIT

# Waits for the first match of a pattern in a file that a process writes.
await() {
    for _ in $(seq 200); do
        if grep --only-matching --perl-regexp --max-count=1 "$1" "$2" 2>/dev/null; then return; fi
        sleep 0.1
    done
    echo "nothing like $1 in $2:" >&2
    cat "$2" >&2
    return 1
}

if [[ ! -x $venv/bin/schemathesis ]]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet 'schemathesis>=4.32,<5'
fi
[[ -n ${POSTBACKD:-} ]] || cargo build --locked

# One transaction is refused for good, so that there are dead letters, too.
"$binary" receiver --listen 127.0.0.1:0 --key eid --answer '?txid=dep-3 => 400' --answer 200 >"$work/receiver.log" 2>&1 &
processes+=($!)
receiver=$(await '127\.0\.0\.1:\d+' "$work/receiver.log")

export POSTBACKD_FUZZ_TOKEN=fuzz-everything
cp config/events.toml "$work/events.toml"
mkdir "$work/affiliates"
cat >"$work/postbackd.toml" <<TOML
events = "events.toml"
affiliates = "affiliates"
[outbox]
path = "outbox"
keep_free = "16MiB"
[api]
listen = "127.0.0.1:0"
socket = "postbackd.sock"
[[api.token]]
name = "fuzz"
sha256 = "$(printf %s "$POSTBACKD_FUZZ_TOKEN" | sha256sum | cut -d' ' -f1)"
scopes = ["ingest", "read", "replay", "configure"]
[egress]
allow = ["127.0.0.0/8"]
ports = [${receiver##*:}]
[log]
format = "json"
TOML
for affiliate in acme beta gone; do
    cat >"$work/affiliates/$affiliate.toml" <<TOML
id = "$affiliate"
name = "$affiliate"
[[postback]]
name = "conversion"
events = ["ftd", "deposit"]
method = "GET"
url = "http://$receiver/postback?eid={event_id}&txid={transaction_id}&payout={payout}&cur={currency}"
insecure_http = true
[[postback.response]]
when = { status = "400" }
then = "rejected"
TOML
done
"$binary" run --config "$work/postbackd.toml" >"$work/daemon.log" 2>&1 &
processes+=($!)
daemon=$(await '"daemon.ready".*?\K127\.0\.0\.1:\d+|127\.0\.0\.1:\d+(?=.*"daemon.ready")' "$work/daemon.log")

# Something of everything to find: delivered, dead and unrouted.
for number in $(seq 30); do
    for affiliate in acme beta gone; do
        type=$([[ $((number % 5)) == 0 ]] && echo registration || echo ftd)
        echo "{\"transaction_id\":\"dep-$number\",\"type\":\"$type\",\"affiliate_id\":\"$affiliate\",\"click_id\":\"c-$number\",\"payout\":\"12.50\",\"currency\":\"EUR\"}"
    done
done | "$binary" --config "$work/postbackd.toml" enqueue - --format ndjson >/dev/null

ask() { curl --silent --fail --header "Authorization: Bearer $POSTBACKD_FUZZ_TOKEN" "http://$daemon$1" "${@:2}"; }
POSTBACKD_FUZZ_EVENT=$(ask '/v1/deliveries?limit=1' | grep -o 'evt_[0-9a-z]*' | head -n 1)
order='{"verb":"hold","filter":{"affiliate":"beta"},"rate":"1/h","reason":"something to look at"}'
POSTBACKD_FUZZ_ORDER=$(ask /v1/orders --data "$order" | grep -o 'ord_[0-9a-z]*' | head -n 1)
export POSTBACKD_FUZZ_EVENT POSTBACKD_FUZZ_ORDER
# One affiliate is known to the store only.
rm "$work/affiliates/gone.toml"
ask /v1/reload --request POST >/dev/null

# It keeps what it has seen in the directory that it is run in.
cd "$work"
status=0
"$venv/bin/schemathesis" --config-file "$project/tests/openapi/schemathesis.toml" run "http://$daemon/openapi.json" \
    --max-time "$seconds" --seed "$seed" --continue-on-failure --checks all \
    --exclude-checks ensure_resource_availability || status=$?
if ! kill -0 "${processes[1]}" 2>/dev/null || grep -q '"level":"ERROR"\|panicked' "$work/daemon.log"; then
    echo "the daemon ended, or logged an error:" >&2
    grep '"level":"ERROR"\|panicked' "$work/daemon.log" >&2 || tail -n 20 "$work/daemon.log" >&2
    status=1
fi
exit "$status"
