.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
CONFTEST := 0.71.1
CONFTEST_SUM := h1:M6MogKBsr76V7WVTgGgyGvKUsDtzFA3gaOrl7ciyqvQ=
KAFKA := 4.3.1
BUNDLE := bundles/dataspine/bundles/policies.tar.gz
# A module's tests share their servers, so they stay on one worker.
PARALLEL := -n auto --maxprocesses 4 --dist loadscope
STATIC := web/dataspine/web/static/lineage
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/data-spine
# OPA lives in the user's cache; tests and linters find it there as `spine` itself does.
export PATH := $(CURDIR)/$(BIN):$(CACHE)/bin:$(PATH)

# What reads and writes the database; the rest is the same on either.
STORES := $(addprefix tests/,bundles/test_approvals.py bundles/test_store.py cdc/test_flush.py cdc/test_heartbeat.py \
  decisions/test_decision_log.py decisions/test_fleet.py \
  decisions/test_journal.py decisions/test_recorded.py integration/test_policy_impact.py \
  integration/test_schema_publish.py integration/test_schema_transfer.py lineage/test_delivery.py \
  lineage/test_outbox.py lineage/test_store.py registry/test_store.py web/test_app.py \
  web/test_bundles.py web/test_confluent.py web/test_fleet.py web/test_hostile.py web/test_readiness.py)

.PHONY: help setup demo test test-unit test-postgres test-faults soak lint policy mutants check bench bundle docs \
  conftest kafka static wheel lock clean

help:  ## Show this help
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready $(CACHE)/bin/opa  ## Create .venv with locked dependencies and install OPA
	@echo "Ready. Try: make demo"

# The lock file is whole. Resolving again would ask for hashes of what a package names with extras
# as soon as a newer version of it appears.
.venv/.ready: requirements.lock pyproject.toml
	@if command -v uv >/dev/null; then \
	  uv venv -q --allow-existing --python $(PYTHON) .venv && \
	  VIRTUAL_ENV=$(CURDIR)/.venv uv pip install -q --require-hashes -r requirements.lock && \
	  VIRTUAL_ENV=$(CURDIR)/.venv uv pip install -q --no-deps --no-build-isolation -e .; \
	else \
	  echo "Installing dependencies into .venv (1-2 minutes the first time) ..." && \
	  $(PYTHON) -m venv .venv && \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes \
	    -r requirements.lock && \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

$(CACHE)/bin/opa: | .venv/.ready
	$(BIN)/spine opa install

conftest: $(CACHE)/bin/conftest  ## Build the pinned conftest into the user's cache (3 minutes)

# Whatever checksum database and proxy Go has, the source is the one of that sum. Empty flags would leave
# those of `go env -w` in force. One rename puts the whole program in place.
$(CACHE)/bin/conftest:
	@echo "Building conftest $(CONFTEST) (3 minutes the first time) ..."
	@mkdir -p $(@D) && folder=$$(mktemp -d $(@D)/.conftest-XXXXXX) && trap 'rm -rf "$$folder"' EXIT && \
	  GOBIN=$$folder GOFLAGS=-buildvcs=false CGO_ENABLED=0 \
	  go install github.com/open-policy-agent/conftest@v$(CONFTEST) && \
	  { go version -m "$$folder/conftest" | grep -qF "conftest	v$(CONFTEST)	$(CONFTEST_SUM)" || \
	  { echo "go built conftest $(CONFTEST) from another source: check GOPROXY" >&2; exit 1; }; } && \
	  mv "$$folder/conftest" $@
	@$@ --version

kafka: $(CACHE)/kafka-$(KAFKA)/.ready  ## Fetch the Kafka broker of the tests (1 minute; Java, Maven)

$(CACHE)/kafka-$(KAFKA)/.ready: tests/kafka/pom.xml
	@echo "Fetching Kafka $(KAFKA) ..."
	@mvn -q -B -f tests/kafka/pom.xml dependency:copy-dependencies -Dkafka.version=$(KAFKA) \
	  -DincludeScope=runtime -DoutputDirectory=$(@D)
	@touch $@

demo: setup  ## Run the whole story, end to end, in under a minute
	@$(BIN)/spine demo $(ARGS)

test: setup bundle  ## Run the tests, without the long fault tests
	$(BIN)/python -m pytest -q $(PARALLEL) -m "not faults and not bench" $(ARGS)

test-unit: .venv/.ready  ## Run only what needs no real component
	$(BIN)/python -m pytest -q $(PARALLEL) -m "not integration and not faults and not bench" $(ARGS)

test-postgres: setup bundle  ## Run the tests of what is stored with PostgreSQL (2 minutes)
	SPINE_TEST_DATABASE=postgres $(BIN)/python -m pytest -q $(PARALLEL) $(STORES) $(ARGS)

test-faults: setup bundle  ## Run the long kill and load tests
	$(BIN)/python -m pytest -q -m faults tests/faults $(ARGS)

# Rounds of some minutes each; SPINE_WORKLOAD_SEED tries one again.
soak: setup bundle  ## Run the random workload of routes for hours
	SPINE_WORKLOAD_ROUNDS=$${SPINE_WORKLOAD_ROUNDS:-100} SPINE_WORKLOAD_SECONDS=$${SPINE_WORKLOAD_SECONDS:-120} \
	  $(BIN)/python -m pytest -q -s -m faults tests/faults/test_random_workload.py $(ARGS)

lint: setup  ## Check format, lint rules, types, layers, copies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/spine policy docs policies --check
	$(BIN)/python -m docs.generate --check
	diff schema/data-residency-matrix.yaml engine/dataspine/cli/templates/schema/data-residency-matrix.yaml
	diff -r web/data-spine-lineage $(STATIC)

policy: setup  ## Format, check, lint and test the Rego
	$(BIN)/spine policy check policies $(ARGS)

mutants: setup  ## The same, and change each line to see if a test notices
	$(BIN)/spine policy check policies --mutants $(ARGS)

check: lint mutants test test-postgres  ## Run what CI runs, but for the fault tests

bench: setup bundle  ## Measure against the targets: JSON and a table
	$(BIN)/python -m tests.bench $(ARGS)

bundle: .venv/.ready  ## Pack the product's rules into the package
	@$(BIN)/python -m dataspine.bundles._pack

docs: setup  ## Generate the reference: rules, commands, HTTP, files, errors
	$(BIN)/spine policy docs policies
	$(BIN)/python -m docs.generate

static:  ## Copy the web sources into the package
	@mkdir -p $(STATIC) && cp -R web/data-spine-lineage/. $(STATIC)/

wheel: bundle static  ## Build the wheel; the bundle must be inside
	$(BIN)/python -m hatchling build -t wheel
	$(BIN)/python -m zipfile -l dist/*.whl | grep -q policies.tar.gz

lock:  ## Lock the dependencies again, with hashes and without addresses
	uv pip compile -q pyproject.toml --universal --python-version 3.11 --all-extras --group dev \
	  --generate-hashes --no-emit-index-url --no-header --upgrade -o requirements.lock

clean:  ## Remove what was built here
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis $(BUNDLE)
