# SPDX-License-Identifier: Apache-2.0
# sluice: the whole build. `make help` lists the targets.
#
#   make                          build/sluice with gcc
#   make CC=clang                 build-clang/sluice
#   make SAN=address,undefined    build-address-undefined/sluice (or SAN=thread)
#   make COVER=1                  build-cover/sluice, which counts the lines it runs
#   make CFLAGS='-O0 -g3'         your own optimisation and debug flags
#   make LTO=                     not optimised as a whole: links in a second, for quick turns
#   make PROFILE=                 optimised without the profile of bench/profile

MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2) --no-print-directory
ifeq ($(origin CC),default)
CC        := gcc
endif
SAN       ?=
COVER     ?=
FUZZ      ?=
PREFIX    ?= /usr/local
DESTDIR   ?=

# ------------------------------------------------------------------ flags
comma     := ,
IS_CLANG  := $(findstring clang,$(notdir $(CC)))
IS_OLD_CLANG := $(if $(IS_CLANG),$(filter 11 12 13 14 15,$(firstword $(subst ., ,$(shell $(CC) -dumpversion)))))
IS_X86    := $(filter x86_64,$(shell uname -m))
CFLAGS    ?= $(if $(SAN)$(FUZZ),-O1,$(if $(COVER),-O0,-O2)) -g
WARN      := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
             -Wcast-qual -Wwrite-strings -Wformat=2 -Wundef -Wvla -Wswitch-enum \
             -Wimplicit-fallthrough -Werror
# clang sees casts inside OpenSSL's macros too; gcc's eye on casts is enough.
WARN      += $(if $(IS_CLANG),-Wno-cast-qual)
# gcc tells of errors it only imagines once a sanitizer has rewritten the code.
WARN      += $(if $(SAN),$(if $(IS_CLANG),,-Wno-maybe-uninitialized -Wno-stringop-overflow \
             -Wno-stringop-truncation -Wno-format-truncation -Wno-restrict))
HARDEN    := -fstack-clash-protection -fstack-protector-strong -fPIE -fno-delete-null-pointer-checks \
             -fno-strict-overflow -fno-strict-aliasing -ftrivial-auto-var-init=zero \
             $(if $(IS_OLD_CLANG),-enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang) \
             $(if $(IS_X86),-fcf-protection=full,-mbranch-protection=standard)
HARDEN    := $(if $(SAN)$(FUZZ),-fPIE -fno-strict-aliasing,$(HARDEN))
FORTIFY   := -U_FORTIFY_SOURCE $(if $(SAN)$(FUZZ)$(COVER),,-D_FORTIFY_SOURCE=3)
SANITIZE  := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer) \
             $(if $(COVER),--coverage -fprofile-update=atomic)
LIBRARIES := openssl libcares sqlite3 jansson libfyaml zlib hiredis libpcre2-8 cjose libnghttp2
FLAGS      = -std=c11 -D_GNU_SOURCE -I. -MMD -MP $(WARN) $(HARDEN) $(FORTIFY) $(SANITIZE) \
             $(WHOLE) $(LIBRARY_FLAGS)
# The program is optimised as a whole, its tests are not: each would take half a minute to link.
# `make LTO=` for quick turns. What is copied or cleared is small here: no string instruction for it,
# which begins more slowly than all of it takes.
LTO       ?= $(if $(SAN)$(FUZZ)$(COVER)$(IS_CLANG),,1)
WHOLE     := $(if $(LTO),-flto=auto -ffat-lto-objects)
APART     := $(if $(LTO),-fno-lto)
# How often each branch is taken by usual calls, recorded by `make profile`; of use to the same
# version of the compiler only. Functions that have changed since do without. PROFILE=record counts.
# A profile unrolls loops; most of ours end in their first turn, which then is behind a row of jumps.
# What gcc imagines to be uninitialized where it has inlined more, builds without a profile tell.
PROFILE   ?= $(if $(LTO),$(wildcard bench/profile/gcc-$(firstword $(subst ., ,$(shell $(CC) -dumpversion))).tar.gz))
PROFILED  := $(if $(filter-out record,$(PROFILE)),$(shell cksum <$(PROFILE)))
COUNTED   := $(if $(PROFILED),-fprofile-use -fno-unroll-loops -fprofile-partial-training -fprofile-correction \
             -Wno-coverage-mismatch -Wno-missing-profile -Wno-maybe-uninitialized)
