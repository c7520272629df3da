# `make` alone lists the targets. Everything runs inside .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# What `make embed` works on. Without DATA it draws synthetic radiographs.
STORE    ?= feature-store
BACKBONE ?= mini
LAYOUT   ?=
DATA     ?=
DEMO     ?= demo-radiographs
SCENARIO ?= label

.DEFAULT_GOAL := help
.PHONY: help setup embed train report mini mini-benchmark results choose-prior test lint types completeness docs bench fuzz kills flips bench-peers gpu-kit gpu-check clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.developing: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

setup: $(VENV)/.installed ## Make .venv and install retune into it

embed: setup ## Encode DATA (or a demo) with BACKBONE into STORE
ifeq ($(strip $(DATA)),)
	$(BIN)/retune-cli demo '$(DEMO)'
	$(BIN)/retune-cli ingest '$(DEMO)' --layout chexpert --dataset demo --store '$(STORE)' --quiet
else
	$(BIN)/retune-cli ingest '$(DATA)' $(if $(LAYOUT),--layout '$(LAYOUT)') --store '$(STORE)' --quiet
endif
	$(BIN)/retune-cli embed --backbone '$(BACKBONE)' --store '$(STORE)'
	@$(BIN)/retune-cli status --store '$(STORE)'
	@echo
	@echo 'Next, after `source $(VENV)/bin/activate`:'
	@echo '  retune-cli train --scenario label --store $(STORE)'
	@echo '  retune-cli sql "SELECT view, count(*) FROM images GROUP BY view" --store $(STORE)'

train: setup ## Train adaptors: SCENARIO=label, class, data, joint or zero-shot
	$(BIN)/retune-cli train --scenario '$(SCENARIO)' --store '$(STORE)'

report: setup ## The runs of STORE as one page, report.html
	@$(BIN)/python -m pip install --quiet --editable '.[report]'
	$(BIN)/retune-cli report --store '$(STORE)' --out report.html

RADIOGRAPHS ?= ../shared/data
mini: setup ## Train the embedded backbone anew on RADIOGRAPHS (nih-320, nih-64)
	OMP_WAIT_POLICY=passive OPENBLAS_THREAD_TIMEOUT=4 $(BIN)/python -m retune.pipeline.mini_recipe '$(RADIOGRAPHS)' build/mini pipeline/encode/backbones

mini-benchmark: setup ## Train minis that saw no patient of nih-320, or of nih-64, for make results
	OMP_WAIT_POLICY=passive OPENBLAS_THREAD_TIMEOUT=4 $(BIN)/python -m retune.pipeline.mini_recipe '$(RADIOGRAPHS)' build/mini-benchmark build/mini-benchmark --without nih-320
	OMP_WAIT_POLICY=passive OPENBLAS_THREAD_TIMEOUT=4 $(BIN)/python -m retune.pipeline.mini_recipe '$(RADIOGRAPHS)' build/mini-without-64 build/mini-without-64 --without nih-64
	$(BIN)/retune-cli embed --backbone local-dir:build/mini-without-64/mini --datasets nih-64 --store build/mini-without-64/store

results: $(VENV)/.developing ## Methods on radiographs that no backbone saw (after make mini-benchmark)
	OMP_WAIT_POLICY=passive OPENBLAS_THREAD_TIMEOUT=4 $(BIN)/python tests/benchmarks/results.py build/mini-benchmark/store
	OMP_WAIT_POLICY=passive OPENBLAS_THREAD_TIMEOUT=4 $(BIN)/python tests/benchmarks/results.py build/mini-without-64/store --datasets nih-64 --splits 10 --draws 1 --backbone local-dir:build/mini-without-64/mini

# Patients that the shipped mini never saw, for what is chosen on known radiographs.
build/shipped/store: | $(VENV)/.developing
	for set in nih-320 nih-64; do $(BIN)/retune-cli ingest '$(RADIOGRAPHS)'/$$set --dataset $$set --store $@ --quiet || exit 1; done
	$(BIN)/retune-cli embed --backbone mini --store $@

