.PHONY: check test
check:
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	python -m pytest

test:
	python -m pytest
