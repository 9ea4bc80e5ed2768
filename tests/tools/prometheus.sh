#!/usr/bin/env bash
# Prints the folder with Prometheus and promtool: $PROMETHEUS, else .tools/prometheus; see debian.sh.
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/debian.sh" PROMETHEUS prometheus Prometheus "prometheus usr/bin/promtool --version"
