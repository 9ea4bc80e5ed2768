#!/usr/bin/env bash
# Prints the folder with the browser that asks for preflights: $BROWSER, else .tools/browser; see debian.sh.
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/debian.sh" BROWSER browser "the browser" "chromium+chromium-common usr/lib/chromium/chromium --version"
