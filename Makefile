# `make run` rebuilds everything on the sample world; `make test` runs the whole test suite.
# Both first put the environment in place; `make env` does only that.
SHELL := /bin/bash
PYTHON ?= python3
UV := $(or $(shell command -v uv),.uv/bin/uv)
CORES ?= all

.PHONY: run test lowest lint format env lock clean

run: env
	$(UV) run snakemake --cores $(CORES)

test: env
	$(UV) run pytest

# The tests with the oldest versions that pyproject.toml allows, in an environment of their own.
lowest: | $(UV)
	$(UV) venv --quiet --clear --python '>=3.11' .venv-lowest
	$(UV) pip install --quiet --python .venv-lowest --resolution lowest-direct \
	  --editable '.[serve,slurm,tensorboard,dev]'
	PATH=$(CURDIR)/.venv-lowest/bin:$$PATH .venv-lowest/bin/python -m pytest

lint: env
	$(UV) run ruff check .
	$(UV) run ruff format --check .
	$(UV) run mypy
	$(UV) run snakefmt --check Snakefile rules
	$(UV) run snakemake --lint

format: env
	$(UV) run ruff check --fix .
	$(UV) run ruff format .
	$(UV) run snakefmt Snakefile rules

env: .venv/.synced

.venv/.synced: requirements.lock pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python '>=3.11' .venv
	$(UV) pip sync --require-hashes requirements.lock
	$(UV) pip install --quiet --no-deps --editable .
	touch $@

# Where the machine has no uv: a private copy, in a virtual environment if Python can make one.
.uv/bin/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	if $(PYTHON) -m venv .uv 2>/dev/null; then .uv/bin/python -m pip install --quiet uv; \
	else rm -rf .uv; $(PYTHON) -m pip install --quiet --target .uv uv; fi \
	|| { echo 'Neither venv nor pip works in $(PYTHON): install python3-venv, or uv itself.' >&2; exit 1; }

lock: | $(UV)
	$(UV) pip compile pyproject.toml --all-extras --universal --generate-hashes --upgrade \
	  --no-annotate --no-emit-index-url --quiet --custom-compile-command 'make lock' --output-file requirements.lock

clean:
	rm -rf results logs media .snakemake
