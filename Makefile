# `make` regenerates the samples of experiment 240118; `make lint` checks style and types; `make test` runs the quick tests,
# `make test-slow` the others; `make bench` measures the speed of each command.

PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: samples test test-slow lint bench
samples: .venv/installed
	snakemake results/240118_wav

test: .venv/installed
	pytest -n 2 --dist loadfile -m "not slow" tests/workflow/test_workflow.py tests # the longest file first

test-slow: .venv/installed
	pytest -n 2 --dist loadfile -m slow

lint: .venv/installed
	ruff check
	ruff format --check
	snakefmt --check Snakefile workflow
	mypy
	snakemake --lint

bench: .venv/installed
	python -m benchmarks

# An environment holds its own place, that of the checkout, and the version of its Python. When the folder was moved or
# copied, or that Python is gone, it is made anew.
IS_OURS := import os, sys, mlquant; sys.exit(not os.path.samefile(mlquant.__path__[0], "src/mlquant"))
ifneq ($(shell test ! -e .venv/installed || .venv/bin/python -I -c '$(IS_OURS)' 2> /dev/null || echo no),)
.venv/installed: remove
endif
.PHONY: remove
remove:
	@echo '.venv was made at another place, or its Python is gone: it is made anew.'
	rm -rf .venv

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pesq \
	  || echo 'PESQ, which needs a C compiler, is not installed: the measures will be without it.'
	touch $@
