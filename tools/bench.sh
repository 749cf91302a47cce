#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What `make bench` runs: tools/bench.sh PROFILE LIST SCENARIO...   (LIST may be empty)
#
# `neurowall-bench run` exits 3 both when a result is void and when it is too noisy to tell. Here noise is no failure:
# the table says so, with the blocks it would need. Everything else keeps its exit code.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly profile="$1" list="$2"
shift 2

if [ "$(id -u)" != 0 ]; then
    echo "bench: needs root (namespaces, XDP); run: sudo make bench" >&2
    exit 4
fi

out="bench-results/$(date -u +%Y%m%dT%H%M%SZ)"
readonly out

status=0
.venv/bin/neurowall-bench run "$@" --profile "$profile" ${list:+--list "$list"} --out "$out" || status=$?

if [ "$status" = 3 ] && .venv/bin/python -c '
import json, sys
with open(sys.argv[1], encoding="utf-8") as summary:
    sys.exit(json.load(summary)["verdict"] != "too-noisy")
' "$out/summary.json" 2>/dev/null; then
    status=0
fi
exit "$status"
