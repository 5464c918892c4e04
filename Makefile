# make                  build/libhshm_preload.so, libhshm.so and .a, hshm  (CC=clang works too)
# make check            every test, within minutes                        (T=page: only those matching)
# make check-unit       only the unit tests     (SAN=address|undefined|thread|address,undefined)
# make check-san        the unit tests under ASan+UBSan and under TSan
# make check-programs   the long list of real programs under the preload
# make mutants          is each test seen to fail without what it tests?  (T=page: only those matching)
# make stress           the long tests: all blocks, all processes, all threads
# make debug            build/libhshm_preload-debug.so: HSHM_CHECK=full by default, no optimisation
# make aarch64          and riscv64, musl: the library for other machines and another C library
# make deb              Debian packages in build/deb
# make demo             the main job, shown on real input
# make gpu-demo         the main job of GPU segments; on test doubles where there is no card
# make gpu-check        GPU segments on a real card                     (T=g03: only those matching)
# make bench            the first table of benchmarks; bench-quick: minutes; bench-full: all of them
# make deps             install what tests and benches need on Debian     (SET=demo|check|full)
# make install          and uninstall; PREFIX=/usr/local DESTDIR= LIBDIR=PREFIX/lib PYDIR=
# make docs             write the generated parts of the documents anew; docs-check: up to date?
# make style            clang-format, clang-tidy, cppcheck, include directions (layers)
# make format           write the sources as clang-format wants them
# make compile_commands.json | clean | help

VERSION := 0.1.0
SONAME  := libhshm_preload.so.0
API_SONAME := libhshm.so.0

PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
BINDIR  ?= $(PREFIX)/bin
INCDIR  ?= $(PREFIX)/include
MANDIR  ?= $(PREFIX)/share/man
DATADIR ?= $(PREFIX)/share
PYDIR   ?= $(if $(filter /usr,$(PREFIX)),/usr/lib/python3,$(PREFIX)/lib/$(shell /usr/bin/python3 -c \
             'import sys; print("python%d.%d" % sys.version_info[:2])'))/dist-packages
DESTDIR ?=

SET ?= check
SAN ?=
T   ?=

comma := ,
B     := build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
O     := $(B)/obj

# ---- flags ----------------------------------------------------------------------------------

CFLAGS ?= -O2 -g

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
            -Wpointer-arith

# For all code of ours.  initial-exec: a thread-local read is one instruction and never allocates.
BASE_CPPFLAGS := -I. -Iinclude -D_GNU_SOURCE -DHSHM_VERSION='"$(VERSION)"' -MMD -MP
OUR_CFLAGS    := -std=gnu11 -pthread $(WARNINGS) -fPIC -fvisibility=hidden \
                 -ftls-model=initial-exec -fno-plt
# Compilers replace malloc + memset by calloc, and drop pairs of malloc and free.  Code that is
# malloc must not be rewritten into calls of itself; a test that only calls malloc must call it.
NO_BUILTIN    := -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free
HARDEN        := -Wl,-z,defs,-z,relro,-z,now,-z,noexecstack
# initfirst: our constructor runs before those of all other libraries.
# Start-up: two mappings instead of four, the large rarely used arrays (.bss.large) behind the
# variables that every start writes, and nothing of the compiler's start files, whose optional
# symbols the loader looks for in every library in vain.  The compiler's unwinder, for HSHM_TRACE, is
# taken in: it would be one more library.
PRELOAD_LDFLAGS := -shared -static-libgcc -Wl,-soname,$(SONAME) -Wl,-z,initfirst,-z,nodelete \
                   -Wl,--version-script=preload/exports.map \
                   $(if $(SAN),,-Wl,-z,noseparate-code,--sort-section=name -nostartfiles)

ifneq ($(SAN),)
SAN_FLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
HARDEN    :=
endif
# Criterion does not run under ThreadSanitizer; a small stand-in does.
CRITERION := -lcriterion
ifeq ($(SAN),thread)
CRITERION      := $(O)/tests/unit/tsan/criterion.o
BASE_CPPFLAGS  += -Itests/unit/tsan
# Fences order only relaxed atomics of ours, in which ThreadSanitizer finds no race anyway.
SAN_FLAGS      += $(if $(findstring clang,$(CC)),,-Wno-tsan)
endif

