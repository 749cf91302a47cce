#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Build the wheel, with the compiled kernel objects in it: tools/wheel.sh [DIRECTORY]   (default: build/dist)
#
# It is built from a copy of the tree, so that nothing of it stays behind in the tree, where a stale object would be
# found before a fresh one. Needs .venv and the objects (`make wheel` sees to both), and no network. The same commit
# gives the same bytes: times in it are the commit's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly into="${1:-build/dist}"
stage="$(mktemp -d)"
readonly stage
trap 'rm -rf "$stage"' EXIT

if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH="$(git log -1 --format=%ct 2>/dev/null || echo 315532800)" # else 1980, zip's first year
    export SOURCE_DATE_EPOCH
fi

cp -r neurowall bench pyproject.toml README.md LICENSE LICENSES packaging docs "$stage/"
cp -r scenarios "$stage/bench/scenarios" # beside the harness, since a wheel has no top folder of its own
find "$stage" \( -name __pycache__ -o -name '*.egg-info' -o -name objects -path '*/neurowall/objects' \) -prune -exec rm -rf {} +
mkdir "$stage/neurowall/objects"
for object in build/bpf/*.bpf.o; do
    # BTF stays, which the loader reads; debugging information for people goes.
    "${LLVM_STRIP:-llvm-strip}" -g -o "$stage/neurowall/objects/$(basename "$object")" "$object"
done

cp bpf/*.bcc.c "$stage/neurowall/objects/" # what bcc compiles where it runs

mkdir -p "$into"
rm -f "$into"/neurowall-*.whl
.venv/bin/python -m pip -qq --disable-pip-version-check --no-input wheel --no-deps --no-build-isolation --no-index \
    --wheel-dir "$into" "$stage"
ls "$into"/neurowall-*.whl
