# SPDX-License-Identifier: Apache-2.0
# The commands of the project. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory
# Tests and benchmarks start hundreds of programs, as if installed: none should compile all modules anew.
export PYTHONDONTWRITEBYTECODE :=

PROFILE ?= quick
LIST ?=
SCENARIOS ?= drop-flood forward-clean rule-scaling
PYTEST ?=

BIN := .venv/bin
CLANG ?= clang
CLANG_FORMAT ?= clang-format
BPF_INCLUDES := -idirafter /usr/include/$(shell uname -m)-linux-gnu
BPF_FLAGS := -O2 -g -target bpf -mcpu=v2 -Wall -Wextra -Werror $(BPF_INCLUDES)
BPF_FILES := $(sort $(wildcard bpf/*.c bpf/*.h))
OBJECTS := $(patsubst bpf/%.bpf.c,build/bpf/%.bpf.o,$(sort $(wildcard bpf/*.bpf.c)))
# Headers that Python mirrors: each compiles alone and has no unnamed pad byte. Only the dump makes clang lay
# out structs that nothing uses yet; without it -Wpadded has nothing to say.
SHARED_HEADERS := bpf/neurowall.h bpf/benchmark.h
PADDING_CHECKS := $(patsubst bpf/%.h,build/bpf/%.padding-ok,$(SHARED_HEADERS))

.PHONY: help setup bench test test-soak test-kernels setup-test setup-vm lint format docs objects wheel lock openapi clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1@\2/p' $(MAKEFILE_LIST) | while IFS=@ read -r name text; do \
		printf '  make %-13s %s\n' "$$name" "$$text"; \
	done
	@echo
	@echo '  PROFILE=ci|quick|standard|rfc  LIST=FILE  SCENARIOS="..."   for bench'
	@echo '  PYTEST="-k name -x"                                        for test and test-soak'

setup: ## What build and bench need: packages, .venv, compiled kernel objects; quick the second time
	@tools/apt.sh setup
	@tools/venv.sh
	@$(MAKE) objects

bench: setup ## Neurowall against its alternatives in network namespaces: one table, files in bench-results/
	@tools/bench.sh '$(PROFILE)' '$(LIST)' $(SCENARIOS)

test: setup setup-test lint ## Checks and every test this machine can run; what is skipped says why
	@$(BIN)/pytest -n 2 $(PYTEST)

test-soak: setup setup-test ## Long differential, fuzz, fault and leak runs
	@$(BIN)/pytest -m soak --hypothesis-profile soak --timeout 0 $(PYTEST)

test-kernels: ## The suite on a matrix of kernels in VMs: NOT THERE YET, says so and fails
	@echo 'test-kernels: the VM matrix is not built yet, so nothing was tested on any other kernel than' >&2
	@echo "              this machine's $$(uname -r); run make test there. Planned: see ARCHITECTURE.md." >&2
	@exit 1

setup-test: ## What the tests need beyond setup; nothing it installs starts listening
	@tools/apt.sh test

setup-vm: ## QEMU and Vagrant for the VM testbed and the kernel matrix (nothing here uses them yet)
	@tools/apt.sh vm

lint: objects $(PADDING_CHECKS) ## Style, types, layers, C format, padding, licences, paths
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache
	@$(CLANG_FORMAT) --dry-run -Werror $(BPF_FILES)
	@$(BIN)/python tools/check_tree.py

format: ## Rewrite the Python and C files in the project's format
	@$(BIN)/ruff check --select I --fix
	@$(BIN)/ruff format
	@$(CLANG_FORMAT) -i $(BPF_FILES)

docs: ## Write the commands in docs/cli.md from the commands themselves
	@$(BIN)/python tools/cli_docs.py

objects: $(OBJECTS) ## Compile bpf/*.bpf.c into build/bpf/
	@:

build/bpf/%.bpf.o: bpf/%.bpf.c Makefile
	@mkdir -p $(@D)
	@echo "clang $<"
	@$(CLANG) $(BPF_FLAGS) -MMD -MP -MF $(@:.o=.d) -c $< -o $@

build/bpf/%.padding-ok: bpf/%.h Makefile
	@mkdir -p $(@D)
	@$(CLANG) $(BPF_FLAGS) -Wpadded -Xclang -fdump-record-layouts-complete -x c -fsyntax-only $< >/dev/null
	@touch $@

-include $(OBJECTS:.o=.d)

wheel: setup ## build/dist/neurowall-*.whl, compiled objects included: a gateway needs no clang
	@tools/wheel.sh

lock: ## Write requirements.lock from pyproject.toml (UPGRADE=1: newest versions)
	@tools/lock.sh $(if $(UPGRADE),--upgrade)

openapi: ## Write docs/openapi.json, the description of the API, from its routes
	@$(BIN)/python tools/openapi.py

clean: ## Remove what was built; bench-results/ stays
	@rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	@find neurowall bench tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
