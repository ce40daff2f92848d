#!/usr/bin/env bash
# Puts prometheus and promtool where the other tools of the tests are: unpacked from Debian's package, not installed,
# since that would add a user and a service that starts with the machine.
#
#   tests/deployment/deploy/get-prometheus.sh DIR
set -euo pipefail
dir=$1
mkdir -p "$dir"
exec 9>"$dir/.prometheus.lock"
flock 9
if [ -x "$dir/prometheus" ] && [ -x "$dir/promtool" ]; then exit; fi
tmp=$(mktemp -d "$dir/.prometheus.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
get() { apt-get download -qq -o APT::Sandbox::User=root prometheus 9>&-; }
get || {
    # The lists may be empty, or older than what the mirror still has.
    sudo=()
    if [ "$(id -u)" != 0 ]; then sudo=(sudo -n); fi
    "${sudo[@]}" apt-get update -qq 9>&- || true
    get
}
dpkg-deb -x prometheus_*.deb .
mv usr/bin/promtool usr/bin/prometheus "$dir/"
