.PHONY: check test
check:
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	python -m pytest -n 2

test:
	python -m pytest -n 2
