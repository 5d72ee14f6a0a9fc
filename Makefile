# Every target installs what it needs into .venv; only Python 3.11+ and make are expected.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# A worker with nothing left to do takes tests from another: some tests take a hundred times as long as others.
PARALLEL := --numprocesses auto --dist worksteal
# Of suites that wait half of the time.
WAITING  := --numprocesses 3

# For the recipes of `faults`: another seed, or so many times as much.
ifdef SEED
export FAULTS_SEED := $(SEED)
endif
ifdef LONG
export FAULTS_LONG := $(LONG)
endif

.PHONY: test slow servers stores faults mutants celery lint demo bench matrix package screenshots docs links clean

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable ".[sqs]" --group test
	touch $@

test: $(STAMP) lint  ## units and real servers; needs no more than pip
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow" tests/unit tests/integration

slow: $(STAMP)  ## Airflow as a whole, the demo, long searches, more servers; needs no more than pip
	$(BIN)/python -m pytest $(WAITING) --dist loadfile --no-loadscope-reorder -m slow tests/unit tests/integration

servers: $(STAMP)  ## the contract of a transfer with every SFTP server that can be had; see .ci/run for what they need
	$(BIN)/python -m pytest $(PARALLEL) tests/servers

stores: $(STAMP)  ## the contract of a transfer with every S3 store that can be had; see .ci/run for what they need
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup tests/stores

faults: $(STAMP)  ## crashes, races, lying servers, hostile names, and their table; SEED=1 repeats, LONG=10 does more
	$(BIN)/python -m pytest $(WAITING) --dist worksteal tests/faults

mutants: $(STAMP)  ## takes each guard out of the code, and shows which test notices
	$(BIN)/python -m tests.faults.mutants

celery: $(STAMP)  ## docker-compose.yaml as processes, one killed; needs PostgreSQL, Redis, sshd, docker-compose, Python 3.12
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/distributed

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: $(STAMP)  ## the main job, with no docker and no account; ONCE=1 ends by itself
	$(BIN)/python -m demo $(if $(ONCE),--once)

bench: $(STAMP)  ## this project beside rclone and Airflow's own operators; SHORT=1 ends in 10 minutes
	command -v sshd >/dev/null || [ -x /usr/sbin/sshd ] || (apt-get update -qq && apt-get install -y -qq openssh-server)
	command -v lftp >/dev/null || (apt-get update -qq && apt-get install -y -qq lftp) || echo "goes on without lftp"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group bench
	$(BIN)/python -m benchmarks $(if $(SHORT),--short)

matrix: $(STAMP)  ## every Airflow from the lowest to the newest, installed from the wheel; ROWS="lowest ..." for some
	$(BIN)/python -m matrix $(ROWS)

package: $(STAMP)  ## wheel and sdist in dist/, the wheel built from the sdist
	rm -rf dist
	$(BIN)/uv build --quiet --python $(BIN)/python
	$(BIN)/twine check --strict dist/*

screenshots: $(STAMP)  ## the pictures of docs/page.md, anew; needs Chromium
	PICTURES="$(CURDIR)/docs/pictures" $(BIN)/python -m pytest tests/integration/test_page.py -k pictures

SPHINX := $(BIN)/python -m sphinx --quiet --nitpicky --fail-on-warning --keep-going --doctree-dir docs/_build/doctrees

docs: $(STAMP)  ## the site, in docs/_build/html; a warning, or a link within it that leads nowhere, is an error
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group docs
	$(SPHINX) --fresh-env --write-all docs docs/_build/html

links: $(STAMP)  ## asks each address outside that the site names; needs the internet, so no suite runs it
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group docs
	$(SPHINX) --builder linkcheck docs docs/_build/links

clean:
	rm -rf $(VENV) .demo .matrix .servers .try build dist docs/_build
