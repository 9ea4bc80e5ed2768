#!/usr/bin/env bash
# Prints the folder with the proxies that the suite puts in front of Envoy: $PROXIES, else .tools/proxies; see debian.sh.
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/debian.sh" PROXIES proxies "the proxies in front" \
    "nginx usr/sbin/nginx -v" "haproxy usr/sbin/haproxy -v" "apache2-bin usr/sbin/apache2 -v" "caddy usr/bin/caddy version"
