# make ladder | make test | make help. Set-up goes into the active environment, or into .venv.

STUDY ?= results/quickstart
ENV := $(or $(VIRTUAL_ENV),$(CONDA_PREFIX),$(CURDIR)/.venv)
PY := $(ENV)/bin/python
READY := $(ENV)/.convnext-path-ready
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c '$(SUPPORTED)' 2>/dev/null && echo "$$p" && break; done)

.DEFAULT_GOAL := help
.PHONY: help setup ladder cost plot test torture lint format readme docs notebook report clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(READY)  ## install what is pinned in constraints.txt (skipped when up to date)

$(READY): pyproject.toml constraints.txt
	@test -x "$(PY)" || test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 found; set PYTHON=/path/to/python" >&2; exit 2; }
	test -x "$(PY)" || "$(PYTHON)" -m venv "$(ENV)"
	"$(PY)" -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch "$@"

ladder: $(READY)  ## train the default ladder on digits and draw it (minutes; resumes)
	"$(PY)" -m ablations run --seeds 2 --study $(STUDY)

cost: $(READY)  ## count every rung's costs beside the published figures
	"$(PY)" -m ablations cost

plot: $(READY)  ## draw a study again: make plot STUDY=results/digits
	"$(PY)" -m ablations plot $(STUDY)

report: $(READY)  ## a page of a study: make report STUDY=results/digits
	"$(PY)" -m ablations report $(STUDY)

# Each process has one thread: two of two each would wait for one another on two cores.
test: lint  ## lint, then run every test, in two processes
	OMP_NUM_THREADS=1 "$(PY)" -m pytest -n 2 --dist worksteal

torture: $(READY)  ## kill, double and starve whole drivers (minutes), two at a time
	OMP_NUM_THREADS=1 "$(PY)" -m pytest -m torture -n 2 --dist loadgroup --maxschedchunk 1

lint: $(READY)  ## ruff, its formatter and mypy
	"$(PY)" -m ruff check .
	"$(PY)" -m ruff format --check .
	"$(PY)" -m mypy

format: $(READY)  ## let ruff put the code in order
	"$(PY)" -m ruff check --fix .
	"$(PY)" -m ruff format .

readme: $(READY)  ## write the generated tables into README.md and results/costs.json
	"$(PY)" -m ablations.report.readme

docs: $(READY)  ## build docs/ as pages: docs/_build/html/index.html
	"$(PY)" -m sphinx -W -n -q -b html docs docs/_build/html

notebook: $(READY)  ## run the notebook and keep its outputs (2 minutes)
	cd notebooks && "$(PY)" -m jupyter execute --inplace path.ipynb

clean:  ## remove .venv and caches (results stay)
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
