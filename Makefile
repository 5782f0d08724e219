# Sluice. `make help` lists the targets; scripts/ and tests/run.py hold what is longer than a line.

VERSION := $(or $(shell sed -n 's/.*SLUICE_VERSION "\(.*\)".*/\1/p' runtime/include/sluice.h 2>/dev/null),0)
PREFIX  ?= /usr/local
DESTDIR ?=
PYTHON  ?= python3
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += --no-print-directory -j$(JOBS)
endif

# SAN=1: address and undefined-behaviour sanitizers, in a tree of their own. SAN=fuzzer: libFuzzer too (clang).
SAN ?=
BUILD := build
OPT   := -O2
ifeq ($(SAN),1)
BUILD := build-asan
endif
ifeq ($(SAN),fuzzer)
BUILD   := build-fuzz
SANFLAG := -fsanitize=fuzzer-no-link
endif
ifneq ($(SAN),)
OPT     := -O1
SANFLAG += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
# gcc has false alarms between the checks that sanitizers insert
SANFLAG += $(if $(findstring clang,$(CC)),,-Wno-maybe-uninitialized)
endif
OBJ := $(BUILD)/obj

CFLAGS   ?= -g
CPPFLAGS ?=
ALL_CFLAGS = -std=gnu17 -Wall -Wextra -Werror -fPIC -pthread $(OPT) $(CFLAGS) $(SANFLAG)
# _GNU_SOURCE is empty, as in a source that defines it itself.
ALL_CPPFLAGS = -D_GNU_SOURCE= -I. -Iruntime/include $(CPPFLAGS) $(INCLUDE_VULKAN) -MMD -MP
LIBS := -luring -lpcre2-8 -ljansson -lpthread -lm -ldl

# V=1 shows the commands.
show = $(if $(V),,@printf '  %-3s %s\n' $(1) $@ && )

# Newer tools and headers beside the system, where `make deps` unpacked them.
GLSLANG := $(or $(wildcard third_party/bin/glslang),$(shell command -v glslang || command -v glslangValidator))
NEWER_INCLUDE := $(wildcard third_party/newer/usr/include)

find = $(sort $(shell find $(wildcard $(1)) -name '$(2)' 2>/dev/null))
LIB_SRC      := $(if $(wildcard hal),$(call find,hal io shaders runtime,*.c))
TOOL_SRC     := $(sort $(wildcard tools/*.c))
EXAMPLE_SRC  := $(sort $(wildcard tools/examples/*.c))
SUPPORT_SRC  := $(sort $(wildcard tests/support/*.c))
TEST_SRC     := $(if $(wildcard tests),$(filter-out tests/support/%,$(call find,tests,test_*.c)))
FUZZ_SRC     := $(sort $(wildcard tests/fuzz/fuzz_*.c))
BENCH_SRC    := $(sort $(wildcard tests/bench/*.c))
SHADER_FILES := $(foreach type,comp glsl h def,$(if $(wildcard shaders),$(call find,shaders,*.$(type))))

objects = $(patsubst %.c,$(OBJ)/%.o,$(1))
LIB_OBJ     := $(call objects,$(LIB_SRC)) $(OBJ)/gen/spirv_table.o $(OBJ)/gen/spirv_data.o
SUPPORT_OBJ := $(call objects,$(SUPPORT_SRC))
EXAMPLES    := $(patsubst tools/examples/%.c,$(BUILD)/examples/%,$(EXAMPLE_SRC))
TESTS       := $(patsubst %.c,$(BUILD)/%,$(TEST_SRC))
REPLAYS     := $(patsubst %.c,$(BUILD)/%,$(FUZZ_SRC))
BENCHES     := $(patsubst %.c,$(BUILD)/%,$(BENCH_SRC))
SLUICE      := $(if $(TOOL_SRC),$(BUILD)/sluice)
SHARED      := $(BUILD)/libsluice.so

.SUFFIXES:
.SECONDEXPANSION:
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all help deps deps-test model demo tests test lint fuzz format install clean FORCE

all: $(SLUICE) $(BUILD)/libsluice.a $(SHARED) $(EXAMPLES) ## build the command, the libraries and the examples

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo; echo "  CC=clang, SAN=1 (sanitizers, into build-asan), V=1 (show commands), JOBS=N"

deps: ## install what building and running needs (Debian, Ubuntu)
	@scripts/deps.sh build

deps-test: ## install what the tests need as well
	@scripts/deps.sh build test

model: ## fetch the default model into the user's cache
	@$(PYTHON) scripts/fetch_model.py

demo: ## set everything up and let a real model write (SLUICE_MODEL=FILE: another model)
	@scripts/deps.sh build
	@$(MAKE) all
	@PYTHON="$(PYTHON)" scripts/demo.sh

tests: $(TESTS) $(REPLAYS) $(BENCHES) all ## build the test programs

test: ## set up, build and run every test
	@scripts/deps.sh build test
	@$(MAKE) tests
	@$(MAKE) tests SAN=1
	@$(PYTHON) tests/run.py

lint: ## check format, static analysis, the rule of includes
	@MAKE="$(MAKE)" scripts/lint.sh

format: ## format every C file
	@git ls-files '*.c' '*.h' | xargs clang-format -i

fuzz: ## run each fuzz target for FUZZ_SECONDS (60), with clang and libFuzzer
	@$(MAKE) SAN=fuzzer CC=clang $(patsubst tests/fuzz/%.c,build-fuzz/%,$(FUZZ_SRC))
	@scripts/fuzz.sh $(or $(FUZZ_SECONDS),60) $(patsubst tests/fuzz/%.c,build-fuzz/%,$(FUZZ_SRC))

# Kernels in C are loops that the compiler should vectorize; they keep the semantics of IEEE arithmetic otherwise.
ifeq ($(SAN),)
$(call objects,$(wildcard shaders/*/*.c)): OPT = -O3 -fno-math-errno -fno-trapping-math
endif
$(OBJ)/hal/vulkan/%.o $(OBJ)/tests/%.o: INCLUDE_VULKAN = $(NEWER_INCLUDE:%=-isystem %)

