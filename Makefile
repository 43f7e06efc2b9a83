# The two commands: make run, make test. Everything else is one part of them.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Adds the CPU build to the choice, which pip prefers; without it Linux gets gigabytes of CUDA.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# Sets for measuring, which are not part of the repository.
EVALDATA ?= ../shared/evaldata

# What is no part of the program: it looks at the program's parts.
TOOLS := build/tools

.PHONY: help run test lint type unit trust fix bench samples constraints lock audit sbom browser clean

help: ## show the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

run: $(READY) ## set everything up and serve the app on http://127.0.0.1:8501
	$(BIN)/rag serve

# Browser tests wait more than they work, so types are checked meanwhile.
test: lint ## set everything up and run every check
	$(MAKE) --no-print-directory --jobs 2 type unit

lint: $(READY) ## check style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: $(READY) ## check types
	$(BIN)/mypy

unit: $(READY) browser ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2

trust: $(READY) $(TOOLS)/.ready browser ## hold every promise of docs/trust.md for a good hour; writes trust-report.md
	OMP_NUM_THREADS=2 $(BIN)/pytest -m trust --timeout 1800 --trust-report trust-report.md tests/trust

fix: $(READY) ## format, and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## measure retrieval on sets in EVALDATA=FOLDER, in under ten minutes
	OMP_NUM_THREADS=2 $(BIN)/python -m scripts.bench $(EVALDATA)

samples: $(READY) ## make the PDFs and the DOCX of data/sample again
	$(BIN)/python scripts/make_samples.py

constraints: $(READY) ## write down the exact versions of the environment
	@{ sed -n '/^\#/p' constraints.txt; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu//'; } > .venv/constraints.txt
	@mv .venv/constraints.txt constraints.txt && touch $(READY)

lock: $(READY) $(TOOLS)/.ready ## write down the hashes of the exact versions
	$(TOOLS)/bin/uv pip compile constraints.txt --no-deps --generate-hashes --no-emit-package torch \
		--no-annotate --custom-compile-command "make lock" --python $(BIN)/python \
		--default-index https://pypi.org/simple --quiet --output-file requirements.lock

audit: $(TOOLS)/.ready ## ask whether weaknesses of the exact versions are known
	$(TOOLS)/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

sbom: $(READY) $(TOOLS)/.ready ## write a bill of materials and the licences into build/
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml \
		--output-reproducible --output-file build/sbom.json
	$(BIN)/python scripts/licences.py build/sbom.json > build/licences.txt

# The tests drive Debian's Chromium and nginx; without these they are skipped and say so.
browser:
	@if ! { command -v chromium && command -v nginx; } >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && apt-get install -y -qq chromium fonts-noto-cjk nginx-light >/dev/null; \
	fi

clean: ## remove the environment and every cache, not your library
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -prune -exec rm -rf {} +

# Byte code is made of what is imported, not of the 19,000 files that are installed.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "RankLens needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --no-compile --quiet --retries 1 --extra-index-url $(TORCH_INDEX) torch==2.13.0
ifdef LOCKED
	$(BIN)/pip install --no-compile --quiet --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/pip install --no-compile --quiet --no-deps --editable .
else
	$(BIN)/pip install --no-compile --quiet --constraint constraints.txt --editable '.[test]'
endif
	@touch $@

$(TOOLS)/.ready:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet cyclonedx-bom==7.5.0 pip-audit==2.10.1 uv==0.13.9
	@touch $@
