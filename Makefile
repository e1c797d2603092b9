# Two commands: `make figures` and `make test`.  Each sets up .venv by itself, once.
# On a fresh machine they need Python 3.11 or newer, make, and a package index that pip can reach.

PROFILE ?= default
WORKERS ?= 2
PY      := .venv/bin/python -P
READY   := .venv/.ready
TREE    := .mypy_cache/tree
ROOMS   := solvers kernels theory_tests figures
export MPLBACKEND = Agg
# Bytecode is kept: the tests start a hundred Pythons, a third of whose start it is to compile.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.PHONY: figures test check slow mutants portable bench test-triton gpu models lint types clean

figures: $(READY)
	@$(PY) -m dsf.figures --profile $(PROFILE)

test: $(READY) lint types
	$(PY) -m pytest -n $(WORKERS) -q

# Under a minute: what to run before every commit.  Exit code 5 of pytest means "nothing collected".
check: $(READY) lint types
	$(PY) -m pytest -m smoke -q || [ $$? -eq 5 ]

slow: $(READY)
	$(PY) -m pytest -m slow -q

# Whether the tests notice a wrong line: hours, for after a change of the tests.
mutants: $(READY)
	$(PY) tests/mutations/run.py

# The suite as on other machines: narrow vectors, other draws, a load beside; about 20 minutes.
portable: $(READY)
	$(PY) tests/portable.py --jobs $(WORKERS)

# The Triton kernels on a CPU: under the interpreter, and compiled for two GPUs.  triton takes 1 GB.
test-triton: $(READY)
	.venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[gpu]'
	$(PY) -m pytest -q -m "slow or not slow" tests/kernels/test_triton.py

# The kernels beside their peers, one thread: about a quarter of an hour on a quiet machine.
bench: $(READY)
	@.venv/bin/python benchmarks/kernels.py

# Small trained models, about 145 MB, into DSF_MODELS; the libraries that read them take 200 MB.
models: $(READY)
	.venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[models]'
	$(PY) -m dsf.tools.cli models --fetch

# The Triton kernels on the GPU of this machine, with its own Python; installs nothing.
gpu:
	@python3 benchmarks/gpu.py

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

# The rooms under their import names, as links, because mypy does not read the package mapping.
types: $(READY)
	@mkdir -p $(TREE)/dsf && find $(TREE)/dsf -xtype l -delete
	@ln -sfn $(addprefix $(CURDIR)/,$(wildcard dsf/*) $(ROOMS)) $(TREE)/dsf/
	cd $(TREE) && $(CURDIR)/$(PY) -m mypy --config-file $(CURDIR)/pyproject.toml \
	    --cache-dir $(CURDIR)/.mypy_cache -p dsf

# torch comes first: it is the largest wheel and decides which numpy fits.
$(READY): pyproject.toml constraints.txt
	@for python in python3 python3.11 python3.12 python3.13; do \
	    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	    python=; \
	done; \
	[ -n "$$python" ] || { echo "make: Python 3.11 or newer is needed and was not found." >&2; exit 1; }; \
	[ -x .venv/bin/python ] || $$python -m venv .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt torch==2.13.0
	.venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev,interop]'
	@touch $@

clean:
	rm -rf figures/build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
