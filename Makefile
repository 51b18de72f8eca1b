# pare: one Makefile. Variants have their own build folder: make SAN=address,undefined, DEBUG=1, COVERAGE=1, STATIC=1.
PREFIX  ?= /usr/local
ARCH    := $(if $(filter x86_64 amd64,$(shell uname -m)),x86,none)
# CURL=0 leaves out what needs libcurl; a static program has none. Only its headers are needed here: it is loaded at run time
CURL    ?= $(if $(STATIC),0,1)
PKGS     = zlib libarchive libcjson libxxhash libpcre2-8 $(if $(filter 0,$(CURL)),,libcurl)
HEADERS  = htscodecs/rANS_static4x16.h
ROOMS    = base formats quant model convert verify
comma   := ,
O       := build$(if $(DEBUG),-debug)$(if $(STATIC),-static)$(if $(SAN),-$(subst $(comma),-,$(SAN)))$(if $(COVERAGE),-cov)
PARE    := $(if $(filter build,$(O)),pare,$(O)/pare)
LIBSRC  := $(wildcard $(ROOMS:%=%/*.c) quant/$(ARCH)/*.c model/forward/*.c convert/feedback/*.c)
LIBOBJ  := $(LIBSRC:%.c=$(O)/%.o)
CLIOBJ  := $(patsubst %.c,$(O)/%.o,$(wildcard cli/*.c))
TESTOBJ := $(O)/tests/tap.o $(O)/tests/samples.o $(O)/tests/patterns.o $(O)/tests/peak.o
UNITS   := $(patsubst tests/%.c,$(O)/tests/%,$(wildcard tests/t-*.c))
FUZZ    := $(patsubst tests/%.c,$(O)/tests/%,$(wildcard tests/fuzz/fuzz_*.c))
SCRIPTS := $(wildcard tests/t-*.sh)
TOOLS   := $(addprefix $(O)/tests/tools/,mkcheckpoint mkimatrix peak quantize-rows gguf-scale gguf-peers output-error coding-rate layer-state \
           pack_reader moe_layer stub_server)
FAULTS  := $(addprefix $(O)/tests/faults/,drive powercut flips $(if $(SAN),pare,inject.so))
WRAPPED  = open open64 openat openat64 read pread pread64 write pwrite pwrite64 fsync fdatasync sync_file_range ftruncate \
           ftruncate64 fallocate fallocate64 posix_fadvise posix_fadvise64 rename unlink close stat stat64 lstat lstat64 \
           fstat fstat64 flock malloc calloc realloc posix_memalign aligned_alloc strdup strndup pthread_create main
FLAGS    = -std=c11 -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Wall -Wextra -Wno-missing-field-initializers \
           -Wshadow -Wstrict-prototypes \
           -ffp-contract=off -fopenmp $(if $(filter 0,$(CURL)),-DPARE_NO_CURL) $(if $(DEBUG),-Og -g3 -Werror,-O2 -g) \
           $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all) $(if $(COVERAGE),--coverage)
CPPFLAGS += $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
SECONDS  = 60
LDLIBS  += $(shell pkg-config --libs $(filter-out libcurl,$(PKGS)) 2>/dev/null) -lhtscodecs -lm
# libarchive has one table of all formats that it writes; those that pare does not write, and that need five more libraries, are left out
OMIT     = 7zip zip xar iso9660 mtree mtree_classic warc
LDFLAGS += $(if $(STATIC),-static -L$(O) $(OMIT:%=-Wl$(comma)--defsym=archive_write_set_format_%=0))

# as many jobs as processors, unless told, or two goals would get into each other's way (clean all)
MAKEFLAGS += $(if $(word 2,$(MAKECMDGOALS)),,-j$(shell nproc 2>/dev/null || echo 2))

.PHONY: all test fuzz soak same-bytes demo interop bench deps packages install uninstall dist dist-test clean help
.DELETE_ON_ERROR:
.SECONDARY:

all: $(PARE)     ## build ./pare

$(O)/quant/x86/%_avx2.o: FLAGS += -mavx2 -mf16c -O3
$(O)/convert/feedback/%_avx2.o: FLAGS += -mavx2 -mfma -O3
$(O)/convert/feedback/%_avx512.o: FLAGS += -mavx512f -mavx512vl -mavx512dq -O3
$(O)/model/forward/%_avx2.o: FLAGS += -mavx2 -mfma -O3
$(O)/model/forward/%_avx512.o: FLAGS += -mavx512f -mavx512vl -mavx512dq -O3
$(O)/quant/x86/%_avx512.o: FLAGS += -mavx512f -mavx512bw -mavx512dq -mavx512vl -O3
$(O)/%.o: %.c Makefile | packages
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(O)/libpare.a: $(LIBOBJ)
	@rm -f $@
	$(AR) rcs $@ $^
$(O)/libcjson.a: | packages
	@mkdir -p $(@D)
	packaging/libcjson.sh $@
$(PARE): $(CLIOBJ) $(O)/libpare.a $(if $(STATIC),$(O)/libcjson.a)
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(O)/tests/t-%: $(O)/tests/t-%.o $(TESTOBJ) $(O)/libpare.a
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(O)/tests/fuzz/fuzz_%: $(O)/tests/fuzz/fuzz_%.o $(O)/tests/fuzz/fuzz.o $(O)/tests/fuzz/replay.o $(O)/tests/tap.o $(O)/libpare.a
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(O)/tests/fuzz/engine_%: $(O)/tests/fuzz/fuzz_%.o $(O)/tests/fuzz/fuzz.o $(O)/libpare.a
	$(CC) $(FLAGS) -fsanitize=fuzzer $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(O)/tests/tools/mkcheckpoint: $(O)/tests/tools/mkcheckpoint.o $(O)/tests/tools/mkcheckpoint_write.o
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lm
$(O)/tests/tools/peak $(O)/tests/tools/stub_server: %: %.o
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^
$(O)/tests/tools/quantize-rows $(O)/tests/tools/mkimatrix $(O)/tests/tools/gguf-scale $(O)/tests/tools/gguf-peers $(O)/tests/tools/output-error $(O)/tests/tools/layer-state $(O)/tests/tools/coding-rate: %: %.o $(O)/libpare.a
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(O)/tests/tools/moe_layer: $(O)/docs/examples/moe_layer.o $(O)/libpare.a
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(O)/tests/tools/pack_reader: docs/examples/pack_reader.c Makefile | packages
	@mkdir -p $(@D)
	$(CC) $(filter-out -I. -fopenmp,$(FLAGS)) $(shell pkg-config --cflags libcjson) $(CFLAGS) $(LDFLAGS) -o $@ $< $(shell pkg-config --libs libcjson) -lm
$(O)/tests/faults/inject.so: tests/faults/inject.c Makefile
	@mkdir -p $(@D)
	$(CC) $(filter-out -fopenmp --coverage,$(FLAGS)) $(CFLAGS) -fPIC -shared -fno-builtin -o $@ $<
$(O)/tests/faults/inject.o: FLAGS += -DINJECT_WRAP
$(O)/tests/faults/pare: $(CLIOBJ) $(O)/tests/faults/inject.o $(O)/libpare.a
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) $(WRAPPED:%=-Wl,--wrap=%) -o $@ $^ $(LDLIBS)
$(O)/tests/faults/%: $(O)/tests/faults/%.o $(O)/tests/tap.o
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^
-include $(LIBOBJ:.o=.d) $(CLIOBJ:.o=.d) $(UNITS:%=%.d) $(TESTOBJ:.o=.d) $(wildcard $(O)/tests/faults/*.d $(O)/tests/fuzz/*.d $(O)/tests/tools/*.d)

packages:        ## say which packages are missing, and install them
	@./packages.sh $(PKGS) $(HEADERS)

test: $(PARE) $(UNITS) $(FUZZ) $(TOOLS) $(FAULTS) deps  ## TAP tests; closes with 'N passed, N failed'
	@PARE=$(CURDIR)/$(PARE) TOOLS=$(CURDIR)/$(O)/tests/tools tests/run.sh $(UNITS) $(FUZZ) $(SCRIPTS)

fuzz:            ## search for bad inputs with clang's libFuzzer: make fuzz T=gguf [SECONDS=60]
	@test -f tests/fuzz/fuzz_$(T).c || { echo "T is one of $(notdir $(FUZZ:$(O)/tests/fuzz/fuzz_%=%))" >&2; exit 2; }
	@$(MAKE) -s CC=clang SAN=fuzzer-no-link,address,undefined O=build-fuzz build-fuzz/tests/fuzz/engine_$(T)
	@mkdir -p build-fuzz/corpus/$(T)
	build-fuzz/tests/fuzz/engine_$(T) -max_total_time=$(SECONDS) -timeout=2 -malloc_limit_mb=64 -print_final_stats=1 \
	  -artifact_prefix=build-fuzz/$(T)- $(patsubst %,-dict=%,$(wildcard tests/fuzz/$(T).dict)) \
	  build-fuzz/corpus/$(T) tests/fuzz/corpus/$(T)

soak: $(PARE) $(TOOLS) $(FAULTS)  ## every fault, kill and power cut; SAN=address,undefined also proves that nothing leaks
	@PARE=$(CURDIR)/$(PARE) TOOLS=$(CURDIR)/$(O)/tests/tools FAULTS=all VERBOSE=1 KILLS=$(or $(KILLS),200) \
	    KILL_SIZE=$(or $(KILL_SIZE),2000) FLIPS=$(or $(FLIPS),2500) tests/run.sh tests/t-faults.sh tests/t-kills.sh tests/t-powercut.sh tests/t-flips.sh

same-bytes:      ## equal bytes from two compilers, -O0 and -O3, every instruction set, number of threads and memory bound
	@tests/run.sh tests/same-bytes.sh

demo: $(PARE)    ## the main job on the checkpoint in tests/data
	@PARE=./$(PARE) docs/demo.sh

interop: $(PARE) $(TOOLS)  ## our files against real clients from PyPI
	@PARE=$(CURDIR)/$(PARE) TOOLS=$(CURDIR)/$(O)/tests/tools tests/interop/run.sh

bench: $(PARE) $(TOOLS) $(O)/tests/t-kernels $(O)/tests/t-forward $(O)/tests/t-feedback  ## ratios against what a user would run instead
	@PARE=$(CURDIR)/$(PARE) TOOLS=$(CURDIR)/$(O)/tests/tools tests/bench.sh

deps:            ## fail on an include against the direction between the rooms
	@! grep -rnE '^#include "(formats|quant|model|convert|verify|cli)/' base
	@! grep -rnE '^#include "(quant|model|convert|verify|cli)/' formats
	@! grep -rnE '^#include "(formats|model|convert|verify|cli)/' quant
	@! grep -rnE '^#include "(convert|verify|cli)/' model
	@! grep -rnE '^#include "(verify|cli)/' convert
	@! grep -rnE '^#include "(convert|cli)/' verify

NAMES    = $$(./$(PARE) --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
ROOT     = $(DESTDIR)$(PREFIX)
MAN      = $(ROOT)/share/man/man1
SHELLS   = bash:bash-completion/completions/pare zsh:zsh/site-functions/_pare fish:fish/vendor_completions.d/pare.fish

install: $(PARE) ## program, manual pages and completions to PREFIX (DESTDIR for packagers)
	install -d $(ROOT)/bin $(MAN) $(foreach s,$(SHELLS),$(dir $(ROOT)/share/$(lastword $(subst :, ,$s))))
	install -m 755 $(PARE) $(ROOT)/bin/pare
	./$(PARE) man >$(MAN)/pare.1
	set -e; for name in $(NAMES); do ./$(PARE) man $$name >$(MAN)/pare-$$name.1; done
	set -e; for to in $(SHELLS); do ./$(PARE) completion $${to%%:*} >$(ROOT)/share/$${to#*:}; done
uninstall: $(PARE)  ## remove what install put there
	rm -f $(ROOT)/bin/pare $(MAN)/pare.1 $(foreach s,$(SHELLS),$(ROOT)/share/$(lastword $(subst :, ,$s)))
	set -e; for name in $(NAMES); do rm -f $(MAN)/pare-$$name.1; done
dist:            ## a Debian package and a static program, in ./dist
	+packaging/dist.sh
dist-test: dist  ## both in clean chroots (debootstrap; needs root)
	tests/run.sh packaging/smoke.sh
clean:           ## remove everything that was built
	rm -rf build build-* dist pare
help:            ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*##/\t/' | expand -t 12
