#!/usr/bin/env bash
# The trial itself, on the Debian of run.sh. Stops at the first thing that is not as it should be.
set -Eeuo pipefail
export DEBIAN_FRONTEND=noninteractive
trap 'echo "FAILED in line $LINENO: $BASH_COMMAND"; systemctl --no-pager status postbackd.service postbackd.socket || true
      journalctl --no-pager -n 20 -u postbackd -u receiver || true' ERR

say() { echo "--- $*"; }
# Waits until a command succeeds, for so many seconds at most.
within() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$until" ]; then
            echo "still not so: $*"
            return 1
        fi
        sleep 0.1
    done
}
is() { [ "$1" = "$2" ] || { echo "expected $2, found $1"; return 1; }; }
property() { systemctl show --property="$2" --value "$1"; }
has_died() { [ "$(property postbackd NRestarts)" -gt "$1" ]; }
stats() { postbackd stats --json; }
delivered() { [ "$(stats | jq '.deliveries.delivered // 0')" = "$1" ]; }
in_flight() { [ "$(stats | jq .in_flight)" = "$1" ]; }
event() { printf '{"transaction_id":"%s","type":"ftd","affiliate_id":"acme","click_id":"c-%s","payout":"120.00","currency":"EUR"}' "$1" "$1"; }
enqueue() { event "$1" | postbackd enqueue - >/dev/null; }
export POSTBACKD_CONFIG=/etc/postbackd/postbackd.toml

say "installs, starts, and the configuration is good as it was installed"
dpkg --install /trial/old.deb
is "$(systemctl is-active postbackd.service postbackd.socket | sort -u)" active
is "$(systemctl is-enabled postbackd.service postbackd.socket | sort -u)" enabled
postbackd check
is "$(curl --silent --fail http://127.0.0.1:8480/healthz)" ok
is "$(stat --format='%U:%G %a' /var/lib/postbackd)" "postbackd:postbackd 700"
is "$(stat --format='%U:%G %a' /run/postbackd)" "postbackd:postbackd 750"
is "$(stat --format='%U:%G %a' /run/postbackd/postbackd.sock)" "postbackd:postbackd 660"
journalctl --unit postbackd --grep 'listener.inherited' --quiet --no-pager | grep -v WARN | grep -q 127.0.0.1:8480
for file in man/man1/postbackd.1.gz man/man1/postbackd-enqueue.1.gz bash-completion/completions/postbackd \
    zsh/vendor-completions/_postbackd fish/vendor_completions.d/postbackd.fish doc/postbackd/operating.md \
    doc/postbackd/copyright doc/postbackd/examples/affiliates/acme.toml; do
    test -s "/usr/share/$file" || test -s "/usr/share/$file.gz"
done

say "is confined as promised"
systemd-analyze security --threshold=12 --no-pager postbackd.service | tail -n 1
is "$(grep Seccomp: /proc/"$(property postbackd MainPID)"/status | tr -d '[:space:]')" Seccomp:2
is "$(awk '/CapBnd/ {print $2}' /proc/"$(property postbackd MainPID)"/status)" 0000000000000000
is "$(awk '/core file/ {print $5, $6}' /proc/"$(property postbackd MainPID)"/limits)" "0 0"

