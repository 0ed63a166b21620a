# Everything works from a clean clone: a Python 3.11 or newer, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
QUICKSTART := .quickstart
VLLMCTL := $(BIN)/vllmctl --state-dir $(QUICKSTART)
EXAMPLE := examples/quickstart.yaml
EXAMPLES ?= 300
# Some images set it; each of the many Pythons started here would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help up down test simulate properties test-vllm kill-matrix kill-steps soak flags lint format
.PHONY: test-vllm-slow test-vllm-failures test-vllm-gpu recordings screens oddities bench bench-check docs picture wheel clean

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

# Most tests wait for processes most of the time: four at a time keep two cores half busy.
test: $(STAMP)  ## The tests that need no vLLM
	@$(BIN)/pytest -q -n 4 --dist worksteal -m "not vllm"

properties: $(STAMP)  ## The shim against many random trees; EXAMPLES=300 take some two minutes
	@VLLMCTL_TEST_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -q tests/test_shim_properties.py


SEEDS ?= 2000
STEPS ?= 500
simulate: $(STAMP)  ## The supervisor in SEEDS simulated worlds; SEED=N tells one step by step
	@PYTHONPATH=tests $(BIN)/python -m simulation --steps $(STEPS) \
		$(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

oddities: $(STAMP)  ## Every verb on every odd terminal, all that may be planted, many saves
	@VLLMCTL_TEST_SHARE=1 $(BIN)/pytest -q -n 4 tests/test_odd_terminals.py tests/test_rights.py \
		tests/test_random_saves.py tests/config/test_limits.py

test-vllm: $(STAMP)  ## The tests against real vLLM (CPU), set up in a cache outside the clone
	@vllm=$$($(PYTHON) scripts/setup-vllm) && VLLMCTL_TEST_VLLM="$$vllm" $(BIN)/pytest -v -m vllm tests/vllm

test-vllm-slow: $(STAMP)  ## A hung engine, and a slow one that is left alone for ten minutes
	@vllm=$$($(PYTHON) scripts/setup-vllm) && VLLMCTL_TEST_SLOW_SECONDS=600 VLLMCTL_TEST_VLLM="$$vllm" \
		$(BIN)/pytest -v -m vllm tests/vllm/test_real_hang.py

test-vllm-failures: $(STAMP)  ## Every failure of real vLLM in the table, under vllmctl (NAMES="a or b")
	@vllm=$$($(PYTHON) scripts/setup-vllm) && VLLMCTL_TEST_SHARE=1 VLLMCTL_TEST_VLLM="$$vllm" \
		$(BIN)/pytest -v tests/vllm/test_real_failures.py $(if $(NAMES),-k "$(NAMES)")

VLLM ?=
test-vllm-gpu: $(STAMP)  ## Real vLLM on a real GPU, for some minutes (VLLM=/path/to/bin/vllm)
	@test -n "$(VLLM)" || { echo "make test-vllm-gpu VLLM=/path/to/bin/vllm"; exit 2; }
	@VLLMCTL_TEST_GPU=1 VLLMCTL_TEST_VLLM="$(VLLM)" $(BIN)/pytest -v tests/vllm/test_real_gpu.py \
		$(if $(NAMES),-k "$(NAMES)")

recordings: $(STAMP)  ## The same, and write down what they print
	@VLLMCTL_RECORD=1 $(MAKE) --no-print-directory test-vllm-failures

screens: $(STAMP)  ## Write the golden screens of the tests anew
	@VLLMCTL_TEST_SCREENS=1 $(BIN)/pytest -q tests/test_screens.py


SECONDS ?= 600
MODELS ?= 50
soak: $(STAMP)  ## Many simulated models, and accidents for minutes (SECONDS=, MODELS=, SEED=)
	@cd tests && ../$(BIN)/python -m soak --seconds $(SECONDS) --models $(MODELS) $(if $(SEED),--seed $(SEED))


SHARE := 1
kill-matrix: $(STAMP)  ## SIGKILL at every step of daemon and shim, as a table (SHARE=4: every fourth)
	@cd tests && ../$(BIN)/python -m killing --share $(SHARE)

kill-steps: $(STAMP)  ## Write the list of these steps anew
	@cd tests && ../$(BIN)/python -m killing --record

flags: $(STAMP)  ## Write the shipped list of vLLM's flags, by the vLLM of the tests
	@vllm=$$($(PYTHON) scripts/setup-vllm) && $(BIN)/python scripts/make-flags "$$vllm"

lint: $(STAMP)  ## Linters, types, and the arrows between the modules
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@cd benchmarks && ../$(BIN)/mypy --strict --ignore-missing-imports .
	@$(BIN)/lint-imports --no-cache

format: $(STAMP)  ## Bring the code into shape
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: $(STAMP)  ## Write the parts of the documentation that are made from the code
	@$(BIN)/python scripts/generate-docs

picture: $(STAMP)  ## Draw the picture of README from a real run; takes ports 8001 to 8003
	@$(BIN)/python scripts/make-picture

PARTS ?=
SIZES ?=
PAGE ?=
bench: $(STAMP)  ## Speed and size, side by side with five peers (PARTS=status,logs SIZES=1,100)
	@$(BIN)/python benchmarks $(if $(PAGE),--keep $(PAGE)) $(if $(PARTS),--only $(PARTS)) $(if $(SIZES),--sizes $(SIZES))

bench-check: $(STAMP)  ## Has it become slower or larger? Ratios at a small size, against accepted ones
	@$(BIN)/python benchmarks/regression.py

wheel: $(STAMP)  ## Build the wheel
	@rm -rf dist && $(BIN)/python -m build --wheel --outdir dist . >/dev/null && ls dist

clean: down  ## Remove what make has made here
	@rm -rf $(VENV) $(QUICKSTART) dist