WHOLE     += $(if $(filter record,$(PROFILE)),-fprofile-generate -fprofile-update=prefer-atomic -w)
HARDEN    += $(if $(IS_X86),$(if $(SAN)$(FUZZ)$(COVER)$(IS_CLANG),,-mmemset-strategy=unrolled_loop:192:noalign$(comma)vector_loop:1024:noalign$(comma)libcall:-1:noalign \
             -mmemcpy-strategy=unrolled_loop:64:noalign$(comma)libcall:-1:noalign))
LINK      := -pie -Wl,-z,nodlopen,-z,noexecstack,-z,relro,-z,now,--as-needed
LIBRARY_FLAGS := $(shell pkg-config --cflags $(LIBRARIES) 2>/dev/null)
# The loader looks for each name in the libraries in this order: first those that most are found in.
LIBRARY_LINKS := $(shell pkg-config --libs-only-L $(LIBRARIES) 2>/dev/null) -lcrypto -lsqlite3 -lc \
                 $(shell pkg-config --libs $(LIBRARIES) 2>/dev/null) -lpthread -lm

OUT       := build$(if $(FUZZ),-fuzz,$(if $(COVER),-cover)$(if $(SAN),-$(subst $(comma),-,$(SAN)))$(if $(IS_CLANG),-clang))

