# One short target per chore; CI calls the same ones.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup develop export demo watch serve test faults faults-long scale check format perf bench \
  corpus fuzz audit docs pin clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

setup: $(VENV)/.ready ## the virtual environment with what exports, serves and measures, each version pinned

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 12) else \
	  f"Livewarden needs Python 3.11 or 3.12 (its Triton wheel needs numpy<2); {sys.executable} is \
	  {v[0]}.{v[1]}. Name another one: make $(MAKECMDGOALS) PYTHON=python3.12")'
	@echo '==> environment: 2.5 GB on disk; with the CUDA packages of the torch on PyPI, several more'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25'
	@$(BIN)/python -m pip install --quiet --progress-bar on -c constraints.txt -e '.[demo]'
	@touch $@

develop: $(VENV)/.developed ## what tests, checks and documentation need, into the same environment

$(VENV)/.developed: $(VENV)/.ready
	@echo '==> environment: what tests and checks need, 1 GB more'
	@$(BIN)/python -m pip install --quiet --progress-bar on -c constraints.txt -e '.[dev]'
	@touch $@

export: setup ## export the reference models and put them live in model_repository/
	@$(BIN)/livewarden export

demo: export ## a real video clip through the real server, and its verdict
	@$(BIN)/python examples/demo.py

watch: export ## a recorded stream whose chat turns into a scam, and the report about it
	@$(BIN)/python examples/watch/video.py examples/watch/stream.mp4
	@$(BIN)/livewarden watch examples/watch/stream.mp4 --chat examples/watch/chat.jsonl \
	  --srt examples/watch/speech.srt --compare-policy examples/watch/patient.yaml \
	  --report examples/watch/report.html

serve: export ## keep the server up on 127.0.0.1:8001 until Ctrl-C
	@$(BIN)/livewarden serve

test: develop export ## the whole suite, with a real Triton server
	@$(BIN)/python -m pytest -m 'not faults'

faults: develop export ## the scorecard's short form, into docs/reliability.md; some 6 minutes
	@LIVEWARDEN_FAULTS_REPORT=docs/reliability.md $(BIN)/python -m pytest -m faults tests/faults

faults-long: develop export ## the scorecard's long form: about 4 hours
	@LIVEWARDEN_FAULTS=long LIVEWARDEN_FAULTS_REPORT=docs/reliability.md \
	  $(BIN)/python -m pytest -m faults --timeout 9000 tests/faults

scale: develop export ## two replicas on machines of their own (network namespaces: needs root), and what goes wrong there
	@$(BIN)/python -m pytest -s tests/scale

check: develop ## lint, types, and generated files that must be up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/livewarden export --check-configs
	$(BIN)/python -m livewarden_ensemble.schema --check
	$(BIN)/python scripts/unasync.py --check
	$(BIN)/python scripts/chart.py --check
	$(BIN)/python scripts/metric_table.py --check
	$(BIN)/python scripts/dashboard.py --check
	@$(MAKE) --no-print-directory docs

format: develop ## let ruff lay out and mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

perf: export ## perf_analyzer against the model `moderation`, beside the machine's limit
	@$(BIN)/livewarden perf smoke

bench: export ## the standard set of measurements in ten minutes, into reports/
	@$(BIN)/livewarden perf bench --output reports

corpus: setup ## every hostile image and text through decoder and tokeniser: states, time, memory
	@$(BIN)/python tests/corpus/measure.py

audit: setup ## ask OSV about every pinned dependency; writes sbom.cdx.json
	@$(BIN)/python scripts/audit.py

FUZZ_SECONDS ?= 60
fuzz: develop ## fuzz each parser of callers' bytes for FUZZ_SECONDS (60); what breaks is kept
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[fuzz]'
	@$(BIN)/python tests/fuzz/fuzz.py --seconds $(FUZZ_SECONDS)

docs: develop ## the documentation site, into site/; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

pin: develop ## write the versions of this environment into constraints.txt
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[backfill,fuzz]'
	@sed -n '/^#/p' constraints.txt > constraints.new
	@$(BIN)/python -m pip list --format=freeze | grep -vE '^(livewarden|pip|setuptools)=' \
	  | sed 's/+cpu$$//' >> constraints.new
	@mv constraints.new constraints.txt

clean: ## remove the environment and everything that was exported
	rm -rf $(VENV) site bundles model_repository/moderation/live.json
	rm -rf model_repository/*_encoder/[0-9]* model_repository/fusion_classifier/[0-9]*
