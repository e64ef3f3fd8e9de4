# Every target that needs the environment .venv builds it first, and again when the pins change.
python := .venv/bin/python

.PHONY: setup train test coverage fuzz bench results gpu-compile-test lint docker bundle

setup: .venv/ready

train: setup
	$(python) experiments/mnist_pixelvae.py train --preset quick --data auto --out runs/quick

test: setup
	$(python) -m pytest

coverage: setup
	$(python) -m pytest --cov
	scripts/check-coverage

fuzz: setup
	$(python) tests/fuzzing.py

bench: setup .venv-bench/ready
	$(python) -m benchmarks

results: setup
	$(python) experiments/results.py

gpu-compile-test: setup
	scripts/fetch-gpu-tools
	$(python) -m pytest -m gpu_compile

lint: setup
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

docker:
	docker build --tag pixelvae .

bundle: setup
	$(python) scripts/make-bundle

.venv/ready: requirements.txt requirements-dev.txt
	scripts/build-venv .venv $^

.venv-bench/ready: requirements-bench.txt
	scripts/build-venv .venv-bench $^
