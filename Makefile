# Two commands for a newcomer: `make demo` and `make test`. Both need only Python >= 3.11, make and a package index.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
TESTS  ?=
# A file's tests run on one worker, so that what they share is made once.
# One thread each for what computes. Three share two cores: one of them mostly waits for a server or a browser.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder

# The tests start hundreds of processes: none is to compile langrec anew, whatever the caller prefers.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test fast check format bench soak browser clean

# One environment for everything; it is made anew only when the pins or the project's own needs change.
$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lm,openvino]'
	touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lm,openvino,tune,wandb,mlflow,scale,index,fast,milvus,postgres,remote,client,otel,test,check]'
	touch $@

demo: $(VENV)/.ready          ## install, fetch MovieLens-100K, train, measure, serve (ARGS=--no-serve ends after the table)
	$(BIN)/langrec demo $(ARGS)

test: $(VENV)/.ready-test     ## all tests (TESTS=... narrows them)
	$(PYTEST) $(TESTS)

fast: $(VENV)/.ready-test     ## the tests that take under a minute together
	$(PYTEST) -m 'not slow and not browser' $(TESTS)

check: $(VENV)/.ready-test    ## format, lint, types, docs in step
	$(BIN)/ruff format --check src tests benches deploy
	$(BIN)/ruff check src tests benches deploy
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_docs.py tests/test_layers.py

format: $(VENV)/.ready-test   ## apply the formatter and the safe lint fixes
	$(BIN)/ruff format src tests benches deploy
	$(BIN)/ruff check --fix src tests benches deploy

bench: $(VENV)/.ready-test    ## every bench but those of `make soak`; results go to benches/results/
	for bench in benches/bench_*.py; do \
	  case $$bench in *_faults.py|*_soak.py) ;; *) $(BIN)/python $$bench || exit 1;; esac; done

soak: $(VENV)/.ready-test     ## faults and load over a long time; figures go to benches/results/soak_*.json
	for bench in benches/bench_*_faults.py benches/bench_faults.py benches/bench_soak.py; do \
	  if [ -e $$bench ]; then $(BIN)/python $$bench || exit 1; fi; done

browser:                      ## Debian's Chromium for the console's tests, where the user is root
	@if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then echo "chromium is here"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq chromium chromium-driver; \
	else echo "chromium is absent and you are not root: the browser tests will be skipped"; fi

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
