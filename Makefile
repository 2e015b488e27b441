# Every target sets up its own environment in $(VENV) first.
PYTHON ?= python3
VENV ?= .venv
LOWEST := $(VENV)-lowest
NEWEST := $(VENV)-newest
BIN := $(VENV)/bin
SEED ?= 0
STUDY ?= experiments/motion
JOBS ?= 1
# One thread a process: tests run in parallel processes.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
HOOK := --jaxtyping-packages=lightning_petl,data_modules,beartype.beartype
# An idle process takes over tests of the busy one, also in the middle of a file.
PARALLEL := -n 2 --dist worksteal
# What starts a Trainer or a process: checks of types by the way would slow it down, and compiled code has none.
RUNS := tests/artifacts tests/callbacks tests/cli tests/compiled tests/cost tests/doctor tests/experiments \
  tests/packaging tests/runs tests/slurm tests/strategies tests/tasks tests/data_modules/commands tests/data_modules/loading/test_data_module.py \
  tests/test_api.py tests/test_readme.py

# What a release of another package would break first: blocks, methods, gradients of two ranks, decoding, files.
UNITS := tests/backbones tests/adapters tests/distributed/test_sharding.py tests/laws/test_distributed.py \
  $(addprefix tests/data_modules/video/,test_decode.py test_color.py test_images.py) tests/checkpoints tests/optim \
  tests/heads tests/metrics tests/losses tests/cli/test_config_text.py tests/cli/test_shipped_configs.py \
  -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo demo-retrieval drill bench-bank bench-cache bench-data bench-memory recipes test test-lowest test-newest test-slow test-slurm study submit status cancel logs check clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 24

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,reference,check,demo,retrieval,plots]"
	@touch $@

$(LOWEST)/installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e ".[test,retrieval,plots]"
	@touch $@

# Made anew each time: what is the newest changes from day to day.
.PHONY: $(NEWEST)
$(NEWEST):
	rm -rf $@
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check -e ".[test,retrieval,plots]"

$(VENV)/bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	@touch $@

demo-retrieval: $(VENV)/installed  ## train text-video retrieval on moving shapes and draw what captions find (SEED=0)
	$(BIN)/python -m experiments.demo_retrieval.run --seed $(SEED)

demo: $(VENV)/installed  ## train Multi-TuneV and four probes of the same trunk on a motion data set (SEED=0)
	$(BIN)/python -m experiments.demo.run --seed $(SEED)

study: $(VENV)/installed  ## tune, train and test every method of a study, hours; it goes on where it was stopped (STUDY=folder, JOBS=2)
	$(BIN)/python -m experiments.study.run $(STUDY) --jobs $(JOBS)

bench-bank: $(VENV)/installed  ## time a step of a bank beside steps of runs of their own (ARGS="--quick")
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.benchmarks.bank.run $(ARGS)

bench-cache: $(VENV)/installed  ## time a step from cached features beside the same step live (ARGS="--quick")
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.benchmarks.cache.run $(ARGS)

bench-data: $(VENV)/bench  ## time the data path beside decord, torchcodec, OpenCV and PyAV (ARGS="--clips 4")
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.benchmarks.data.run $(ARGS)

bench-memory: $(VENV)/installed  ## count what each method keeps for the backward pass; half an hour (ARGS="--steps 0": minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.benchmarks.memory.run $(ARGS)

recipes: $(VENV)/installed  ## write the READMEs of the published recipes from their recipes.yaml
	$(BIN)/python -m experiments.write_readmes

drill: $(VENV)/installed  ## kill and resume a training 20 times for each of two methods, compare bit for bit (ARGS="--stops 4")
	$(BIN)/python -m experiments.drill.run --output experiments/drill/results $(ARGS)

test: $(VENV)/installed  ## run the tests that need neither root nor a GPU
	@# both calls run, whatever the first one finds
	$(PYTEST) tests $(PARALLEL) $(HOOK) $(RUNS:%=--ignore=%); first=$$?; \
	$(PYTEST) $(RUNS) $(PARALLEL) && exit $$first

test-lowest: $(LOWEST)/installed  ## run unit tests with the lowest releases that pyproject.toml allows
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest $(UNITS)

test-newest: $(NEWEST)  ## run unit tests with the newest releases that pip finds
	OMP_NUM_THREADS=1 $(NEWEST)/bin/python -m pytest $(UNITS)

test-slow: $(VENV)/installed  ## run the tests marked slow that need no cluster
	$(PYTEST) tests $(PARALLEL) -m "slow and not slurm"

test-slurm: $(VENV)/installed  ## run the tests marked slurm on a cluster that they start (root; Debian)
	$(PYTEST) tests/slurm -m slurm

check: $(VENV)/installed  ## lint, format and type-check; fail where the code is too dense
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m tests.density --fail

# A variable that is given becomes an option of lightning-petl.
comma := ,
option = $(if $($(1)),--$(2)="$($(1))")

submit: $(VENV)/installed  ## queue a training on SLURM (CONFIG=a.yaml,b.yaml NODES=2 GPUS=8 TIME=24:00:00; docs/slurm.md)
	@$(BIN)/lightning-petl submit $(foreach file,$(subst $(comma), ,$(SLURM)),--slurm="$(file)") \
	  $(foreach file,$(subst $(comma), ,$(CONFIG)),-c "$(file)") \
	  $(call option,NODES,nodes) $(call option,GPUS,gpus) $(call option,TASKS,tasks_per_node) $(call option,TIME,time) \
	  $(call option,PARTITION,partition) $(call option,NAME,name) $(call option,SEEDS,seeds) \
	  $(foreach sweep,$(SWEEP),--sweep="$(sweep)") $(call option,AFTER,after) $(call option,CHAIN,chain) \
	  $(if $(DRY_RUN),--dry-run) $(if $(ARGS),-- $(ARGS))

status: $(VENV)/installed  ## table of the submitted jobs (NAME=...)
	@$(BIN)/lightning-petl status $(NAME)

cancel: $(VENV)/installed  ## end a submitted job (JOB=17, JOB=17_0 of an array, or NAME=...)
	@$(BIN)/lightning-petl cancel $(or $(JOB),$(NAME))

logs: $(VENV)/installed  ## what a submitted job has written (JOB=17 or NAME=..., FOLLOW=1)
	@$(BIN)/lightning-petl logs $(or $(JOB),$(NAME)) $(if $(FOLLOW),--follow)

clean:  ## remove the environment and what runs wrote
	rm -rf $(VENV) $(LOWEST) $(NEWEST) runs
