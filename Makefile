# Two commands for a fresh machine: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
JOBS ?= 2

.PHONY: help demo demo-quick test test-fast lint cuda-kernels help-texts clean

help:
	@echo "make demo   set up .venv, show what a trained network draws, train twice on new drawings (7 minutes)"
	@echo "make test   set up .venv with the test tools, run all tests (JOBS=2 processes; 15 minutes)"
	@echo "make test-fast   run the tests that are not slow (4 minutes)"
	@echo "make lint   check style and formatting with ruff, types with mypy"
	@echo "make cuda-kernels   compile the CUDA kernels for sm_75 to sm_120; needs no GPU"
	@echo "make help-texts   write docs/*-help.txt and the tables of docs/configs.md again"
	@echo "make clean  remove the demo's results (not .venv)"

demo: $(VENV)/.installed
	$(VENV)/bin/python demo.py

demo-quick: $(VENV)/.installed
	$(VENV)/bin/python demo.py --quick

test: $(VENV)/.installed-dev
	$(VENV)/bin/python -m pytest -n $(JOBS) --dist=loadgroup

test-fast: $(VENV)/.installed-dev
	$(VENV)/bin/python -m pytest -n $(JOBS) --dist=loadgroup -m "not slow"

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

cuda-kernels: $(VENV)/.installed-dev
	timeout 600 $(VENV)/bin/python -m training.precompile \
	  --arch=sm_75,sm_80,sm_90,sm_100,sm_120 --resolution=256 --precision=fp16,fp32,bf16

help-texts: $(VENV)/.installed
	$(VENV)/bin/python -m docs.help_texts
	$(VENV)/bin/python -m docs.option_tables

clean:
	rm -rf demo

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Error: Python 3.10 - 3.13 is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@echo "$(PYTHON) -m venv $(VENV)"
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "Error: no venv; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.installed: requirements.txt | $(VENV)/bin/python
	@echo "Installing PyTorch and other packages into $(VENV); it prints nothing for some minutes ..."
	$(VENV)/bin/python -m pip install --disable-pip-version-check -q -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements-gui.txt requirements-metrics.txt requirements-wandb.txt requirements-web.txt $(VENV)/.installed
	$(VENV)/bin/python -m pip install --disable-pip-version-check -q -r requirements-dev.txt
	@touch $@
