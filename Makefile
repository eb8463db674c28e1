# `make book` and `make test` need Python >= 3.11, make and the package index; each sets itself up.
.PHONY: help env book notebooks editions slides pdf check test nbval pages colab sync lint types bench identification clean

# Only the machine's name for Python is looked for here; tools/bootstrap.py does the rest.
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
RUN := .venv/bin/python
PYTHON312 ?= python3.12# Colab's; NAMES, of chapters, for `make colab`: all of them by default
# What jax has compiled is kept, for the workers, the notebooks and the next time.
KEEP := JAX_COMPILATION_CACHE_DIR=$(CURDIR)/_build/compiled JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
# Two workers, a file each, of one BLAS thread each: more get into each other's way. Numbers are checked on
# the CPU and in the size that takes seconds.
SMALL := env $(KEEP) OMP_NUM_THREADS=1 JAX_PLATFORMS=cpu LRCORE_SCALE=smoke
PYTEST := $(SMALL) $(RUN) -m pytest -n 2 --dist loadscope --durations=10

help:            ## show this list
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile | expand -t 16

env:             ## set up .venv, when requirements.txt or pyproject.toml changed
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found: install one, or name it: make book PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) tools/bootstrap.py

book: env        ## run every chapter and build the pages into _build/html
	@env $(KEEP) $(RUN) tools/build_book.py

notebooks: env   ## run every chapter and write plain notebooks, for Colab, into _build/notebooks
	@env $(KEEP) $(RUN) tools/build_book.py notebooks

editions: env    ## the same notebooks for a course, student and instructor, into _build/editions
	@env $(KEEP) $(RUN) tools/build_book.py editions

slides: env      ## slides of every chapter for a lecture, offline, into _build/slides
	@env $(KEEP) $(RUN) tools/build_book.py slides

pdf: env         ## the whole book as one PDF, _build/book.pdf, of the built pages, by Chromium
	@$(RUN) tools/pdf.py $(PDF)

check: lint types ## style, types and the quick tests, in a minute or so: before each commit
	$(PYTEST) -m "not slow" tests

test: env        ## run all tests
	$(PYTEST) --no-loadscope-reorder

nbval: env       ## run every notebook in smoke scale, and compare what it prints
	env -u LRCORE_DATA $(PYTEST) --nbval-lax --nbval-sanitize-with tests/book/sanitize.cfg book

pages: env       ## test the built pages, in a browser, and the notebooks that they offer
	$(RUN) -m pytest -n 2 --dist worksteal tests/book/test_pages.py tests/book/test_figures.py \
		tests/book/test_plain_notebooks.py tests/book/test_outputs.py

colab: env       ## run the plain notebooks, in smoke scale, beside the packages that Colab has
	env $(KEEP) $(RUN) tools/colab.py $(PYTHON312) $(NAMES)

sync: env        ## bring the notebooks in step with their Markdown
	@$(RUN) tools/sync.py

lint: env        ## check the style of code and notebooks
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: env       ## check the types
	$(RUN) -m ty check

bench: env       ## what a user waits for, into benchmarks/table.md and the book; some 20 minutes on an idle machine
	@$(RUN) benchmarks/bench.py

identification: env ## what is recovered of known laws: the tables of benchmarks/README.md, an hour or so
	env $(KEEP) OMP_NUM_THREADS=1 JAX_PLATFORMS=cpu $(RUN) benchmarks/identification.py

clean:           ## remove everything that make made
	rm -rf _build build dist .venv .pytest_cache .ruff_cache *.egg-info
