# `make help` lists what can be made.

PYTHON ?= python3
# 1 takes the torch for processors alone, from TORCH_INDEX. An environment that was made so stays so.
CPU ?= $(if $(wildcard .venv/cpu),1)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: samples help test test-slow lint bench clean
samples: .venv/installed
	@snakemake results/240118_wav
	@echo 'The samples are in results/240118_wav: open its index.html in a browser.'

help:
	@echo 'make              makes results/240118_wav: the samples of experiment 240118, and their page'
	@echo 'make test         runs the quick tests, under three minutes on two cores'
	@echo 'make test-slow    runs the other tests'
	@echo 'make lint         checks style, types and the workflow'
	@echo 'make bench        measures the speed and memory of each command'
	@echo 'make clean        removes .venv and caches, which are made again in minutes, and keeps all results;'
	@echo '                  make clean RESULTS=1 lists the results, which took hours, and asks whether to remove them too'
	@echo 'make help         prints this'
	@echo 'Each of these sets up .venv first, but for help and clean. Variables, as in make CPU=1:'
	@echo '  PYTHON          the Python that .venv is made with, 3.11 or later (now $(PYTHON))'
	@echo '  CPU             1 on a machine without an NVIDIA GPU: on Linux this saves some 3 GB of CUDA libraries'
	@echo '  TORCH_INDEX     where the torch of CPU=1 comes from (now $(TORCH_INDEX))'
	@echo 'Everything else is made by snakemake, which workflow/README.md is about: source .venv/bin/activate'

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

ifeq ($(shell uname -s)$(CPU),Linux)
HINT := ; without an NVIDIA GPU, make CPU=1 saves some 3 GB
endif
TORCH := $(shell sed -n 's/^torch==/&/p' constraints.txt)
PIP := .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	@echo 'Environment: .venv is made with $(PYTHON).'
	@$(PYTHON) -m venv .venv
	@echo 'Packages: they are installed into .venv, which takes minutes$(HINT).'
ifeq ($(CPU),1)
	@$(PIP) --no-deps --index-url '$(TORCH_INDEX)' $(TORCH) \
	  || { echo '$(TORCH) for processors alone cannot be had from $(TORCH_INDEX): see above, or leave out CPU=1.'; exit 1; }
	@touch .venv/cpu
endif
	@$(PIP) --constraint constraints.txt --editable '.[dev]'
	@$(PIP) --constraint constraints.txt pesq > .venv/pesq.log 2>&1 \
	  || echo 'PESQ, which needs a C compiler, is not installed: the measures will be without it (see .venv/pesq.log).'
	@touch $@

# Caches, and what is made again in minutes. Results are for `mlquant prune`, which removes those that no configuration
# needs any more; all of them go only when told to, by a person who has seen what they are.
CACHES := .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .snakemake/mlquant/settings
clean:
	@echo 'Removed, as they are made again in minutes: $(wildcard $(CACHES)) __pycache__'
	@rm -rf $(CACHES)
	@find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2> /dev/null || true
ifeq ($(RESULTS),1)
	@test ! -e results || { du -sh results; du -sh results/*_wav results/sweeps/* results/studies/* 2> /dev/null; \
	  printf 'Remove all of results/? To make it again takes from minutes to many hours. [y/N] '; read answer; \
	  case "$$answer" in y|Y|yes) rm -rf results; echo 'Removed: results/.';; *) echo 'Kept: results/.';; esac; }
else
	@test ! -e results || echo 'Kept: results/, which took hours. mlquant prune lists what no configuration needs.'
endif
