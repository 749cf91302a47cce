#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Write requirements.lock from pyproject.toml: tools/lock.sh [--upgrade]
#
# Without --upgrade the versions already locked are kept where they still fit. The lock covers every Python from 3.11
# on and names no index: where packages come from is the machine's own configuration.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly python="${PYTHON:-/usr/bin/python3}"
readonly uv_version=0.13.9
readonly tool="build/lock-venv-$uv_version"

if [ ! -x "$tool/bin/uv" ]; then
    mkdir -p build
    "$python" -m venv "$tool"
    "$tool/bin/python" -m pip -qq --disable-pip-version-check install "uv==$uv_version"
fi
"$tool/bin/uv" --quiet --system-certs pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
    --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --output-file requirements.lock "$@"
