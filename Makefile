# Everything that a developer runs. `make setup` is called by the others and does nothing twice.

SHELL := /bin/sh
BIN := .venv/bin
# Python 3.13, by pyenv, by uv, or on the PATH.
PYTHON := $(or $(shell pyenv which python3.13 2>/dev/null),$(shell uv python find 3.13 2>/dev/null),$(shell command -v python3.13))

.PHONY: setup demo test lint bicep azure-cli package bench lock vendor clean

setup: .venv/.installed .venv/production/.installed .venv/worker-protocol/.installed .venv/checkov/.installed \
	node_modules/.installed node_modules/.chromium/.installed

.venv/.installed: requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.13 is needed: install it with pyenv or uv (pyenv install 3.13, uv python install 3.13)" >&2; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# The packages as they run in Azure, for its platform, whatever this machine is, and compiled: the tests run the app
# with nothing else, and `make package` takes them. See tools/package.py.
.venv/production/.installed: requirements.txt | .venv/.installed
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --no-compile \
	  --python-version 3.13 --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
	  --platform manylinux2014_x86_64 --target $(@D) -r $<
	$(BIN)/python -m compileall -q -j 0 --invalidation-mode unchecked-hash -s $(CURDIR)/$(@D) $(CURDIR)/$(@D)
	@touch $@

# The Functions host's protocol, for the tests, out of Python's sight: see tests/worker_process.py.
.venv/worker-protocol/.installed: tests/worker-protocol.txt | .venv/.installed
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --target $(@D) -r $<
	@touch $@

# checkov, in an environment of its own: it wants older versions of what the tests use.
.venv/checkov/.installed: tests/checkov.txt | .venv/.installed
	$(BIN)/python -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

node_modules/.installed: package.json package-lock.json
	npm ci --silent
	@touch $@

# The browser of the tests, out of its npm package, with the libraries and fonts that a bare machine lacks: the
# package unpacks these where it takes the machine for Amazon's.
node_modules/.chromium/.installed: node_modules/.installed
	mkdir -p $(@D)
	TMPDIR=$(CURDIR)/$(@D) AWS_EXECUTION_ENV=AWS_Lambda_nodejs20.x node --input-type=module \
	  -e 'import chromium from "@sparticuz/chromium"; await chromium.executablePath()'
	@touch $@

# The chart library as its npm package has it: production has no npm.
vendor: node_modules/.installed
	cp node_modules/uplot/dist/uPlot.iife.min.js node_modules/uplot/dist/uPlot.min.css node_modules/uplot/LICENSE shared/page/vendor/

# The main job on the storage emulator: `make demo KEEP=1` leaves Azurite up afterwards.
demo: .venv/.installed node_modules/.installed
	@$(BIN)/python -m tools.demo $(if $(KEEP),--keep)

test: setup
	$(BIN)/python -m pytest -q -n 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Compile and lint infra/ with the Bicep compiler that is there, `bicep` or `az bicep`; it is not installed here.
bicep:
	@sh tools/bicep.sh

# Give the commands of pages, templates and scripts to the real parser of the Azure CLI, and write down for the tests
# what it knows of them: see tools/azure_cli.py.
azure-cli: .venv/azure-cli/.installed
	AZURE_CONFIG_DIR=$(<D)/config AZURE_CORE_COLLECT_TELEMETRY=no $(<D)/bin/python -m tools.azure_cli

# The Azure CLI, 700 MB, in an environment of its own.
.venv/azure-cli/.installed: tests/azure-cli.txt | .venv/.installed
	$(BIN)/python -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# The zip for publishing without a remote build: docs/deploy.md.
package: .venv/.installed .venv/production/.installed
	@$(BIN)/python -m tools.package

# What it costs, against baselines of the same run: some minutes. `make bench SECTIONS="bulk memory" JSON=file`.
bench: setup
	@$(BIN)/python -m tools.bench $(SECTIONS) $(if $(JSON),--json $(JSON))

# Pin what pyproject.toml and package.json ask for, anew.
lock: setup
	$(BIN)/uv pip compile --quiet --no-header --upgrade --python-version 3.13 --generate-hashes pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --no-header --upgrade --python-version 3.13 --extra dev pyproject.toml -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --no-header --upgrade --python-version 3.13 --no-deps --generate-hashes tests/worker-protocol.in -o tests/worker-protocol.txt
	$(BIN)/uv pip compile --quiet --no-header --upgrade --python-version 3.13 tests/checkov.in -o tests/checkov.txt
	$(BIN)/uv pip compile --quiet --no-header --upgrade --python-version 3.13 tests/azure-cli.in -o tests/azure-cli.txt
	npm install --package-lock-only

clean:
	rm -rf .venv build node_modules .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
