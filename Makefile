# Every target that needs the environment .venv builds it first, and again when the pins change.
python := .venv/bin/python
# On up to four cores, for many tests have threads or ranks of their own.
pytest := $(python) -m pytest -n logical --maxprocesses 4 --dist loadfile

.PHONY: setup help sample train test coverage fuzz bench results docs tour gpu-compile-test gpu-run-test hosts-test lint docker bundle mpi

setup: .venv/ready ## build .venv, with everything pinned

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

sample: setup ## draw digits from trained weights, and show them where there is a screen
	@$(python) experiments/mnist_pixelvae.py sample gated-pixelvae-noup --out samples.png
	@if [ -t 1 ] && [ "$$DISPLAY$$WAYLAND_DISPLAY" ]; then xdg-open samples.png 2>/dev/null || true; fi

train: setup ## train and evaluate a small gated PixelVAE
	$(python) experiments/mnist_pixelvae.py train --preset quick --data auto --out runs/quick

test: setup ## run the tests
	$(pytest)

coverage: setup ## run the tests, and hold their coverage
	$(pytest) --cov
	scripts/check-coverage

fuzz: setup ## feed the parsers what is not theirs
	$(python) tests/fuzzing.py

bench: setup .venv-bench/ready ## measure speed beside PyTorch
	$(python) -m benchmarks --keep

results: setup ## write the results' pages from the records
	$(python) studies/results.py

docs: .venv/docs ## build the site (README.md, docs/, docstrings) into build/docs
	rm -rf docs/site/api build/docs # pages of modules that are gone
	$(python) -m sphinx --jobs auto --fail-on-warning --keep-going --quiet -c docs/site -d build/doctrees . build/docs
	@echo build/docs/index.html

tour: setup ## run the notebooks and keep their outputs
	$(python) notebooks/execute.py

gpu-compile-test: setup ## compile for a GPU, without one (1.5 GB)
	scripts/fetch-gpu-tools
	$(python) -m pytest -m gpu_compile

gpu-run-test: setup ## run the GPU path, on an emulated card (1 MB)
	scripts/fetch-gpu-tools pygpu
	$(python) -m pytest tests/gpu/test_run.py -m "gpu_run or not gpu_run"

hosts-test: setup .venv/mpi ## train on two hosts, which are network namespaces (root)
	$(python) -m pytest -m two_hosts

lint: setup ## check style and types
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

docker: ## build the image
	docker build --tag pixelvae .

bundle: setup ## pack Python, packages and project for machines without a network
	$(python) scripts/make-bundle

mpi: .venv/mpi ## put MPI into .venv, to work on several ranks

.venv/ready: requirements.txt requirements-dev.txt scripts/build-venv
	scripts/build-venv .venv $(filter %.txt,$^)

.venv/docs: | .venv/docs-python
.venv/docs-python: .venv/ready
	@$(python) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "The site needs CPython 3.11 or later, and .venv has an older one; this builds it anew: make -B setup PYTHON=python3.11")'

.venv/mpi .venv/docs: .venv/%: requirements-%.txt .venv/ready
	$(python) -m pip install -qq --disable-pip-version-check --requirement $<
	touch $@

.venv-bench/ready: requirements-bench.txt scripts/build-venv
	scripts/build-venv .venv-bench $(filter %.txt,$^)