# ------------------------------------------------------------------ what is built
# Every .c and .S below these folders is the program; main.c alone stays out of the tests.
SOURCES   := $(shell find gateway providers policy routing deploy -name '*.[cS]')
PARTS      = $(patsubst %,$(OUT)/%.o,$(basename $(filter-out gateway/cli/main.c,$(SOURCES))))
TESTS     := $(patsubst %.c,$(OUT)/%,$(shell find tests/unit -name '*_test.c' 2>/dev/null))
DRIVERS   := $(OUT)/tests/launch/driver $(OUT)/tests/redis/driver $(OUT)/tests/store/driver $(OUT)/tests/translate/driver
FAKES     := $(OUT)/tests/fakellm $(OUT)/tests/lora
FUZZERS   := $(patsubst %.c,build-fuzz/%,$(wildcard tests/fuzz/*_fuzz.c))

all: $(OUT)/sluice
units: $(TESTS) $(DRIVERS) $(FAKES)
fakes: $(FAKES)
loads: $(OUT)/bench/load $(OUT)/bench/canned

$(OUT)/sluice: $(OUT)/gateway/cli/main.o $(OUT)/parts.a
	@echo "link  $@"; $(CC) $(CFLAGS) $(FLAGS) $(COUNTED) $(LINK) $^ -o $@ $(LIBRARY_LINKS)

# An archive, so that a test links what it uses and nothing else.
$(OUT)/parts.a: $(PARTS)
	@rm -f $@; ar rcs $@ $^

$(OUT)/tests/unit/%_test: $(OUT)/tests/unit/%_test.o $(OUT)/parts.a
	@echo "link  $@"; $(CC) $(CFLAGS) $(FLAGS) $(APART) $(LINK) $^ -o $@ $(LIBRARY_LINKS) -lcmocka

$(OUT)/tests/%/driver: $(OUT)/tests/%/driver.o $(OUT)/parts.a
	@echo "link  $@"; $(CC) $(CFLAGS) $(FLAGS) $(APART) $(LINK) $^ -o $@ $(LIBRARY_LINKS)

# A model server of the tests: static, so that it runs in an empty container; no sanitizer can be.
$(OUT)/tests/fakellm: tests/models/fakellm.c
	@mkdir -p $(@D); echo "link  $@"; $(CC) -std=c11 -D_GNU_SOURCE -O1 -g $(WARN) -static $< -o $@ -lpthread

# Trains a small model for the tests: arithmetic, which is slow without -O3.
$(OUT)/tests/lora: tests/models/lora.c
	@mkdir -p $(@D); echo "link  $@"; $(CC) -std=c11 -D_GNU_SOURCE -O3 -g $(WARN) $< -o $@ -lm

# What `make bench` loads with, and a model server that only it knows.
$(OUT)/bench/%: bench/load/%.c
	@mkdir -p $(@D); echo "link  $@"; $(CC) -std=c11 -D_GNU_SOURCE -O2 -g $(WARN) $< -o $@ -lm

$(OUT)/%.o: %.c $(OUT)/flags
	@mkdir -p $(@D); echo "cc    $<"; $(CC) $(CFLAGS) $(FLAGS) $$([ -e $(@:.o=.gcda) ] && echo '$(COUNTED)') -c $< -o $@

# Other flags or another profile than last time: everything anew. The compiler looks for what was
# counted beside the object.
FLAGS_NOW  = $(CC) $(CFLAGS) $(FLAGS) $(COUNTED) $(PROFILED)
$(OUT)/flags: always
	@mkdir -p $(@D); echo '$(FLAGS_NOW)' | cmp -s - $@ || { find $(OUT) -name '*.gcda' -delete; \
	    $(if $(PROFILED),tar xzf $(PROFILE) -C $(OUT) &&) echo '$(FLAGS_NOW)' > $@; }

# .S files carry data into the program (.incbin), which -MMD does not see.
$(OUT)/%.o: %.S $(OUT)/flags $(wildcard gateway/*.json providers/*.json web/dist/* web/dist/assets/* policy/scripts/*)
	@mkdir -p $(@D); echo "as    $<"; $(CC) $(CFLAGS) $(FLAGS) -c $< -o $@

# libFuzzer is clang's; `make FUZZ=1 CC=clang` is what `make fuzz` and `make test` call.
# NULL + 0 is an empty slice: well defined since C2y, and no compiler makes anything else of it.
FUZZ_FLAGS := -fno-sanitize=pointer-overflow -fno-sanitize-recover=all -fno-omit-frame-pointer
ifneq ($(FUZZ),)
SANITIZE  += -fsanitize=fuzzer-no-link,address,undefined $(FUZZ_FLAGS)
endif
fuzzers: $(FUZZERS)
build-fuzz/tests/fuzz/%_fuzz: build-fuzz/tests/fuzz/%_fuzz.o build-fuzz/parts.a
	@echo "link  $@"; $(CC) $(CFLAGS) -fsanitize=fuzzer,address,undefined $(FUZZ_FLAGS) $^ -o $@ $(LIBRARY_LINKS)

# ------------------------------------------------------------------ what is done with it
run: ## install what is missing, build, start with a real model on 127.0.0.1:8080 (PORT= MODEL=none DETACH=1)
	@deploy/quickstart/run

stop: ## stop what `make run DETACH=1` left running
	@deploy/quickstart/run --stop

test: ## install what the tests need and run every suite (SUITE="unit flow" picks)
	@deploy/quickstart/packages install build test && python3 tests/suites.py $(SUITE)

check: ## format, layers, words, clang-tidy, cppcheck, shellcheck
	@deploy/quickstart/packages install check && tests/check/run $(CHECK)

format: ## let clang-format lay out every C file
	@git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format -i

fuzz: ## fuzz for long: make fuzz TARGET=head MINUTES=60; resumes, adds the hours to tests/fuzz/HOURS
	@$(MAKE) FUZZ=1 CC=clang fuzzers && tests/fuzz/run.sh "$(TARGET)" "$(MINUTES)"

cover: ## line coverage by file of the unit and flow tests
	@deploy/quickstart/packages install build test && python3 tests/check/cover.py

bench: ## compare with nginx and haproxy on this machine (BENCH="--scenario chat,paced --rounds 5")
	@deploy/quickstart/packages install build bench && $(MAKE) all loads && python3 bench/run.py $(BENCH)

bench-growth: ## does a call cost more when there is more of everything? (BENCH="--only keys,idle --plots bench/plots")
	@deploy/quickstart/packages install build bench && $(MAKE) all loads && python3 bench/growth.py $(BENCH)

bench-soak: ## does anything grow under an hour of mixed load? (MINUTES=60 BENCH="--rate 70 --plots bench/plots")
	@deploy/quickstart/packages install build bench && $(MAKE) all && python3 bench/soak.py --minutes $(or $(MINUTES),60) $(BENCH)

guard: ## count a call's instructions, compare with the record (ROW= picks, UPDATE=1 records)
	@deploy/quickstart/packages install build guard && $(MAKE) all && \
	    python3 bench/guard/run.py $(if $(ROW),--row "$(ROW)") $(if $(UPDATE),--update)

profile: ## count anew what usual calls do, which `make` optimises from (bench/README.md); then make guard UPDATE=1
	@deploy/quickstart/packages install build bench && python3 bench/profile/record.py

top: ## the largest files, longest functions, most complex functions
	@deploy/quickstart/packages install top; tests/check/top.sh

docs: $(OUT)/sluice $(OUT)/tests/unit/policy/estimate_recorded_test ## write docs/CONFIG.md anew from the option tables, docs/ESTIMATES.md from recorded calls
	@$(OUT)/sluice help config > docs/CONFIG.md.new && mv docs/CONFIG.md.new docs/CONFIG.md
	@WRITE_ESTIMATES=1 $(OUT)/tests/unit/policy/estimate_recorded_test > /dev/null
	@echo "wrote docs/CONFIG.md docs/ESTIMATES.md"

web: ## build the dashboard (web/dist, which is committed) anew from its sources; needs Node and npm
	@deploy/quickstart/packages install web && cd web && npm ci --no-audit --no-fund && npm run build
	@echo "wrote web/dist gateway/dashboard_files.S gateway/dashboard_files.h"

install: $(OUT)/sluice ## below PREFIX=/usr/local, in DESTDIR=
	install -v -D -m 755 $(OUT)/sluice $(DESTDIR)$(PREFIX)/bin/sluice
	install -v -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system $(wildcard deploy/systemd/*.service deploy/systemd/*.socket)
	install -v -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
	    $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d $(DESTDIR)$(PREFIX)/share/doc/sluice
	$(OUT)/sluice completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/sluice
	$(OUT)/sluice completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_sluice
	$(OUT)/sluice completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/sluice.fish
	$(OUT)/sluice init > $(DESTDIR)$(PREFIX)/share/doc/sluice/sluice.example.yaml

clean: ## remove what was built; the private Python environments stay in .venv
	rm -rf build build-*

help: ## this list
	@sed -n '4,10s/^# *//p' Makefile; echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{ printf "%-15s %s\n", $$1, $$2 }'

# ------------------------------------------------------------------ is everything there?
# One line that says what to install, before the compiler drowns it. `run`, `test`, `cover`, `bench`
# and `guard` install it themselves.
BUILDING  := $(if $(MAKECMDGOALS),$(filter-out run stop test check format fuzz cover bench bench-growth bench-soak guard profile top web clean help,$(MAKECMDGOALS)),all)
ifneq ($(BUILDING),)
MISSING   := $(shell deploy/quickstart/packages missing build $(if $(filter tests/% units docs,$(subst $(OUT)/,,$(BUILDING))),test-build))
ifneq ($(MISSING),)
$(error missing packages, install them with: apt-get install $(MISSING))
endif
endif

.PHONY: always all units fakes loads fuzzers run stop test check format fuzz cover bench bench-growth bench-soak guard profile top docs web install clean help
.SECONDARY:
.DELETE_ON_ERROR:
-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