say "an affiliate with a secret from a credential, taken by a reload"
useradd --system --groups postbackd casino
mkdir -p /etc/systemd/system/postbackd.service.d /etc/postbackd/secrets
chmod 700 /etc/postbackd/secrets
printf %s whsec_c2VjcmV0LW9mLXRoZS10cmlhbC0wMTIzNDU2Nzg5 >/etc/postbackd/secrets/acme-hmac
chmod 600 /etc/postbackd/secrets/acme-hmac
cat >/etc/systemd/system/postbackd.service.d/trial.conf <<'UNIT'
[Service]
LoadCredential=acme-hmac:/etc/postbackd/secrets/acme-hmac
UNIT
token=trial
cat >>/etc/postbackd/postbackd.toml <<TOML
[[api.token]]
name = "trial"
sha256 = "$(printf %s $token | sha256sum | cut -d' ' -f1)"
scopes = ["ingest"]
[[api.socket_user]]
uid = $(id -u casino)
name = "casino"
scopes = ["ingest"]
TOML
sed -i 's/^allow = \[\]/allow = ["127.0.0.0\/8"]/; s/^ports = \[80, 443\]/ports = [9000]/' /etc/postbackd/postbackd.toml
cat >/etc/postbackd/affiliates/acme.toml <<'TOML'
id = "acme"
name = "Acme"
[[postback]]
name = "conversion"
events = ["ftd"]
method = "POST"
url = "http://127.0.0.1:9000/pb?txid={transaction_id}"
insecure_http = true
[postback.signature]
scheme = "standard-webhooks"
secret = { credential = "acme-hmac" }
TOML
receiver() {
    systemd-run --quiet --unit=receiver --property=StandardOutput=append:/trial/received postbackd receiver \
        --listen 127.0.0.1:9000 --json --key txid --verify standard-webhooks \
        --secret-file /etc/postbackd/secrets/acme-hmac "$@"
    within 10 curl --silent --output /dev/null http://127.0.0.1:9000/
}
: >/trial/received
receiver --answer '?txid=slow => delay 4s 200' --answer 200
# A credential is new: that takes a restart. The next changes are reloads.
systemctl daemon-reload
systemctl restart postbackd.service
enqueue first
within 20 delivered 1
sed -i 's/^name = "Acme"/name = "Acme Media"/' /etc/postbackd/affiliates/acme.toml
systemctl reload postbackd.service
is "$(postbackd affiliate list --json | jq -r '.. | .name? // empty' | grep -cx 'Acme Media')" 1

say "a reload that cannot be taken fails, tells why, and leaves the daemon as it was"
pid="$(property postbackd MainPID)"
cp /etc/postbackd/affiliates/acme.toml /trial/good.toml
echo 'nonsense = 1' >>/etc/postbackd/affiliates/acme.toml
if systemctl reload postbackd.service; then echo "it was taken"; exit 1; fi
within 5 sh -c 'journalctl --unit postbackd --no-pager | grep -q nonsense'
cp /trial/good.toml /etc/postbackd/affiliates/acme.toml
is "$(property postbackd MainPID)" "$pid"
is "$(systemctl is-active postbackd.service)" active

say "a user of the socket is known by the uid"
event by-casino | setpriv --reuid casino --regid casino --init-groups postbackd enqueue - >/dev/null
within 20 delivered 2
if setpriv --reuid casino --regid casino --init-groups postbackd stats >/dev/null 2>&1; then echo "may read"; exit 1; fi

say "a stop finishes what is in flight, within the hardening and the timeouts of the unit"
enqueue slow
within 10 in_flight 1
systemctl stop postbackd.socket postbackd.service
is "$(property postbackd Result)" success
is "$(grep -c '"key":"slow"' /trial/received)" 1
systemctl start postbackd.service
is "$(systemctl is-active postbackd.service postbackd.socket | sort -u)" active
within 10 delivered 3
is "$(stats | jq '.totals.attempts | if type == "object" then ([.[]] | add) else . end')" 3

say "the same secret, encrypted at rest; the receiver refuses what is not signed with it"
secrets=/etc/postbackd/secrets
systemd-creds encrypt --with-key=host --name=acme-hmac "$secrets/acme-hmac" "$secrets/acme-hmac.cred"
sed -i "s#^LoadCredential=.*#LoadCredentialEncrypted=acme-hmac:$secrets/acme-hmac.cred#" \
    /etc/systemd/system/postbackd.service.d/trial.conf
systemctl daemon-reload
systemctl restart postbackd.service
enqueue encrypted
within 20 delivered 4

# Posts events one by one, each on a connection of its own; ends, and fails, with the first that is turned away.
load() {
    local number=0 code
    while [ ! -e /trial/enough ]; do
        number=$((number + 1))
        code="$(event "load-$1-$number" | curl --silent --output /dev/null --write-out '%{http_code}' --max-time 60 \
            --header "authorization: Bearer $token" --header 'content-type: application/json' \
            --data-binary @- http://127.0.0.1:8480/v1/events)" || true
        if [ "$code" != 202 ]; then
            echo "load-$1-$number: answered $code" >>/trial/turned-away
            return 1
        fi
        echo >>/trial/accepted
    done
}
accepted() { [ "$(wc -l </trial/accepted)" -ge "$1" ]; }
begin_load() {
    rm -f /trial/enough
    : >/trial/turned-away
    for producer in 1 2 3; do load "$1-$producer" & done
    within 60 accepted $(($(wc -l </trial/accepted) + 20))
}
end_load() {
    within 60 accepted $(($(wc -l </trial/accepted) + 20))
    touch /trial/enough
    wait
    is "$(cat /trial/turned-away)" ""
}
: >/trial/accepted