# Objects are built again when the compiler or its flags change.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo "$(CC) $(ALL_CFLAGS) $(CPPFLAGS) $(NEWER_INCLUDE)" | cmp -s - $@ || \
		echo "$(CC) $(ALL_CFLAGS) $(CPPFLAGS) $(NEWER_INCLUDE)" >$@

$(OBJ)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call show,CC)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<

# The shaders are the same for every tree.
build/gen/spirv.stamp: $(SHADER_FILES) scripts/build_shaders.py $(wildcard $(GLSLANG))
	@mkdir -p $(@D)
	@$(if $(GLSLANG),,echo "there is no glslang here: make deps" >&2; exit 1)
	@$(PYTHON) scripts/build_shaders.py --cc "$(CC)" --glslang $(GLSLANG) --out build
	@touch $@
build/gen/spirv_table.c build/gen/spirv_table.S: build/gen/spirv.stamp ;
$(OBJ)/gen/spirv_table.o: build/gen/spirv_table.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call show,CC)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<
$(OBJ)/gen/spirv_data.o: build/gen/spirv_table.S $(BUILD)/flags
	@mkdir -p $(@D)
	$(call show,AS)$(CC) -c -o $@ $<

# The kernels that the conformance suite brings along.
build/gen/test_shaders.h: $(sort $(wildcard tests/conformance/shaders/*)) scripts/build_shaders.py $(wildcard $(GLSLANG))
	@$(if $(GLSLANG),,echo "there is no glslang here: make deps" >&2; exit 1)
	@$(PYTHON) scripts/build_shaders.py --cc "$(CC)" --glslang $(GLSLANG) --shader-dir tests/conformance/shaders \
		--list suite.list --out build/test --header $@
	@touch $@
ifneq ($(wildcard tests/conformance/shaders/suite.list),)
$(OBJ)/tests/conformance/suite_kernels.o: build/gen/test_shaders.h
endif

$(BUILD)/libsluice.a: $(LIB_OBJ)
	@rm -f $@
	$(call show,AR)$(AR) rcs $@ $^

# The shared library exports what the public header declares, and nothing else.
$(BUILD)/sluice.map: runtime/include/sluice.h hal/base/status.h
	@mkdir -p $(@D)
	@{ echo '{ global:'; sed -n 's/.*\b\(sl_[a-z_]*\)(.*/\1;/p' $^ | sort -u; echo 'local: *; };'; } >$@
$(SHARED): $(LIB_OBJ) $(BUILD)/sluice.map
	$(call show,LD)$(CC) -shared -Wl,-soname,libsluice.so.0 -Wl,--version-script=$(BUILD)/sluice.map \
		$(SANFLAG) $(LDFLAGS) -o $@ $(LIB_OBJ) $(LIBS)

link = $(call show,LD)mkdir -p $(@D) && $(CC) -pthread $(SANFLAG) $(LDFLAGS) -o $@ $(filter %.o %.a,$^)
$(BUILD)/sluice: $(call objects,$(TOOL_SRC)) $(BUILD)/libsluice.a
	$(link) $(LIBS)
$(BUILD)/examples/%: $(OBJ)/tools/examples/%.o $(BUILD)/libsluice.a
	$(link) $(LIBS)
# Of tests/support a program takes what it calls.
$(BUILD)/libsupport.a: $(SUPPORT_OBJ)
	@rm -f $@
	$(call show,AR)$(AR) rcs $@ $^
$(BUILD)/tests/fuzz/fuzz_%: $(OBJ)/tests/fuzz/fuzz_%.o $(OBJ)/tests/fuzz/replay_main.o $(BUILD)/libsupport.a $(BUILD)/libsluice.a
	$(link) $(LIBS)
$(BENCHES): $(BUILD)/tests/bench/%: $(OBJ)/tests/bench/%.o $(BUILD)/libsluice.a
	$(link) $(LIBS)
# A test program: its own file, the files of its folder that are no programs, and tests/support.
beside = $(call objects,$(filter-out $(TEST_SRC) $(FUZZ_SRC),$(wildcard $(1)/*.c)))
$(BUILD)/tests/%: $(OBJ)/tests/%.o $$(call beside,$$(subst $(BUILD)/,,$$(@D))) $(BUILD)/libsupport.a $(BUILD)/libsluice.a
	$(link) -lcmocka $(LIBS)
# Compiles what the kernels' test cases use, so it has their generators.
$(BUILD)/tests/portability/test_portability: $(call objects,$(wildcard tests/kernels/gen_*.c) \
	tests/kernels/kernel_case.c tests/kernels/kernel_run.c)
build-fuzz/fuzz_%: $(OBJ)/tests/fuzz/fuzz_%.o $(BUILD)/libsupport.a $(BUILD)/libsluice.a
	$(link) -fsanitize=fuzzer $(LIBS)

install: all ## install into PREFIX (/usr/local), below DESTDIR
	@BUILD=$(BUILD) VERSION=$(VERSION) PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" scripts/install.sh

clean: ## remove what was built
	rm -rf build build-asan build-clang build-fuzz

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)
