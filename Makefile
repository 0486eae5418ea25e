# Everything a fresh machine needs is Python >= 3.11 and make: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT := demo
DATA := --data.panel $(OUT)/l96.nc --data.targets [x] --data.window 4 --data.horizon 160 --data.split [0.7,0.05,0.15,0.1] --data.eval_every 20 --calibration split
LEVELS := --levels 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help install demo test lint notebooks validate fuzz options clean
help:
	@echo "make demo       install, simulate, fit, forecast, score, draw (about 5 minutes)"
	@echo "make test       install and run the tests"
	@echo "make notebooks  execute the notebooks"
	@echo "make lint       ruff, mypy and the order of floors"
	@echo "make validate   the slow tests"
	@echo "make fuzz       give ten thousand edited files to each reader (more than an hour)"
	@echo "make options    write the table of fit's options anew, after an option was added"
	@echo "make clean      remove what these made"

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "stgate needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing stgate into $(VENV) (a minute or two) ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/tested: $(VENV)/installed
	@echo "installing what the tests need ..."
	@$(PIP) -e '.[test]'
	@touch $@

demo: $(VENV)/installed
	@rm -rf $(OUT) && mkdir $(OUT)
	$(BIN)/stgate simulate lorenz96 --nodes 40 --forcing 8 --duration 500 --members 4 --seed 0 --out $(OUT)/l96.nc
	$(BIN)/stgate fit --config lorenz96-gated-rnn --data.panel $(OUT)/l96.nc --out $(OUT)/gated-rnn
	$(BIN)/stgate fit --model Persistence $(DATA) --out $(OUT)/persistence
	$(BIN)/stgate fit --model Climatology $(DATA) --out $(OUT)/climatology
	$(BIN)/stgate forecast $(OUT)/l96.nc --checkpoint $(OUT)/gated-rnn/best.ckpt --levels 0.5 0.9 --out $(OUT)/forecast.nc
	@for model in gated-rnn persistence climatology; do \
	  $(BIN)/stgate backtest $(OUT)/l96.nc --checkpoint $(OUT)/$$model/best.ckpt --from 455 --every 40 $(LEVELS) --out $(OUT)/hindcast-$$model.nc || exit 1; \
	done
	@echo
	$(BIN)/stgate evaluate $(OUT)/hindcast-gated-rnn.nc $(OUT)/hindcast-persistence.nc $(OUT)/hindcast-climatology.nc --levels 0.5 0.9
	@echo
	@$(BIN)/stgate plot $(OUT)/hindcast-gated-rnn.nc --kind fan --node 20 --out $(OUT)/fan.png
	@$(BIN)/stgate plot $(OUT)/hindcast-gated-rnn.nc --kind hovmoeller --out $(OUT)/hovmoeller.png

test: $(VENV)/tested
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --durations=10

lint: $(VENV)/tested
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache

notebooks: $(VENV)/tested
	@$(BIN)/python notebooks/run.py

validate: $(VENV)/tested
	@$(BIN)/python -m pytest -m slow

fuzz: $(VENV)/tested
	@$(BIN)/python -m benchmarks run fuzz

options: $(VENV)/tested
	$(BIN)/python tests/fit_options.py

clean:
	rm -rf $(VENV) $(OUT) runs dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
