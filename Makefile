# One command each. `make demo` and `make test` do all the set-up they need; PYTHON=... picks another Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test test-containers check bench setup stack .venv
.DEFAULT_GOAL := help

help:
	@echo "make demo    one real conversation with the tools on, one with them off"
	@echo "make test    static checks, and all tests but most of those on Docker"
	@echo "make check   static checks alone: import rules and layout, ruff, mypy, open-persona validate"
	@echo "make test-containers  the rest of them: the stack, mishaps, restarts, crowds; as root, half an hour"
	@echo "make bench   the benchmarks, one after the other"
	@echo "make stack   the whole stack in containers (docker compose), for a team; as root or user 1000"
	@echo "make setup   the environment, opencode and ripgrep, and nothing else"

# Costs 0.2 s when nothing changed: a stamp inside .venv says what is installed.
.venv:
	@$(PYTHON) -m open_persona.bootstrap

setup: .venv
	@$(BIN)/open-persona setup

demo: setup
	@$(BIN)/open-persona demo

check: .venv
	@$(BIN)/python -m pytest --no-header tests/test_imports.py tests/test_layout.py
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/open-persona validate

# Both at once: the checks use one processor, and the first tests mostly fetch.
test: setup
	@$(MAKE) --no-print-directory check & check=$$!; \
	$(BIN)/python -m pytest -m "not containers" -n 2; tests=$$?; \
	wait $$check || { echo "The static checks failed: see above, or run 'make check'." >&2; exit 1; }; \
	exit $$tests

test-containers: setup
	@$(BIN)/python -m pytest -m containers

bench: setup
	@set -e; for file in tests/bench/*.py; do case $$file in */__init__.py) ;; *) echo "== $$file"; PYTHONPATH=. $(BIN)/python $$file ;; esac; done

stack:
	@deploy/first-run
	@docker compose up -d --wait
