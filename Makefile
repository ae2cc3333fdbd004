# The two commands of a newcomer: `make demo` and `make test`. Each target stands alone: it installs the packages of the
# distribution that are missing (as root, or by sudo), builds what is out of date, and says what it does.
.PHONY: help build programs test test-slow demo clean
.DEFAULT_GOAL := build

help:
	@echo 'make demo        build, then train a language model on two instances and show it     (about 7 min, 2 once built)'
	@echo 'make test        build, then run everything that should pass                         (under 20 min)'
	@echo 'make test-slow   the slow tests, the sanitizers, the fuzzers, each half on its own   (hours on 2 cores)'
	@echo 'make build       everything: programs and tests (make programs: build/bin/athanor, -agent, -launch, -llm alone)'
	@echo 'make clean       remove build/'

build: TARGETS = all
programs: TARGETS = athanor athanor-agent athanor-launch athanor-llm
build programs:
	@tools/install-packages build
	@[ -f build/build.ninja ] || { echo 'Configuring build/'; cmake --preset release >/dev/null; }
	@echo 'Building'
	@cmake --build build --target $(TARGETS)

test: build
	@tools/install-packages test texts
	@tools/run-tests fast

test-slow: build
	@tools/install-packages test texts demo
	@tools/run-tests slow

demo:
	@tools/install-packages build demo
	@$(MAKE) --no-print-directory programs
	@tools/demo

clean:
	rm -rf build
