# Two commands do everything on a fresh Debian 12 machine, as root: make demo, make test.
.PHONY: setup demo test lint unit lab-test campaign bench faults fuzz fuzz-setup clean
PYTHON = .venv/bin/python

setup:
	@tools/setup

demo: setup
	.venv/bin/vmferry lab demo

test: lint
	$(PYTHON) -m pytest -n 2 --dist loadfile -m "not campaign and not quiet"
	$(PYTHON) -m pytest -m "quiet and not campaign"

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

unit: setup
	$(PYTHON) -m pytest -n 2 --dist loadfile -m "not campaign and not lab"

lab-test: setup
	$(PYTHON) -m pytest -n 2 --dist loadfile -m "lab and not campaign and not quiet"
	$(PYTHON) -m pytest -m "lab and quiet and not campaign"

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
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
