#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Make .venv hold exactly requirements.lock, and this tree as an editable install: tools/venv.sh
#
# Built on the distribution's python, whatever comes first on PATH, because python3-nftables and python3-bpfcc are
# visible only from there. Two stamps in .venv keep the second run quick and offline: the lock's hash (with the path
# of this tree and the interpreter; a change means a new environment) and the hash of pyproject.toml (a change means
# a new editable install only).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly python="${PYTHON:-/usr/bin/python3}"
readonly venv=.venv
unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_USER PIP_PREFIX

say() { echo "setup: $*" >&2; }

pip() { "$venv/bin/python" -m pip -qq --disable-pip-version-check --no-input "$@"; }

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    say "$python is missing or older than 3.11: use Debian 12+ or Ubuntu 24.04, or name another with PYTHON=..."
    exit 1
fi

lock_stamp="$(
    {
        pwd
        "$python" -c 'import sys; print(sys.version)'
        cat requirements.lock
    } | sha256sum
)"
if [ "$(cat "$venv/lock.stamp" 2>/dev/null)" != "$lock_stamp" ] || ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    say "building $venv from requirements.lock"
    "$python" -m venv --clear --system-site-packages "$venv"
    pip install --require-hashes --requirement requirements.lock
    echo "$lock_stamp" >"$venv/lock.stamp"
fi

project_stamp="$(sha256sum <pyproject.toml)"
if [ "$(cat "$venv/project.stamp" 2>/dev/null)" != "$project_stamp" ]; then
    say "installing neurowall and bench as editable"
    pip install --no-deps --no-build-isolation --no-index --editable .
    echo "$project_stamp" >"$venv/project.stamp"
fi
