# For developers. Users need ./demo.sh and ./test.sh alone.
JOBS ?= $(shell nproc)
CUDA_DEVICES ?= 0

.PHONY: build test bench bench-peers lint analyze format asan tsan fuzz cuda test-cuda memcheck-cuda install clean

build:            ## the binary, at build/release/bin/facet
	@cmake --preset release >/dev/null
	@cmake --build --preset release -j $(JOBS) --target facet

test:             ## the test suite on the release build
	@cmake --preset release >/dev/null
	@cmake --build --preset release -j $(JOBS)
	@ctest --preset release -j $(JOBS)

asan:             ## the whole test suite under sanitizers; ./test.sh leaves the slowest tests to the release build
	@cmake --preset asan >/dev/null
	@cmake --build --preset asan -j $(JOBS)
	@FACET_TEST_ALL=1 ctest --preset asan -j $(JOBS)

tsan:             ## the test suite, less the slowest tests, under the thread sanitizer
	@cmake --preset tsan >/dev/null
	@cmake --build --preset tsan -j $(JOBS)
	@ctest --preset tsan -j $(JOBS)

bench:            ## Google Benchmark kernels; `facet bench` measures whole models
	@cmake --preset bench >/dev/null
	@cmake --build --preset bench -j $(JOBS)
	@for b in build/bench/bin/*_bench; do $$b; done

bench-peers:      ## the same synthetic E2B in Facet and llama.cpp; compiles llama-cpp-python, needs 4 GB of disk
	@cmake --preset bench >/dev/null
	@cmake --build --preset bench -j $(JOBS) --target facet synthetic_gguf
	@test -x build/peers/bin/python || python3 -m venv build/peers
	@build/peers/bin/pip install --quiet -r tools/bench_peers.requirements.txt
	@test -e build/peers/e2b.gguf || build/bench/bin/synthetic_gguf e2b build/peers/e2b.gguf
	@build/peers/bin/python tools/bench_peers.py build/peers/e2b.gguf --facet build/bench/bin/facet

fuzz:             ## ten minutes a target: make fuzz SECONDS=600
	@tools/fuzz.sh $(or $(SECONDS),60)

cuda:             ## with the CUDA backend; needs nvcc
	@cmake --preset cuda >/dev/null
	@cmake --build --preset cuda -j $(JOBS)

test-cuda:        ## the CUDA backend's tests, on a machine with a GPU
	@cmake --preset cuda >/dev/null
	@cmake --build --preset cuda -j $(JOBS) --target cuda_test
	@CUDA_VISIBLE_DEVICES=$(CUDA_DEVICES) build/cuda/bin/cuda_test

memcheck-cuda:    ## its kernels under compute-sanitizer, half a minute on a machine with a GPU
	@cmake --preset cuda >/dev/null
	@cmake --build --preset cuda -j $(JOBS) --target cuda_test
	@CUDA_VISIBLE_DEVICES=$(CUDA_DEVICES) compute-sanitizer --tool memcheck --report-api-errors no --error-exitcode 1 \
	  build/cuda/bin/cuda_test --gtest_brief=1 \
	  --gtest_filter='CudaPrimitives.*:CudaDecode.*:CudaPrefill.*:*CudaPrefillRows*:CudaMemory.*:*CudaFlashAttention*:*.Sanitized'

lint:             ## formatting, static analysis
	@tools/lint.sh

analyze:          ## clang's path-sensitive analyzer, some minutes
	@tools/lint.sh analyze

format:
	@git ls-files '*.cc' '*.h' '*.cu' '*.cuh' | xargs clang-format-14 -i

install: build
	@cmake --install build/release

clean:
	@rm -rf build
