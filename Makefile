# Everything works from a clean clone: a Python 3.11 or newer, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
QUICKSTART := .quickstart
VLLMCTL := $(BIN)/vllmctl --state-dir $(QUICKSTART)
EXAMPLE := examples/quickstart.yaml

.PHONY: help up down test simulate test-vllm flags lint format bench docs wheel clean

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/:.*  ## /\t/' | expand -t 14

$(STAMP): pyproject.toml scripts/setup-venv
	@$(PYTHON) scripts/setup-venv $(VENV)

up: $(STAMP)  ## Start the quickstart: two simulated models, no GPU needed
	@$(VLLMCTL) -c $(EXAMPLE) start
	@$(BIN)/python scripts/first-completion $(QUICKSTART)
	@echo && $(VLLMCTL) status
	@echo && cat examples/quickstart-next.txt

down:  ## End the quickstart
	@if [ -S $(QUICKSTART)/vllmctl.sock ]; then $(VLLMCTL) shutdown || test $$? = 3; \
	else echo "the quickstart does not run"; fi

test: $(STAMP)  ## The tests that need no vLLM
	@$(BIN)/pytest -q -n 2 --dist worksteal -m "not vllm"

SEEDS ?= 2000
STEPS ?= 500
simulate: $(STAMP)  ## The supervisor in SEEDS simulated worlds; SEED=N tells one step by step
	@PYTHONPATH=tests $(BIN)/python -m simulation --steps $(STEPS) \
		$(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

test-vllm: $(STAMP)  ## The tests against real vLLM (CPU), set up in a cache outside the clone
	@vllm=$$($(PYTHON) scripts/setup-vllm) && VLLMCTL_TEST_VLLM="$$vllm" $(BIN)/pytest -v -m vllm tests/vllm

flags: $(STAMP)  ## Write the shipped list of vLLM's flags, by the vLLM of the tests
	@vllm=$$($(PYTHON) scripts/setup-vllm) && $(BIN)/python scripts/make-flags "$$vllm"

lint: $(STAMP)  ## Linters, types, and the arrows between the modules
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(STAMP)  ## Bring the code into shape
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: $(STAMP)  ## Write the parts of the documentation that are made from the code
	@$(BIN)/python scripts/generate-docs

bench: $(STAMP)  ## Speed and size, side by side with supervisord
	@$(BIN)/pip install -q --disable-pip-version-check supervisor
	@$(BIN)/python benchmarks/against_supervisord.py

wheel: $(STAMP)  ## Build the wheel
	@rm -rf dist && $(BIN)/python -m build --wheel --outdir dist . >/dev/null && ls dist

clean: down  ## Remove what make has made here
	@rm -rf $(VENV) $(QUICKSTART) dist