choose-prior: $(VENV)/.developing | build/shipped/store ## What analytic, its probabilities and finetune were chosen by, without test patients
	$(BIN)/python tests/benchmarks/choose_prior.py build/mini-benchmark/store build/shipped/store --nested
	$(BIN)/python tests/benchmarks/choose_calibration.py build/mini-benchmark/store build/shipped/store
	$(BIN)/python tests/benchmarks/choose_caution.py build/mini-benchmark/store build/shipped/store build/mini-without-64/store

# One more than two cores: tests that start processes wait half of their time.
TEST_PROCESSES ?= 3
test: lint types completeness $(VENV)/.developing ## Lint, types and tests
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --cov --cov-report=term --cov-fail-under=90

lint: $(VENV)/.developing ## Style of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell README.md ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md SECURITY.md docs cli pipeline store retune
	$(BIN)/proselint check --config docs/_style/proselint.json *.md docs/*.md

# The rooms install as retune.<room>; the type checker sees them so through links.
types: $(VENV)/.developing ## Types of the code
	@mkdir -p build/types/retune
	@for room in cli pipeline store; do ln -sfn ../../../$$room build/types/retune/$$room; done
	@for file in __init__.py py.typed; do ln -sfn ../../../retune/$$file build/types/retune/$$file; done
	$(BIN)/mypy -p retune

# It takes the packages of the `python` that it meets first.
completeness: types ## Every name that a user can import has a known type
	@PATH="$(abspath $(BIN)):$$PATH" PYTHONPATH=build/types basedpyright \
		--verifytypes retune --ignoreexternal > build/types/completeness.txt \
		|| { grep -A1 'error:' build/types/completeness.txt; false; }
	@grep 'completeness score' build/types/completeness.txt

ONLY ?=
bench: $(VENV)/.developing ## Benchmarks against peers and limits; ONLY=search for one kind
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	OPENBLAS_THREAD_TIMEOUT=4 $(BIN)/python tests/benchmarks/run.py $(if $(ONLY),--only $(ONLY))

docs: types $(VENV)/.developing ## The documentation as a site, build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

IMAGES ?= 20000
TABLES ?= 500
SEED   ?= 0
fuzz: $(VENV)/.developing ## Mutated images and tables, seeded: IMAGES, TABLES, SEED
	PYTHONPATH=tests $(BIN)/python tests/fuzz/image_fuzz.py --images '$(IMAGES)' --seed '$(SEED)'
	PYTHONPATH=tests $(BIN)/python tests/fuzz/tables.py '$(TABLES)' '$(SEED)'
	PYTHONPATH=tests $(BIN)/python tests/fuzz/mangled.py '$(TABLES)' '$(SEED)'

KILLS ?= 60
kills: $(VENV)/.developing ## Commands killed at any moment, also beside a full disk: KILLS, SEED
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/kill_table.py --kills '$(KILLS)' --seed '$(SEED)'

FLIPS ?= 2000
flips: $(VENV)/.developing ## Single bits of a store flipped, and what notices: FLIPS, SEED
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/flip_table.py --flips '$(FLIPS)' --seed '$(SEED)'

bench-peers: ## An environment for clip-retrieval, which `make bench` then runs against
	$(PYTHON) -m venv build/clip-retrieval
	build/clip-retrieval/bin/python -m pip install --quiet 'clip-retrieval==2.45.0' 'setuptools<70'

# gpu-check runs on PYTHON's packages with a KIT, else in .venv.
KIT_PYTHON ?= 3.12
KIT        ?=
DEVICE     ?= cuda
GPU_IMAGES ?= 20000
gpu-kit: setup ## Wheels for gpu-check where there is no package registry: build/gpu-kit
	$(BIN)/python tests/gpu/kit.py '$(KIT_PYTHON)' build/gpu-kit

gpu-check: $(if $(KIT),,$(VENV)/.developing) ## Tests and benchmark on a GPU; KIT=build/gpu-kit installs from there only
	$(if $(KIT),$(PYTHON),$(BIN)/python) tests/gpu/check.py $(if $(KIT),--kit '$(KIT)') --device '$(DEVICE)' --images '$(GPU_IMAGES)'

clean: ## Remove .venv, build and caches; never a store or data
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
