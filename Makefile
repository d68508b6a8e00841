# Everything sets itself up: python3, make and git are all that a machine needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(shell cksum < pyproject.toml | cut -d' ' -f1)
USABLE := $(VENV)/.usable-$(STAMP)
READY := $(VENV)/.ready-$(STAMP)
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
TESTS ?= tests

.PHONY: demo test lint unit fuzz oracle mutants docs conformance models zoo smith bench bench-kernels bench-rounding bench-peers bench-spills bench-layers ablation accuracy bench-compile bench-resnet18 bench-predictions clean help

help:  ## List the targets.
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /: /'

# The environment follows pyproject.toml: the package alone for the demo, its tools for the rest.
$(USABLE):
	@echo "setting up $(VENV), once" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) -e .
	@rm -f $(VENV)/.usable-* && touch $@

$(READY): $(USABLE)
	@echo "adding the tools for tests, once" >&2
	@$(PIP) -e '.[dev]'
	@rm -f $(VENV)/.ready-* && touch $@

demo: $(USABLE)  ## Compile a network of twenty lines and let it read handwritten digits.
	@$(BIN)/python examples/digits/demo.py

test: lint unit  ## Lint, types and tests.

lint: $(READY)  ## Format, style and types.
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .
	@$(BIN)/mypy

unit: $(READY)  ## Tests without lint.
	@$(BIN)/python -m pytest -n 2 -q $(TESTS)

oracle: $(READY)  ## Long: thousands of random operators and networks on every level of the CPU.
	@$(BIN)/python -m tests.oracle --ops 2000 --graphs 1000

fuzz: $(READY)  ## Long: thousands of hostile models, weights, pictures and arrays.
	@$(BIN)/python -m tests.cli.fuzz --texts 5000 --weights 2000 --feeds 2000
	@CNNCC_LONG=1 $(BIN)/python -m pytest -n 2 -q tests/test_fuzz.py
	@$(BIN)/python -m tests.onnx.mutate --count 5000 --seed 1

conformance: $(READY)  ## ONNX's own test suite; writes docs/conformance.md.
	@$(BIN)/python -m tests.onnx.conformance --write docs/conformance.md

models: $(READY)  ## Real models beside the repository: stored outputs, digits, faces, text, sound.
	@$(PIP) scikit-image
	@$(BIN)/python -m tests.onnx.models

zoo: $(READY)  ## Long: judge every ONNX file of a folder, ZOO=folder.
	@$(BIN)/python -m tests.onnx.zoo $(ZOO)

smith: $(READY)  ## Long: judge NNSmith's models in SMITH=folder (tests/onnx/smith_generate.py).
	@$(BIN)/python -m tests.onnx.smith $(SMITH)

mutants: $(READY)  ## Long: put bugs into kernels, plan and passes; the tests must catch each.
	@$(BIN)/python -m tests.mutation.mutants --jobs 2

bench: bench-kernels bench-compile bench-resnet18  ## All measurements.

bench-kernels: $(READY)  ## Kernels against the multiply-add peak of this machine.
	@$(BIN)/python -m cnncc.bench.kernels

bench-rounding: $(READY)  ## How far minimal filtering and seven products round, beside what the tolerances allow.
	@$(BIN)/python -m tests.kernels.winograd.winograd_rounding
	@$(BIN)/python -m tests.kernels.strassen.strassen_rounding

ablation: $(READY)  ## Long: what each optimisation is worth on the networks of ZOO=folder.
	@$(BIN)/python -m cnncc.bench.ablation $(ZOO) --write docs/performance.md

accuracy: $(READY)  ## Long: networks of ZOO=folder against float64, beside onnxruntime.
	@$(BIN)/python -m cnncc.bench.accuracy $(ZOO) --write docs/performance.md

bench-spills: $(READY)  ## Registers that inner loops spill, networks of ZOO=folder, on three targets.
	@$(BIN)/python -m cnncc.bench.spills $(wildcard $(ZOO)/*.onnx) --target x86-64-v4 --target x86-64-v3 \
	  --target aarch64 --write docs/performance.md

bench-peers: $(READY)  ## Long: every network of ZOO=folder beside other engines; docs/performance.md.
ifndef CNNCC_PEERS_PYTHON
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install -q --disable-pip-version-check onnxruntime openvino ncnn pnnx MNN numpy
endif
	@$(BIN)/python -m cnncc.bench.zoo $(ZOO) --python $(or $(CNNCC_PEERS_PYTHON),.venv-peers/bin/python) \
	  --json build/peers.json --write docs/performance.md --picture docs/pictures/peers.svg

bench-compile: $(READY)  ## Compile time of ResNet-18, or of all of ZOO=folder; import times.
ifdef ZOO
	@$(BIN)/python -m cnncc.bench.compile_time $(wildcard $(ZOO)/*.onnx) --rounds 1 --write docs/performance.md
else
	@$(BIN)/python -m cnncc.bench.compile_time
endif

bench-resnet18: $(READY)  ## Latency of ResNet-18 beside onnxruntime, 1 and 2 threads.
	@$(BIN)/cnncc bench examples/resnet18.cnn --threads 1,2 --against onnxruntime --seconds 10

bench-predictions: $(READY)  ## The cost model against this machine, over the models of ZOO=folder.
	@$(BIN)/python -m cnncc.bench.predictions $(or $(ZOO),examples) $(if $(ZOO),--write docs/performance.md)

bench-layers: $(READY)  ## Every layer of networks in ZOO=folder beside its bound; docs/layers.md.
	@$(BIN)/python -m cnncc.bench.layer_tables $(ZOO) --write docs/layers.md

docs: $(READY)  ## Make docs/operators.md and the generated parts of docs/architecture.md anew.
	@$(BIN)/python docs/make_architecture.py
	@$(BIN)/python docs/make_operators.py

clean:  ## Remove the environment and all caches.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