# `hshm top` is there if ncurses is.
ifndef NCURSES
NCURSES := $(shell printf '\043include <ncurses.h>\nint main(void) { return initscr() == NULL; }\n' | \
             $(CC) -x c - -lncursesw -ltinfo -o /dev/null 2>/dev/null && echo yes)
endif
ifeq ($(NCURSES),yes)
BASE_CPPFLAGS += -DWITH_NCURSES
TOOL_LIBS     := -lncursesw -ltinfo
endif

compile = $(CC) $(BASE_CPPFLAGS) $(CPPFLAGS) $(OUR_CFLAGS) $(NO_BUILTIN) $(SAN_FLAGS) $(CFLAGS)
link    = $(CC) -pthread $(HARDEN) $(SAN_FLAGS) $(CFLAGS) $(LDFLAGS)

# ---- what is made of what ---------------------------------------------------------------------

CORE_SRC    := $(wildcard allocators/*.c config/*.c)
# GPU=no: without hooks of the GPU's driver, which there is for glibc only.
PRELOAD_SRC := $(filter-out config/options_print.c $(if $(filter no,$(GPU)),gpu_hooks/% preload/dlsym.c), $(wildcard preload/*.c gpu_hooks/*.c) $(CORE_SRC))
API_SRC     := $(wildcard api/*.c) $(filter-out config/options_print.c, $(CORE_SRC))
TOOL_SRC    := $(wildcard tool/*.c) $(CORE_SRC)
UNIT_SRC    := $(wildcard tests/unit/*.c)
PROCESS_SRC := $(wildcard tests/process/test_*.c tests/stress/test_*.c tests/gpu/test_*.c)
PROG_SRC    := $(wildcard tests/process/prog_*.c tests/stress/prog_*.c tests/gpu/prog_*.c)
# What of gpu_hooks/ needs no driver.
GPU_CORE_SRC := $(wildcard gpu_hooks/gpu_seg.c gpu_hooks/gpu_run.c gpu_hooks/gpu_block.c gpu_hooks/gpu_sweep.c)
LIB_SRC     := $(wildcard tests/process/lib_*.c)
C_SRC       := $(sort $(PRELOAD_SRC) $(API_SRC) $(TOOL_SRC) $(UNIT_SRC) $(PROCESS_SRC) $(PROG_SRC) $(LIB_SRC))

objects = $(patsubst %.c,$(O)/%.o,$(1))

PRELOAD       := $(B)/libhshm_preload.so
API           := $(B)/libhshm.so $(B)/libhshm.a
TOOL          := $(B)/hshm
UNIT_TESTS    := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))
UNIT_SUPPORT  := $(call objects,$(filter-out tests/unit/test_%,$(UNIT_SRC)))
PROCESS_TESTS := $(patsubst tests/%.c,$(B)/tests/%,$(PROCESS_SRC))
PROGS         := $(patsubst %.c,$(B)/tests/%,$(notdir $(PROG_SRC)))
LIBS          := $(patsubst %.c,$(B)/tests/%.so,$(notdir $(LIB_SRC)))
# Test doubles of GPU drivers, and programs for them that only a toolkit can build.
FAKES         := $(B)/tests/fakes/libcuda.so.1 $(B)/tests/fakes/libcudart.so.13

all: $(if $(wildcard preload/*.c),$(PRELOAD)) $(API) $(if $(wildcard tool/*.c),$(TOOL)) \
     $(if $(SAN),$(UNIT_TESTS))

$(PRELOAD): $(call objects,$(PRELOAD_SRC)) preload/exports.map
	$(link) $(PRELOAD_LDFLAGS) $(filter %.o,$^) -o $@
	@ln -sf $(@F) $(@D)/$(SONAME)

$(B)/libhshm.so: $(call objects,$(API_SRC)) api/exports.map
	$(link) -shared -Wl,-soname,$(API_SONAME) -Wl,-z,nodelete -Wl,--version-script=api/exports.map \
	  $(filter %.o,$^) -o $@
	@ln -sf $(@F) $(@D)/$(API_SONAME)

# One object in which only the interface is seen: a program may have functions of our names.
$(B)/libhshm.a: $(call objects,$(API_SRC))
	$(LD) -r $^ -o $(O)/libhshm.o
	objcopy --localize-hidden $(O)/libhshm.o
	@rm -f $@
	$(AR) rcs $@ $(O)/libhshm.o

# The variant for debugging: the same sources, built apart.
DEBUG := libhshm_preload-debug.so
debug: $(B)/$(DEBUG)
$(B)/$(DEBUG): FORCE
	@$(MAKE) --no-print-directory B=$(B)/debug SONAME=$(DEBUG).0 CFLAGS='-Og -g3' \
	  CPPFLAGS='$(CPPFLAGS) -DHSHM_DEBUG' $(B)/debug/libhshm_preload.so
	@cp $(B)/debug/libhshm_preload.so $@

# Other machines and C libraries: the library, and programs for tests/portable.
PORTABLE_PROGS := $(addprefix tests/prog_,family memory fork leaks plain)
aarch64:
	@$(MAKE) --no-print-directory B=$(B)/aarch64 CC=aarch64-linux-gnu-gcc NCURSES=no \
	  $(addprefix $(B)/aarch64/,libhshm_preload.so hshm $(PORTABLE_PROGS))
riscv64:
	@$(MAKE) --no-print-directory B=$(B)/riscv64 CC=riscv64-linux-gnu-gcc NCURSES=no \
	  $(addprefix $(B)/riscv64/,libhshm_preload.so hshm)
# musl-gcc knows no kernel headers, and musl's headers not all names that glibc's have.
musl:
	@mkdir -p $(B)/musl/kernel
	@for d in linux asm-generic; do ln -sfn /usr/include/$$d $(B)/musl/kernel/$$d; done
	@ln -sfn /usr/include/$$(gcc -print-multiarch)/asm $(B)/musl/kernel/asm
	@$(MAKE) --no-print-directory B=$(B)/musl CC=musl-gcc NCURSES=no \
	  GPU=no CPPFLAGS='-idirafter $(B)/musl/kernel -DWITHOUT_GPU' CFLAGS='-O2 -g -Wno-missing-prototypes' \
	  $(addprefix $(B)/musl/,libhshm_preload.so tests/prog_plain)

$(TOOL): $(call objects,$(TOOL_SRC))
	$(link) $(filter %.o,$^) $(TOOL_LIBS) $(LDLIBS) -o $@

$(B)/tests/unit/test_%: $(O)/tests/unit/test_%.o $(UNIT_SUPPORT) $(call objects,$(CORE_SRC)) \
                        $(filter %.o,$(CRITERION))
	@mkdir -p $(@D)
	$(link) $(filter %.o,$^) $(filter -l%,$(CRITERION)) -o $@

# Process tests run programs under the preload; nothing of ours is linked into them.
$(B)/tests/process/test_% $(B)/tests/stress/test_%: HARDEN =
$(B)/tests/process/test_%: $(O)/tests/process/test_%.o
	@mkdir -p $(@D)
	$(link) $< -lcriterion -o $@
# These are members themselves, and step through or count what the core does.
$(addprefix $(B)/tests/process/test_,every_instruction every_call): \
$(B)/tests/process/%: $(O)/tests/process/%.o $(call objects,$(CORE_SRC))
	@mkdir -p $(@D)
	$(link) $(filter %.o,$^) -lcriterion -o $@
# The same code, which says at each shared write what it is.
$(B)/tests/process/test_every_site: $(O)/sites/tests/process/test_every_site.o \
                                    $(patsubst %.c,$(O)/sites/%.o,$(CORE_SRC))
	@mkdir -p $(@D)
	$(link) $(filter %.o,$^) -lcriterion -o $@
$(B)/tests/stress/test_%: $(O)/tests/stress/test_%.o
	@mkdir -p $(@D)
	$(link) $< -lcriterion -o $@

# These use hshm.h.
$(B)/tests/prog_api $(addprefix $(B)/tests/prog_api_,backends stats storm sync workloads): \
$(B)/tests/%: $(O)/tests/process/%.o $(B)/libhshm.so
	@mkdir -p $(@D)
	$(link) $< -L$(B) -lhshm -Wl,-rpath,'$$ORIGIN/..' -o $@
$(B)/tests/gpu/test_%: HARDEN =
$(B)/tests/gpu/test_%: $(O)/tests/gpu/test_%.o
	@mkdir -p $(@D)
	$(link) $< -lcriterion -o $@
# Linked with the core of the GPU segment, whose shared writes it counts and cuts short.
$(B)/tests/gpu/test_gpu_core: $(O)/tests/gpu/test_gpu_core.o \
                              $(patsubst %.c,$(O)/cut/%.o,$(CORE_SRC) $(GPU_CORE_SRC))
	@mkdir -p $(@D)
	$(link) $(filter %.o,$^) -lcriterion -o $@
FAKE_CUDA := $(wildcard tests/fakes/fake_cuda*.c)
$(B)/tests/fakes/libcuda.so.1: $(FAKE_CUDA) $(wildcard tests/fakes/fake*.h tests/fakes/fake*.def)
	@mkdir -p $(@D)
	$(CC) -O1 -g -std=gnu11 -Wall -Wextra -Werror -D_GNU_SOURCE -I. -fPIC -fvisibility=hidden \
	  -shared -pthread -Wl,-Bsymbolic,-soname,$(@F) $(FAKE_CUDA) -o $@
$(B)/tests/fakes/libcudart.so.13: tests/fakes/fake_cudart.c tests/fakes/fake_cudart.map
	@mkdir -p $(@D)
	$(CC) -O1 -g -std=gnu11 -Wall -Wextra -Werror -D_GNU_SOURCE -I. -fPIC -shared -pthread \
	  -Wl,-soname,$(@F),--version-script=tests/fakes/fake_cudart.map $< -ldl -o $@

CXX_FLAGS = -std=c++17 -Iinclude -MMD -MP -pthread -Wall -Wextra -Wpedantic -Werror $(SAN_FLAGS)
define cxx_program
@mkdir -p $(@D)
$(1) $(CXX_FLAGS) $(CFLAGS) $< -L$(B) -lhshm -Wl,-rpath,'$$ORIGIN/..' -o $@
endef
$(addprefix $(B)/tests/prog_api_,containers hshm umpire): $(B)/tests/%: tests/process/%.cpp $(B)/libhshm.so
	$(call cxx_program,$(CXX))
# With each MPI that is there: Debian has several beside each other.
MPIS := $(foreach m,mpich openmpi,$(if $(shell command -v mpicxx.$(m)),$(m)))
$(MPIS:%=$(B)/tests/prog_api_mpi_%): $(B)/tests/prog_api_mpi_%: tests/mpi/prog_api_mpi.cpp $(B)/libhshm.so
	$(call cxx_program,mpicxx.$*) -Wno-cast-function-type
$(MPIS:%=$(B)/tests/prog_mpi_%): $(B)/tests/prog_mpi_%: tests/mpi/prog_mpi.c
	@mkdir -p $(@D)
	mpicc.$* -std=gnu11 -Wall -Wextra -Werror -Wno-stringop-overflow $(CFLAGS) $< -o $@
# C++ is the user's affair: without a compiler for it those tests are skipped.
CXX_PROGS := $(if $(shell command -v $(CXX)),$(addprefix $(B)/tests/prog_api_,containers hshm umpire) \
               $(foreach m,$(MPIS),$(B)/tests/prog_api_mpi_$(m)))
MPI_PROGS := $(foreach m,$(MPIS),$(B)/tests/prog_mpi_$(m))
-include $(CXX_PROGS:=.d)

# The programs they run know only malloc and free; prog_*_static is linked statically.
define program
$(B)/tests/$(basename $(notdir $(1))): $(call objects,$(1))
	@mkdir -p $$(@D)
	$$(link) $(if $(findstring _static.c,$(1)),-static) $$< -ldl -o $$@
endef
$(foreach p,$(filter-out tests/process/prog_api%,$(PROG_SRC)),$(eval $(call program,$(p))))
$(B)/tests/lib_%.so: $(O)/tests/process/lib_%.o
	@mkdir -p $(@D)
	$(link) -shared $< -o $@

$(O)/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(compile) -c $< -o $@

$(O)/sites/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(compile) -DHSHM_COUNT_SITES -c $< -o $@

$(O)/cut/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(compile) -DHSHM_CUT_SITES -c $< -o $@

# ---- fuzzing: tests/fuzz/fuzz_X.c with the inputs of corpus_X -----------------------------------
# replay_X runs the inputs and needs no fuzzer; fuzz_X is made where clang has libFuzzer.
FUZZ_SRC  := $(filter-out %_env.c,$(wildcard tests/fuzz/fuzz_*.c))
REPLAYS   := $(patsubst tests/fuzz/fuzz_%.c,$(B)/tests/replay_%,$(FUZZ_SRC))
FUZZER    := $(wildcard $(dir $(shell clang -print-file-name=libclang_rt.fuzzer-x86_64.a 2>/dev/null))libclang_rt.fuzzer-x86_64.a)
FUZZERS   := $(if $(FUZZER),$(patsubst tests/fuzz/fuzz_%.c,$(B)/tests/fuzz_%,$(FUZZ_SRC)))
FUZZ_TESTS = $(if $(SAN),,$(REPLAYS))
FUZZ_TIME ?= 3600
# A fault is to be reported, nobody sleeps, and an input means the same in every run.
FUZZ_WRAP := -Wl,--wrap=os_random,--wrap=os_sleep_us,--wrap=os_now_ms,--wrap=os_signals_block
# log_abort() comes back to the fuzzer.
FUZZ_LOG  := -Dabort=fuzz_abort -include tests/fuzz/fuzz_env.h
FUZZ_CC    = clang $(BASE_CPPFLAGS) -std=gnu11 -pthread -w -g -O1 -fsanitize=fuzzer-no-link,address,undefined \
             -fno-sanitize-recover=undefined

$(B)/tests/replay_%: $(O)/tests/fuzz/fuzz_%.o $(O)/tests/fuzz/replay.o $(O)/tests/fuzz/fuzz_env.o \
                     $(O)/replay/config/log.o $(filter-out %/config/log.o,$(call objects,$(CORE_SRC)))
	@mkdir -p $(@D)
	$(link) $(FUZZ_WRAP) $^ -o $@
$(O)/replay/config/log.o: config/log.c $(O)/flags
	@mkdir -p $(@D)
	$(compile) $(FUZZ_LOG) -c $< -o $@
$(B)/tests/fuzz_%: $(O)/fuzz/tests/fuzz/fuzz_%.o $(O)/fuzz/tests/fuzz/fuzz_env.o $(patsubst %.c,$(O)/fuzz/%.o,$(CORE_SRC))
	@mkdir -p $(@D)
	clang -pthread -fsanitize=fuzzer,address,undefined $(FUZZ_WRAP) $^ -o $@
$(O)/fuzz/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(FUZZ_CC) $(if $(filter config/log.c,$<),$(FUZZ_LOG)) -c $< -o $@

# New inputs are kept in build/corpus_X, what crashes in build/crashes.
fuzzers: $(FUZZERS)
fuzz: deps-full
	@$(MAKE) --no-print-directory tests fuzzers
	TEST_BIN=$(B)/tests FUZZ_TIME=$(FUZZ_TIME) tests/fuzz/test_fuzz.sh

# Everything is built anew when the compiler or its flags change.
ALL_FLAGS := $(compile) $(link) $(PRELOAD_LDFLAGS)
$(O)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(ALL_FLAGS)' | cmp -s - $@ || echo '$(ALL_FLAGS)' > $@

-include $(patsubst %.o,%.d,$(call objects,$(C_SRC))) $(patsubst %.c,$(O)/sites/%.d,$(CORE_SRC) tests/process/test_every_site.c) \
         $(patsubst %.c,$(O)/cut/%.d,$(CORE_SRC) $(GPU_CORE_SRC)) \
         $(patsubst %.c,$(O)/fuzz/%.d,$(CORE_SRC) $(FUZZ_SRC)) $(patsubst %.c,$(O)/%.d,$(wildcard tests/fuzz/*.c))

# ---- tests ------------------------------------------------------------------------------------

tests: all $(UNIT_TESTS) $(PROCESS_TESTS) $(PROGS) $(CXX_PROGS) $(MPI_PROGS) $(LIBS) $(FAKES) $(FUZZ_TESTS)

RUN := B=$(B) T='$(T)' tests/run

check: deps-check layers
	@$(MAKE) --no-print-directory tests fuzzers docs-check
	$(RUN) unit process gpu scripts programs

check-unit: deps-check
	@$(MAKE) --no-print-directory $(UNIT_TESTS)
	$(RUN) unit

check-san: deps-check
	@$(MAKE) --no-print-directory check-unit SAN=address,undefined
	@$(MAKE) --no-print-directory check-unit SAN=thread

check-programs: all deps-full
	/usr/bin/python3 tests/programs/run.py --all $(if $(T),--only '$(T)')

stress: deps-check
	@$(MAKE) --no-print-directory tests
	TEST_SCALE=100 $(RUN) process scripts stress
	/usr/bin/python3 tests/programs/selftest.py

mutants: deps-check
	/usr/bin/python3 tests/mutants/run.py $(T)

demo: deps-demo
	@$(MAKE) --no-print-directory all
	examples/demo/run

gpu-demo: all $(FAKES)
	B=$(B) examples/gpu/run

gpu-check: all $(patsubst tests/gpu/%.c,$(B)/tests/%,$(wildcard tests/gpu/prog_*.c)) $(FAKES)
	B=$(B) tests/gpu/check $(T)

# The recipes of bench, bench-quick and bench-full are in bench/Makefile.inc.
include $(wildcard bench/Makefile.inc)
bench bench-quick bench-full: all deps-full

deps:
	@tests/deps.sh $(SET)

# DEPS=no: run with what is there; tests whose program is missing are skipped.
deps-demo deps-check deps-full: deps-%:
	@[ '$(DEPS)' = no ] || tests/deps.sh $*

.SECONDARY:          # keep the objects
.PHONY: debug deb aarch64 riscv64 musl
.PHONY: gpu-demo gpu-check all tests fuzz fuzzers check check-unit check-san check-programs mutants stress demo bench bench-quick \
        bench-full deps deps-demo deps-check deps-full docs docs-check style \
        format format-check tidy cppcheck layers install uninstall clean help FORCE

# ---- style ------------------------------------------------------------------------------------

OWN_C := $(sort $(wildcard $(foreach d,config allocators gpu_hooks preload tool api include \
           include/hshm tests/unit tests/unit/tsan tests/unit/tsan/criterion tests/process tests/fuzz tests/stress \
           tests/gpu tests/fakes tests/mpi examples/interface bench,$(d)/*.[ch])))

style: layers format-check tidy cppcheck

format-check:
	clang-format --dry-run -Werror $(OWN_C)

format:
	clang-format -i $(OWN_C)

tidy: compile_commands.json
	@mkdir -p build
	printf '%s\n' $(C_SRC) | xargs -P 2 -n 4 clang-tidy --quiet -p . 2> build/tidy.err || \
	  { cat build/tidy.err; exit 1; }

cppcheck:
	cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --inline-suppr \
	  --suppressions-list=tests/cppcheck.suppress --std=c11 --platform=unix64 -D__x86_64__ -D__linux__ \
	  -D_GNU_SOURCE -I. -Iinclude -j 2 \
	  $(filter-out tests/%,$(C_SRC))

# A folder may include only the folders that config/layers lists after it.
layers:
	@bad=0; while read -r dir allowed; do [ -d "$$dir" ] || continue; \
	  grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$$dir" --include='*.[ch]' --include='*.hpp' \
	    | grep -E '"[^"]*/' | grep -vE "\"($$allowed)/" \
	    && { echo "^ $$dir may include only: $$allowed"; bad=1; }; \
	done < config/layers; exit $$bad

compile_commands.json: Makefile $(C_SRC)
	@{ printf '['; sep=; for f in $(C_SRC); do \
	  printf '%s\n{"directory":"$(CURDIR)","file":"%s","arguments":[' "$$sep" "$$f"; \
	  for a in $(compile) -c; do \
	    printf '"%s",' "$$(printf %s "$$a" | sed 's/"/\\"/g')"; done; \
	  printf '"%s"]}' "$$f"; sep=,; done; printf '\n]\n'; } > $@

# ---- documents --------------------------------------------------------------------------------

docs: all
	TOOL=$(TOOL) docs/generate.sh

docs-check: all
	@TOOL=$(TOOL) docs/generate.sh --check

# ---- install ----------------------------------------------------------------------------------

# packaging/completions: hshm.bash, _hshm (zsh), hshm.fish
MAN_PAGES := $(wildcard docs/man/*.[1-8])
PY_FILES  := $(notdir $(wildcard bindings/python/hshm/*.py))
HEADERS   := $(patsubst include/%,%,$(wildcard include/*.h include/*.hpp include/hshm/*.h include/hshm/*.hpp))
BASH_COMP := $(wildcard packaging/completions/hshm.bash)
ZSH_COMP  := $(wildcard packaging/completions/_hshm)
FISH_COMP := $(wildcard packaging/completions/hshm.fish)
D          = $(DESTDIR)

# Every file that install makes; uninstall removes exactly these.
INSTALLED := $(addprefix $(LIBDIR)/,libhshm_preload.so.$(VERSION) $(SONAME) libhshm_preload.so \
    libhshm.so.$(VERSION) $(API_SONAME) libhshm.so libhshm.a pkgconfig/hshm.pc \
    $(DEBUG).$(VERSION) $(DEBUG).0 $(DEBUG) cmake/hshm/hshmConfig.cmake cmake/hshm/hshmConfigVersion.cmake) \
  $(DATADIR)/hshm/hshm.schema.json $(addprefix $(PYDIR)/hshm/,$(PY_FILES)) \
  $(BINDIR)/hshm $(addprefix $(INCDIR)/,$(HEADERS)) \
  $(foreach m,$(MAN_PAGES),$(MANDIR)/man$(subst .,,$(suffix $(m)))/$(notdir $(m))) \
  $(if $(BASH_COMP),$(DATADIR)/bash-completion/completions/hshm) \
  $(if $(ZSH_COMP),$(DATADIR)/zsh/site-functions/_hshm) \
  $(if $(FISH_COMP),$(DATADIR)/fish/vendor_completions.d/hshm.fish)

put = install -D -m
from_cmake = $(shell realpath -ms --relative-to=$(LIBDIR)/cmake/hshm $(1))

install: all
	$(put) 755 $(PRELOAD) $(D)$(LIBDIR)/libhshm_preload.so.$(VERSION)
	ln -sf libhshm_preload.so.$(VERSION) $(D)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(D)$(LIBDIR)/libhshm_preload.so
	$(put) 755 $(B)/libhshm.so $(D)$(LIBDIR)/libhshm.so.$(VERSION)
	ln -sf libhshm.so.$(VERSION) $(D)$(LIBDIR)/$(API_SONAME)
	ln -sf $(API_SONAME) $(D)$(LIBDIR)/libhshm.so
	$(put) 644 $(B)/libhshm.a $(D)$(LIBDIR)/libhshm.a
	$(put) 755 $(TOOL) $(D)$(BINDIR)/hshm
	@if [ -f $(B)/$(DEBUG) ]; then $(put) 755 $(B)/$(DEBUG) $(D)$(LIBDIR)/$(DEBUG).$(VERSION); \
	  ln -sf $(DEBUG).$(VERSION) $(D)$(LIBDIR)/$(DEBUG).0; ln -sf $(DEBUG).0 $(D)$(LIBDIR)/$(DEBUG); fi
	$(put) 644 docs/hshm.schema.json $(D)$(DATADIR)/hshm/hshm.schema.json
	@for f in $(PY_FILES); do $(put) 644 bindings/python/hshm/$$f $(D)$(PYDIR)/hshm/$$f || exit 1; done
	@mkdir -p $(D)$(LIBDIR)/cmake/hshm
	@for f in hshmConfig hshmConfigVersion; do \
	  sed -e 's|@INCLUDE_FROM_HERE@|$(call from_cmake,$(INCDIR))|; s|@BIN_FROM_HERE@|$(call from_cmake,$(BINDIR))|' \
	    -e 's|@API_SONAME@|$(API_SONAME)|; s|@VERSION@|$(VERSION)|' \
	    packaging/cmake/$$f.cmake.in > $(D)$(LIBDIR)/cmake/hshm/$$f.cmake || exit 1; done
	@mkdir -p $(D)$(LIBDIR)/pkgconfig
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$(INCDIR)' \
	  'preload=$${libdir}/libhshm_preload.so' '' 'Name: hshm' \
	  'Description: malloc from a named shared-memory segment, for unmodified programs' \
	  'Version: $(VERSION)' 'Cflags: -I$${includedir}' \
	  'Libs: -L$${libdir} -lhshm' 'Libs.private: -pthread' > $(D)$(LIBDIR)/pkgconfig/hshm.pc
	@for h in $(HEADERS); do $(put) 644 include/$$h $(D)$(INCDIR)/$$h || exit 1; done
	@for m in $(MAN_PAGES); do $(put) 644 $$m $(D)$(MANDIR)/man$${m##*.}/$${m##*/} || exit 1; done
	$(if $(BASH_COMP),$(put) 644 $(BASH_COMP) $(D)$(DATADIR)/bash-completion/completions/hshm)
	$(if $(ZSH_COMP),$(put) 644 $(ZSH_COMP) $(D)$(DATADIR)/zsh/site-functions/_hshm)
	$(if $(FISH_COMP),$(put) 644 $(FISH_COMP) $(D)$(DATADIR)/fish/vendor_completions.d/hshm.fish)
	@$(if $(DESTDIR),:,$(refresh_loader))

uninstall:
	rm -f $(addprefix $(D),$(INSTALLED))
	@rm -rf $(D)$(PYDIR)/hshm/__pycache__
	@rmdir $(D)$(PYDIR)/hshm $(D)$(LIBDIR)/cmake/hshm $(D)$(LIBDIR)/cmake $(D)$(DATADIR)/hshm 2>/dev/null || true
	@$(if $(DESTDIR),:,$(ldconfig))

# The source of the package is what git knows, so that nothing of a build gets in.
deb:
	rm -rf build/deb
	mkdir -p build/deb/source
	git ls-files -z --recurse-submodules | xargs -0 cp --parents -t build/deb/source
	cp -r packaging/debian build/deb/source/debian
	cd build/deb/source && dpkg-buildpackage -b -us -uc > ../build.log 2>&1 || { tail -30 ../build.log; exit 1; }
	@ls build/deb/*.deb

# LD_PRELOAD=libhshm_preload.so, without a path, works where the loader knows LIBDIR.
ldconfig = PATH="$$PATH:/usr/sbin:/sbin" ldconfig 2>/dev/null || true
define refresh_loader
$(ldconfig); \
if [ "$$(LD_PRELOAD=libhshm_preload.so /bin/true 2>&1)" ]; then \
  echo "note: the loader does not search $(LIBDIR).  Either use"; \
  echo "          LD_PRELOAD=$(LIBDIR)/libhshm_preload.so"; \
  echo "      or, as root: echo $(LIBDIR) > /etc/ld.so.conf.d/hshm.conf && ldconfig"; \
fi
endef

clean:
	rm -rf build compile_commands.json

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile
