# `make test` and `make book` work from nothing: they need Python 3.11 and make, the rest they install into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
AXE := $(VENV)/.axe

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# A terminal sees each line when it is written, also through a pipe.
export PYTHONUNBUFFERED := 1
# Images of containers often set it. Without compiled files each process of the hundreds that are
# started here would compile torch and transformers again, which takes longer than most of them.
unexport PYTHONDONTWRITEBYTECODE

say = @echo "==> $(1)"

.PHONY: help
help: ## list the commands
	@echo "clipnotes: make COMMAND"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Made again when the dependencies change. Python compiles what it imports; pip would compile all of it.
$(INSTALLED): pyproject.toml constraints.txt
	$(call say,Installing into $(VENV) with $$($(PYTHON) --version). The first time takes a minute or two.)
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --no-compile -c constraints.txt -e ".[book,test]"
	$(call say,Preparing matplotlib's font list)
	$(BIN)/python -c "import matplotlib.font_manager"
	@touch $@

# Looks for what people cannot read; the only thing that the tests need and PyPI has not.
$(AXE): $(INSTALLED) tests/helpers/axe.py
	$(BIN)/python tests/helpers/axe.py
	@touch $@

.PHONY: install
install: $(INSTALLED) ## make .venv with the tested versions

.PHONY: test
test: $(INSTALLED) ## run the unit tests, then every chapter
# Tests of what people can read skip themselves where axe-core cannot be fetched.
	-@$(BIN)/python tests/helpers/axe.py
	$(call say,Testing the package and the repository)
	$(BIN)/python -m pytest -n 2 --ignore=tests/site
	$(call say,Running the chapters)
	$(BIN)/python book/_tools execute

.PHONY: slow
slow: $(INSTALLED) ## the tests that take minutes: each stage is broken, and a chapter has to stop; a small benchmark
	$(BIN)/python -m pytest -n 2 -m slow tests

# The newest version is tested in .venv, each older one in an environment of its own in .nox.
.PHONY: matrix
matrix: $(INSTALLED) ## run tests and chapters on each version of transformers (VERSIONS="4.49.0": on some)
	$(BIN)/nox -s $(or $(VERSIONS:%=matrix-%),matrix) -- $(ONLY)

# In a copy of the working tree, so that what is built here stays. On Linux, PyPI's torch is the CUDA build.
.PHONY: newest
newest: $(INSTALLED) ## test with the newest release of all that is allowed (TORCH=newest: of torch too; WITH=python3.13)
	$(BIN)/nox -s newest $(WITH:%=-P %) -- $(TORCH)

# Numbers are compared as numbers: another processor, another place in memory, another number of
# threads gives other last bits, and everything stays green.
.PHONY: elsewhere
elsewhere: $(INSTALLED) ## run all as other machines would compute it (MODES="offsets all": some; ONLY=chapters)
	$(BIN)/nox -s $(or $(MODES:%=elsewhere-%),elsewhere) -- $(ONLY)

.PHONY: colab
colab: $(INSTALLED) ## run each notebook as Colab would, from its first cell, in a bare environment
	$(BIN)/python book/_tools colab

.PHONY: other-model
other-model: $(INSTALLED) ## run the chapters on a CLIP of ViT-B/32's size (CLIPNOTES_MODEL=...: on that one)
	$(BIN)/python book/_tools other_model

.PHONY: record
record: $(INSTALLED) ## write down again what each version of transformers does
	$(BIN)/nox -s matrix -- record
	$(BIN)/python book/_tools versions.page

.PHONY: real
real: $(INSTALLED) ## write down what the cells tagged `real` print on CLIPNOTES_MODEL (without: on a stand-in, for trying)
	$(BIN)/python book/_tools real.record

.PHONY: bench
bench: $(INSTALLED) ## measure speed and memory again, 20 minutes on a quiet machine
	$(BIN)/python benchmarks/speed.py

.PHONY: book
book: $(INSTALLED) ## build the book; chapters that have run already are not run again
	$(BIN)/python book/_tools build

.PHONY: site
site: book $(AXE) ## build the book, then try every page, button and link of it in a browser
	$(call say,Trying the book in a browser)
	$(BIN)/python -m pytest -n 2 tests/site

.PHONY: links
links: book ## follow the book's links to other hosts
	$(BIN)/python book/_tools links

.PHONY: pdf
pdf: book ## print the book to _build/book.pdf; needs chromium
	$(call say,Printing. This takes a minute.)
	$(BIN)/python book/_tools pdf

.PHONY: sync
sync: $(INSTALLED) ## write each chapter's .ipynb from its .md, and the page about versions
	$(BIN)/python book/_tools pairs
	$(BIN)/python book/_tools versions.page

# The address is no dependency of what is installed.
.PHONY: adopt
adopt: $(INSTALLED) ## write this repository's address into every copy (URL=https://github.com/OWNER/NAME)
	$(BIN)/python book/_tools adopt "$(URL)"
	@touch $(INSTALLED)

.PHONY: lint
lint: $(INSTALLED) ## check style and types
	$(call say,ruff check)
	$(BIN)/ruff check .
	$(call say,ruff format --check)
	$(BIN)/ruff format --check .
	$(call say,mypy)
	$(BIN)/mypy

.PHONY: clean
clean: ## remove what was built; .venv and .nox stay
	rm -rf _build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