say "restarts under load, and nobody is turned away"
begin_load restart
for _ in 1 2 3 4 5 6 7 8; do systemctl restart postbackd.service; done
end_load

say "somebody who connects starts a daemon that is stopped"
systemctl stop postbackd.service
enqueue wakes
is "$(systemctl is-active postbackd.service)" active
within 60 delivered $((5 + $(wc -l </trial/accepted)))

say "the watchdog leaves a healthy daemon alone, and ends one whose disk hangs"
sed -i '$ a WatchdogSec=3s' /etc/systemd/system/postbackd.service.d/trial.conf
systemctl daemon-reload
systemctl restart postbackd.service
restarts="$(property postbackd NRestarts)"
sleep 8
is "$(property postbackd NRestarts)" "$restarts"
# The disk that hangs: every fdatasync is held up for a minute. The probe of the watchdog is what runs into it.
strace --follow-forks --quiet=all --output=/trial/strace --trace=fdatasync --inject=fdatasync:delay_enter=60s \
    --attach="$(property postbackd MainPID)" 2>/dev/null &
strace=$!
within 20 sh -c 'journalctl --unit postbackd --no-pager | grep -q "Watchdog timeout"'
journalctl --unit postbackd --no-pager | grep 'watchdog.not_fed' | grep -q 'what="commit"'
# Like a disk that hangs, strace holds on to what was killed; now it lets go.
kill -KILL "$strace"
within 20 has_died "$restarts"
within 20 curl --silent --fail http://127.0.0.1:8480/readyz
sed -i '/WatchdogSec/d' /etc/systemd/system/postbackd.service.d/trial.conf
systemctl daemon-reload
enqueue after-the-watchdog
within 60 delivered $((6 + $(wc -l </trial/accepted)))

say "a bad configuration is told, and not tried for ever"
systemctl stop postbackd.socket postbackd.service
echo 'nonsense = 1' >>/etc/postbackd/affiliates/acme.toml
if systemctl start postbackd.service; then echo "it started"; exit 1; fi
is "$(property postbackd ExecMainStatus)" 7
is "$(property postbackd NRestarts)" 0
# Somebody who connects has it tried again; systemd then closes the socket, too, rather than try without end.
systemctl start postbackd.socket
curl --silent --output /dev/null --max-time 90 http://127.0.0.1:8480/healthz || true
within 90 systemctl is-failed postbackd.socket
is "$(property postbackd.socket Result)" trigger-limit-hit
cp /trial/good.toml /etc/postbackd/affiliates/acme.toml
systemctl start postbackd.service
is "$(systemctl is-active postbackd.service postbackd.socket | sort -u)" active

say "an upgrade under load keeps events and changed files, and turns nobody away"
begin_load upgrade
pid="$(property postbackd MainPID)"
dpkg --install --force-confdef --force-confold /trial/new.deb
[ "$(property postbackd MainPID)" != "$pid" ]
end_load
is "$(dpkg-query --show --showformat='${Version}' postbackd)" "$(dpkg-deb --field /trial/new.deb Version)"
grep -q casino /etc/postbackd/postbackd.toml
all=$((6 + $(wc -l </trial/accepted)))
within 60 delivered "$all"
is "$(stats | jq .totals.accepted)" "$all"

say "an upgrade leaves a stopped daemon alone"
systemctl stop postbackd.socket postbackd.service
dpkg --install --force-confdef --force-confold /trial/old.deb
is "$(systemctl is-active postbackd.service || true)" inactive
systemctl start postbackd.service
is "$(stats | jq .totals.accepted)" "$all"

say "remove stops it and keeps files; purge keeps only the outbox"
dpkg --remove postbackd
is "$(systemctl is-active postbackd.service postbackd.socket | sort -u || true)" inactive
test ! -e /usr/bin/postbackd
test -e /etc/postbackd/postbackd.toml
rm -rf /etc/postbackd/secrets /etc/postbackd/affiliates/acme.toml /etc/systemd/system/postbackd.service.d
dpkg --purge postbackd
test ! -e /etc/postbackd
test -e /var/lib/postbackd/sled/db
is "$(find /etc/systemd/system -name 'postbackd*' | wc -l)" 0

say "what was purged can be installed again, and finds its outbox"
dpkg --install /trial/new.deb
is "$(stats | jq .totals.accepted)" "$all"
echo "all is well"
