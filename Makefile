# The two commands: `make demo` and `make test`. Each installs what is missing, builds, and runs.
.PHONY: build test test-slow demo clean

BUILD ?= build

build:
	@tools/install-packages build
	@cmake -G Ninja -S . -B $(BUILD) >/dev/null
	@cmake --build $(BUILD)

test: build
	@tools/install-packages test
	@cd $(BUILD) && ctest --output-on-failure -j 2

clean:
	rm -rf build
