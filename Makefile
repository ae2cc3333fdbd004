# The two commands of a newcomer: `make demo` and `make test`. Each target stands alone: it installs the packages of the
# distribution that are missing (as root, or by sudo), builds what is out of date, and says what it does.
.PHONY: help build test test-slow demo clean
.DEFAULT_GOAL := build

help:
	@echo 'make demo        build, then train a language model on two instances and show it     (about 7 min, 2 once built)'
	@echo 'make test        build, then run everything that should pass                         (under 20 min)'
	@echo 'make test-slow   the slow tests, the sanitizers, the fuzzers, each half on its own   (hours on 2 cores)'
	@echo 'make build       build/bin/athanor, athanor-agent, athanor-llm'
	@echo 'make clean       remove build/'

build:
	@tools/install-packages build
	@[ -f build/build.ninja ] || { echo 'Configuring build/'; cmake --preset release >/dev/null; }
	@echo 'Building'
	@cmake --build build

test: build
	@tools/install-packages test
	@tools/run-tests fast

test-slow: build
	@tools/install-packages test demo
	@tools/run-tests slow

demo: build
	@tools/install-packages demo
	@tools/demo

clean:
	rm -rf build
