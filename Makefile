# `make run` sets everything up and starts it; `make demo` trains a sample strategy; `make test` and `make test-slow` test.
#
#   PYTHON=python3.12   the Python that the virtual environment is made with (3.11 or newer)
#   TORCH=default       torch as the package index has it: on Linux with CUDA, several gigabytes.
#                       TORCH=cpu (the default on Linux) is the small build without CUDA.

PYTHON ?= python3
ifeq ($(shell uname -s),Linux)
TORCH ?= cpu
else
TORCH ?= default
endif

#: Rounds of `make fuzz`, faults of `make faults`.
N ?= 10
#: Processes of a test run.
JOBS ?= 2
VENV := .venv
RUN := $(VENV)/bin/python
TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)
TORCH_INDEX := https://download.pytorch.org/whl/cpu
# The stamp lies inside the environment, so that it goes when the environment goes.
STAMP := $(VENV)/.ktrdr-set-up-$(TORCH)
CHECK_VERSION := import sys; sys.exit(0 if sys.version_info >= (3, 11) else "KTRDR Train needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": name another one with PYTHON=python3.12")
PIP := $(RUN) -m pip --disable-pip-version-check --quiet --quiet

.DELETE_ON_ERROR:
.PHONY: demo run test test-slow fuzz lint audit attacks bench faults setup clean hosts

demo: setup
	@$(RUN) manage.py demo

run: setup
	@exec $(RUN) manage.py up

# What a developer waits for.
test: setup
	@$(RUN) -m pytest -n $(JOBS) --dist loadgroup --ignore tests/slow --durations 25

# Kills, many trainings at once, PostgreSQL, packaging, and what takes a minute or more.
test-slow: setup
	@$(RUN) -m pytest -n $(JOBS) --dist loadgroup tests/slow --durations 10

# Draws other examples than `make test`, which always draws the same, in each of N rounds.
fuzz: setup
	@for round in $$(seq $(N)); do $(RUN) -m pytest -n 2 -q -m hypothesis --hypothesis-profile=search || exit 1; done
	@$(RUN) -m tests.campaigns.file_fuzz $$((200 * $(N))) $$(date +%s)

lint: setup
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

# Every address by every method for every role, N odd bodies, 2 N mutated strategies; figures in docs/security.md.
attacks: setup
	@$(RUN) -m pytest tests/access/test_attacks.py -q -s -p no:cacheprovider -o timeout=0 --attacks $(N)

# Asks a database of known vulnerabilities about the pinned packages: 1 if there are some, 3 if it could not be asked.
audit: setup
	@$(RUN) -m tests.campaigns.audit

# N faults at random moments; every run is resumed and compared byte for byte with an undisturbed one.
faults: setup
	@$(RUN) -m tests.campaigns.faults $(N)

# Hosts of network namespaces that are cut from each other, and docs/several-machines.md followed on some: needs root,
# PostgreSQL and some quarter of an hour.
hosts: setup
	@KTRDR_TEST_HOSTS=1 $(RUN) -m pytest -v -rs tests/slow/test_several_hosts.py tests/slow/test_machines_page.py

bench: setup
	@$(RUN) -m benchmarks

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile
	@$(RUN) -c '$(CHECK_VERSION)' >/dev/null 2>&1 && $(RUN) -m pip --version >/dev/null 2>&1 || $(MAKE) --no-print-directory environment
	@rm -f $(VENV)/.ktrdr-set-up-*
ifeq ($(TORCH),cpu)
	@echo "Installing torch $(TORCH_VERSION) without CUDA"
	@$(PIP) install 'torch==$(TORCH_VERSION)+cpu' -c constraints.txt 2>/dev/null \
		|| $(PIP) install 'torch==$(TORCH_VERSION)+cpu' -c constraints.txt --extra-index-url $(TORCH_INDEX)
else ifneq ($(TORCH),default)
	$(error TORCH is '$(TORCH)', wanted cpu or default)
else
	@echo "Installing torch $(TORCH_VERSION)"
	@# A build without CUDA has the same version number and would be kept.
	@$(RUN) -c 'import importlib.metadata as m, sys; sys.exit(m.version("torch").endswith("+cpu"))' 2>/dev/null \
		|| $(PIP) uninstall --yes torch 2>/dev/null
	@$(PIP) install 'torch==$(TORCH_VERSION)' -c constraints.txt
endif
	@echo "Installing the project"
	@$(PIP) install -c constraints.txt --editable '.[test,lint,audit]'
	@$(RUN) manage.py migrate --verbosity 0
	@echo "Compiling the numeric kernels"
	@$(RUN) -c 'import ktrdr_site.settings; from training.pipeline import kernels; kernels.warm()'
	@touch $@

.PHONY: environment
environment:
	@$(PYTHON) -c '$(CHECK_VERSION)' || { command -v $(PYTHON) >/dev/null || echo "There is no $(PYTHON): name a Python of 3.11 or newer with PYTHON=..." >&2; exit 1; }
	@echo "Making the virtual environment $(VENV)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)

# What is run or trained (var/) stays.
clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
