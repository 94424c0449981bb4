# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
ARGS ?=

# The official rules and vectors, which may not be distributed, when they are
# there
export TRYCOTON_CONFORMANCE ?= $(realpath ../shared/conformance)

.PHONY: help demo client test lint bench soak clean

help:
	@echo "make demo   run a whole deal between several instances"
	@echo "make client install the clients to look at it with"
	@echo "make test   run all the tests"
	@echo "make lint   check the style of the sources and the documents"
	@echo "make bench  measure the performance"
	@echo "make soak   kill and mutate for hours"
	@echo "make clean  remove what these commands installed"
	@echo
	@echo 'Options are passed as in: make demo ARGS="--keep DIR"'

demo: $(VENV)/.installed
	@$(BIN)/trycoton demo $(ARGS)

client: $(VENV)/.installed
	@$(BIN)/python -m tests.browser.clients

test: $(VENV)/.test
	@$(BIN)/python -m tests $(ARGS)

lint: $(VENV)/.lint
	@$(BIN)/flake8
	@$(BIN)/isort --check-only --diff .
	@$(BIN)/yamllint --strict docker/compose.yaml
	@for file in docker/*.sh; do sh -n $$file || exit 1; done
	@for file in README.rst docker/README.rst $(wildcard doc/*.rst); do \
		$(BIN)/docutils --halt=2 $$file /dev/null || exit 1; \
	done

bench: $(VENV)/.test
	@$(BIN)/python -m tests.performance $(ARGS)

soak: $(VENV)/.test
	@TRYCOTON_SCENARIOS=$${TRYCOTON_SCENARIOS:-all} \
		$(BIN)/python -m unittest -v tests.scenarios.test_scenarios \
		tests.scenarios.test_postgresql
	@TRYCOTON_POSTGRESQL=$${TRYCOTON_POSTGRESQL:-all} \
		$(BIN)/python -m unittest -v tests.test_postgresql
	@TRYCOTON_FAULTS=$${TRYCOTON_FAULTS:-30} \
		$(BIN)/python -m unittest -v tests.faults.test_faults
	@TRYCOTON_KILLS=$${TRYCOTON_KILLS:-25} \
		$(BIN)/python -m unittest -v tests.faults.test_log
	@TRYCOTON_SOAK=1 \
		$(BIN)/python -m unittest -v trycoton.protocol.tests.test_events
	@TRYCOTON_FUZZ=$${TRYCOTON_FUZZ:-1800} \
		$(BIN)/python -m unittest -v \
		tests.partner.test_openapi.RoutesTestCase
	@cd modules && \
		TRYCOTON_MUTATIONS=$${TRYCOTON_MUTATIONS:-10000} \
		../$(BIN)/python -m unittest -v cooperative_edi.tests.test_mutations
	@TRYCOTON_STACK=1 \
		$(BIN)/python -m unittest -v tests.docker.test_stack

clean:
	rm -rf $(VENV) build

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed: make PYTHON=..."; exit 1; }
	@echo "making the virtual environment $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
		echo "on Debian: apt install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml
	@echo "installing TryCoTon and what it needs"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: $(VENV)/.installed
	@echo "installing what the tests need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-e '.[test]'
	@touch $@

$(VENV)/.lint: $(VENV)/.created pyproject.toml
	@echo "installing what the style checks need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		'docutils >= 0.20' 'flake8 >= 7' 'isort >= 5.13' \
		'yamllint >= 1.35'
	@touch $@
