# `make` alone is `make check`: what is run before each commit; no root. As root on a fresh Debian 12: make demo, make test.
.PHONY: check check-3.13 check-3.14 setup setup-check demo test lint unit unit-all lab-test format campaign bench faults fuzz fuzz-setup clean
PYTHON = .venv/bin/python
UNIT = not lab and not campaign
PARALLEL = -n 2 --dist loadfile
# Tests start many Python programs. Without .pyc files each of them would compile all of its modules again.
unexport PYTHONDONTWRITEBYTECODE

check: setup-check lint unit

setup:
	@tools/setup

setup-check:
	@tools/setup check

demo: setup
	.venv/bin/vmferry lab demo

test: setup lint unit-all lab-test

lint: setup-check
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: setup-check
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# Four at a time also on two cores: a good part of what these tests take is waiting.
unit: setup-check
	$(PYTHON) -m pytest -q -n 4 --dist loadfile -m "$(UNIT) and not slow and not quiet"

# All unit tests, with their coverage; below the floor in pyproject.toml it fails.
unit-all: setup-check
	$(PYTHON) -m pytest $(PARALLEL) -m "$(UNIT) and not quiet" --cov --cov-report=term:skip-covered

# The unit tests of make check on newer Pythons, those of Debian 13 and of the release after it. Root.
check-3.13:
	tools/check-python trixie

check-3.14:
	tools/check-python forky

lab-test: setup
	$(PYTHON) -m pytest $(PARALLEL) -m "lab and not campaign and not quiet"
	$(PYTHON) -m pytest -m "quiet and not campaign"

fuzz-setup: setup
	$(PYTHON) -m pip install -q -c tools/constraints.txt --group fuzz

fuzz: fuzz-setup
	$(PYTHON) -m tests.fuzz.run $(if $(SECONDS),--seconds $(SECONDS))

campaign: setup
	-$(MAKE) fuzz-setup  # where atheris has no wheel, its tests are skipped
	$(PYTHON) -m pytest -m campaign --timeout 3600

faults: setup
	$(PYTHON) -m tests.faults.campaign $(FAULTS)
	$(PYTHON) -m tests.faults.campaign --write

bench: setup
	$(PYTHON) benchmarks/migrate.py

clean:
	-.venv/bin/vmferry lab down
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
