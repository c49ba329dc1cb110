# Two commands do everything: `make demo` (the main job on real data) and `make test`.
SHELL := /bin/bash
LOCKS := requirements
DATASET ?= movielens-100k
ORDER ?= $(if $(filter amazon-%,$(DATASET)),published)# else as the data set says
OF_DATASET = --dataset $(DATASET) $(if $(ORDER),--order $(ORDER))
PYTHON ?= $(firstword $(wildcard .venv/bin/python) python3)
TEST_WORKERS ?= 3# tests wait for servers and processes half of their time
ENVIRONMENTS = env-main env-triton env-openvino env-vllm env-spark env-milvus env-redis env-chromium env-ray-if-any
TIMED = @timed() { local s=$$SECONDS; "$${@:2}"; local c=$$?; echo "== $$1: $$((SECONDS - s)) s$$( [ $$c -eq 0 ] || echo " (failed)" )"; return $$c; }; timed

.PHONY: help env env-main env-triton env-openvino env-vllm env-spark env-milvus env-redis env-chromium env-ray env-ray-if-any env-recbole demo test lint unit bench bench-language bench-ranking bench-retrieval bench-data bench-growth bench-refresh bench-index bench-soak bench-daily bench-month gpu clean

help: ## what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

env: ## build all environments (.venv and .envs/{triton,openvino,vllm,spark,milvus,ray}), and find a Redis server
	@$(MAKE) --no-print-directory -j9 $(ENVIRONMENTS)

env-ray-if-any:
	@$(MAKE) --no-print-directory env-ray || echo "make env: no Ray here, so \`--engine ray\` is missing and its tests are skipped; \`make env-ray\` tries again" >&2

env-main: .venv/.built ## the main environment alone
env-triton: .envs/triton/.built ## the Triton server
env-openvino: .envs/openvino/.built ## fast generation on a CPU
env-vllm: .envs/vllm/.built ## vLLM, CPU build
env-spark: .envs/spark/.built ## Spark, for preparing more data than one machine holds
env-milvus: .envs/milvus/.built ## a Milvus server for tests
env-ray: .envs/ray/.built ## Ray, for `--engine ray`
env-recbole: .envs/recbole/.built ## RecBole, for bench-retrieval alone; not part of `make env`
env-redis: .envs/redis/.built ## a Redis server for tests: the system's, else unpacked from its packages
env-chromium: .envs/chromium/.built ## a headless browser for tests of the service's page, in the same way

.venv/.built: $(LOCKS)/main.lock.txt pyproject.toml
	@$(LOCKS)/build.sh main .venv

.envs/%/.built: $(LOCKS)/%.lock.txt
	@$(LOCKS)/build.sh $* .envs/$*

.envs/redis/.built .envs/chromium/.built: .envs/%/.built: $(LOCKS)/%.sh $(LOCKS)/unpacked.sh
	@$(LOCKS)/$*.sh .envs/$*

demo: ## LLM-CF on MovieLens-100K, from raw bytes to served recommendations
	$(TIMED) environments $(MAKE) --no-print-directory -j3 env-main env-triton env-openvino
	@.venv/bin/llmcf demo $(OF_DATASET)

test: ## every check: lint, types, imports, unit, contract, golden, data, integration
	$(TIMED) environments-and-lint $(MAKE) --no-print-directory -j10 $(ENVIRONMENTS) lint
	@$(MAKE) --no-print-directory unit

lint: env-main
	$(TIMED) ruff .venv/bin/ruff check .
	$(TIMED) format .venv/bin/ruff format --check .
	$(TIMED) imports .venv/bin/lint-imports --no-cache
	$(TIMED) types .venv/bin/pyright

unit: env-main
	$(TIMED) pytest .venv/bin/pytest --durations=15 --numprocesses=$(TEST_WORKERS) --dist=loadfile --no-loadscope-reorder || \
	  { [ $$? -eq 1 ] && echo "== what failed beside other tests runs once more alone; a real fault fails again" && \
	    timed again .venv/bin/pytest --last-failed --last-failed-no-failures=none --maxfail=3; }

bench: env-main env-triton env-redis ## what a release of DATASET serves: models, features, requests, the service under load, and half an hour of kills
	@.venv/bin/python -m benchmarks.one_query
	@.venv/bin/python -m benchmarks.latency --dataset $(DATASET)
	@.venv/bin/python -m benchmarks.online_features $(OF_DATASET)
	@.venv/bin/python -m benchmarks.recommend --dataset $(DATASET)
	@.venv/bin/python -m benchmarks.batching --dataset $(DATASET)
	@.venv/bin/python -m benchmarks.intake $(OF_DATASET)
	@.venv/bin/python -m benchmarks.service --dataset $(DATASET)
	@.venv/bin/python -m benchmarks.without_examples $(OF_DATASET)
	@$(MAKE) --no-print-directory bench-soak

bench-language: env-main env-openvino ## generating, scoring, embedding beside the bare libraries; 8-bit weights
	@.venv/bin/python -m benchmarks.language
	@.venv/bin/python -m benchmarks.quantisation

bench-ranking: env-main ## training a ranker beside a bare loop, LLM-CF beside its backbone, larger tables
	@.venv/bin/python -m benchmarks.ranking

bench-retrieval: env-main env-recbole ## training a retrieval model beside RecBole, LLM-CF beside its backbone; about ten minutes
	@.venv/bin/python -m benchmarks.retrieval

bench-index: env-main env-milvus ## indexes of examples on Milvus Lite and a Milvus server; about half an hour
	@.venv/bin/python -m benchmarks.index

bench-soak: env-main env-triton env-redis ## half an hour of load on the service while its parts are killed in turn
	@.venv/bin/python -m benchmarks.soak $(OF_DATASET)

bench-daily: env-main env-openvino env-triton ## a day of a small shop by the real scheduler, by hand, and through ten kills; a quarter of an hour
	@.venv/bin/python -m benchmarks.daily

bench-month: env-main ## a month of metrics by day on Beauty, at most twenty minutes; it says what must be there
	@.venv/bin/python -m benchmarks.month

gpu: ## the lane for a machine with a GPU: tests and a benchmark, by .venv or by a python3 that has torch
	@$(PYTHON) -m pytest -q -c tests/gpu/pytest.ini --rootdir=. --confcutdir=tests/gpu tests/gpu
	@$(PYTHON) -m benchmarks.gpu

bench-data: env-main ## point-in-time joins by Feast's offline stores, and preparation of one to ten times Sports
	@.venv/bin/python -m benchmarks.feast_join
	@.venv/bin/python -m benchmarks.preparation

bench-growth: env-main ## preparing, building, joining and finding examples on one to thirty times Sports; hours
	@.venv/bin/python -m benchmarks.growth

bench-refresh: env-main ## a release on the days after it: as it was, refreshed, trained anew; it says what must be there
	@.venv/bin/python -m benchmarks.refresh --before 2014-04-01 --after 2014-06-01

clean: ## remove what the product made (var, runs, releases); environments stay
	rm -rf var runs triton_models/releases triton_models/live
