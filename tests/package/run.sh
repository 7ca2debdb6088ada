#!/usr/bin/env bash
# Tries the Debian package on a Debian 12 of its own, with systemd as its first process: install, start, credentials,
# reload, restart under load, a stop with an attempt in flight, the watchdog, upgrade, remove, purge.
#
#   apt-get install debootstrap systemd-container && cargo install --locked cargo-deb
#   tests/package/run.sh                 # as root, from a fresh clone; takes minutes, most of them to build
#   tests/package/run.sh OLD.deb NEW.deb # tries packages that are there already
#
# KEEP=1 leaves the directory for a look. The downloaded Debian is kept in target/package-test for the next time.
set -euo pipefail
cd "$(dirname "$0")/../.."

for tool in debootstrap systemd-nspawn; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install debootstrap systemd-container" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "has to be run as root" >&2; exit 2; }

target="$(realpath -m "${CARGO_TARGET_DIR:-target}")"
work="$target/package-test"
mkdir -p "$work"

if [ $# = 2 ]; then
    old="$1" new="$2"
else
    # The same program twice: what is tried is the upgrade of the package.
    old="$work/old.deb" new="$work/new.deb"
    systemd/debian/build --deb-version 1.0.0-1 --output "$old"
    cargo deb --no-build --locked --strip --deb-version 1.1.0-1 --output "$new"
fi

if [ ! -e "$work/debian.done" ]; then
    rm -rf "$work/debian"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates,curl,jq,procps,strace \
        bookworm "$work/debian" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
    touch "$work/debian.done"
fi

root="$(mktemp -d "$work/root.XXXXXX")"
[ -n "${KEEP:-}" ] || trap 'rm -rf "$root"' EXIT
cp -a "$work/debian/." "$root"
mkdir "$root/trial"
cp "$old" "$root/trial/old.deb"
cp "$new" "$root/trial/new.deb"
cp tests/package/inside.sh "$root/trial/"
cat >"$root/etc/systemd/system/trial.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /trial/inside.sh
StandardOutput=append:/trial/log
StandardError=append:/trial/log
ExecStopPost=/bin/systemctl --no-block poweroff
TimeoutStartSec=15min
[Install]
WantedBy=default.target
UNIT
mkdir -p "$root/etc/systemd/system/default.target.wants"
ln -s ../trial.service "$root/etc/systemd/system/default.target.wants/trial.service"

: >"$root/trial/log"
tail -f "$root/trial/log" &
tail=$!
timeout 20m systemd-nspawn --quiet --directory="$root" --register=no --keep-unit --private-network --boot \
    >"$root/trial/console" 2>&1 </dev/null || true
sleep 1
kill "$tail" 2>/dev/null || true
[ -n "${KEEP:-}" ] && echo "kept: $root"
grep -q '^all is well$' "$root/trial/log"
