# A thin front to CMake. Each target first names and installs missing packages of Debian (scripts/install-deps); DEPS=no
# names them and stops. `make` alone shows the list of targets.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export DEPS ?= yes
PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc)
# Most of a test of the kernel is waiting.
TESTS ?= $(shell expr 2 \* $(JOBS))

# Compile through ccache if installed.
ifneq ($(shell command -v ccache 2>/dev/null || true),)
export CMAKE_C_COMPILER_LAUNCHER ?= ccache
export CMAKE_CXX_COMPILER_LAUNCHER ?= ccache
endif

deps := @scripts/install-deps
configure = cmake --log-level=WARNING --preset
build = cmake --build --parallel $(JOBS) --preset

.PHONY: help build demo test fuzz walk soak bench lint docs format install clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-9s  %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo 'Missing packages are installed from Debian first. make DEPS=no TARGET names them and stops.'

build: ## Build the library, the command and the examples: build/release/bin/tunport
	$(deps) build
	$(configure) release
	$(build) release

demo: ## Let the kernel's ping be answered by our process, in a private namespace
	$(deps) build demo
	$(configure) release
	$(build) release --target bin/tunport
	build/release/bin/tunport host tap:tp0 --interface-address 10.77.0.1/24 --host-address 10.77.0.2 --sandbox \
	  -- ping -c 5 -i 0.2 10.77.0.2

test: ## Build and run all tests (debug build)
	$(deps) build test
	$(configure) dev
	$(build) dev
	ctest --preset dev --parallel $(TESTS)

extra_clang := bench lint
extra_asan-ubsan := lint
extra_fuzz := fuzz
test-%: ## Build and run the tests in another way: asan-ubsan, tsan, fuzz, clang (optimised, shared libraries)
	$(deps) build test $(extra_$*)
	$(configure) $*
	$(build) $*
	ctest --preset $* --parallel $(TESTS)

SECONDS ?= 60
fuzz: ## Hunt for faults, SECONDS=60 for each fuzzer; TARGET=name: by a single fuzzer
	$(deps) build test fuzz
	$(configure) fuzz
	$(build) fuzz
	scripts/fuzz build/fuzz $(SECONDS) $(TARGET)

walk: ## Let each system call of the command fail once (strace), and look for what is left behind
	$(deps) build test
	$(configure) dev
	$(build) dev --target bin/tunport
	scripts/walk build/dev/bin/tunport

MINUTES ?= 10
soak: ## Let ports carry traffic for MINUTES=10, through flaps, deletions and restarts; one line of figures
	$(deps) build test
	$(configure) release -DTUNPORT_BUILD_TESTS=ON
	$(build) release --target tunport_soak
	scripts/soak build/release/bin/tunport_soak $$(($(MINUTES) * 60))

bench: ## Build and run the benchmarks: a table, and build/bench/results.json, results.md
	$(deps) build bench
	$(configure) release -DTUNPORT_BUILD_BENCH=ON
	$(build) release --target bin/tunport tunport_bench tunport_micro_bench
	@mkdir -p build/bench
	build/release/bin/tunport_micro_bench --benchmark_out=build/bench/micro.json --benchmark_out_format=json
	build/release/bin/tunport_bench --out build/bench/results.json
	scripts/bench-chart build/bench/results.json >build/bench/results.md

lint: ## Check format (clang-format), code (clang-tidy) and the reference (doxygen)
	$(deps) build test bench lint docs
	$(configure) clang
	scripts/lint build/clang $(JOBS)
	scripts/docs

docs: ## Make the reference of the installed headers: build/docs/html/index.html
	$(deps) docs
	scripts/docs

format: ## Format all sources
	$(deps) lint
	scripts/format

install: build ## Install below PREFIX (/usr/local), staged in DESTDIR if given
	DESTDIR='$(DESTDIR)' cmake --install build/release --prefix '$(PREFIX)'

clean: ## Remove everything built
	rm -rf build

deps-%: ## Install the packages of a set only: build, demo, test, bench, lint, docs, fuzz
	$(deps) $*
