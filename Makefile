# make            build build/sluice              make help     what else there is
# make SAN=address,undefined …                    the same under a sanitizer (or SAN=thread)

CC       ?= gcc
CFLAGS   ?= -O2 -g
SAN      ?=
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wcast-qual -Wwrite-strings -Wformat=2 -Wundef -Wvla -Wswitch-enum -Wimplicit-fallthrough -Werror
HARDEN   := -fstack-clash-protection -fstack-protector-strong -fPIE -fno-delete-null-pointer-checks \
            -fno-strict-overflow -fno-strict-aliasing
PACKAGES := openssl libcares sqlite3 jansson libfyaml zlib
comma    := ,
FLAGS     = -std=c11 -D_GNU_SOURCE -I. -MMD -MP $(WARN) $(HARDEN) $(shell pkg-config --cflags $(PACKAGES)) \
            $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
LIBS      = $(shell pkg-config --libs $(PACKAGES)) -lpthread
LINK     := -pie -Wl,-z,noexecstack,-z,relro,-z,now,--as-needed
OUT      := build$(if $(SAN),-$(subst $(comma),-,$(SAN)))$(if $(filter clang,$(CC)),-clang)

# Every .c below these folders is the program; main.c alone stays out of the tests.
SOURCES  := $(shell find gateway providers policy routing deploy -name '*.[cS]')
TESTS    := $(shell find tests/unit -name '*_test.c')
PARTS     = $(patsubst %,$(OUT)/%.o,$(basename $(filter-out gateway/main.c,$(SOURCES))))

all: $(OUT)/sluice

$(OUT)/sluice: $(OUT)/gateway/main.o $(PARTS)
	@echo "link  $@"; $(CC) $(CFLAGS) $(FLAGS) $(LINK) $^ -o $@ $(LIBS)

# One program per unit test, linked with all parts.
$(OUT)/tests/unit/%_test: $(OUT)/tests/unit/%_test.o $(PARTS)
	@echo "link  $@"; $(CC) $(CFLAGS) $(FLAGS) $(LINK) $^ -o $@ $(LIBS) -lcmocka

$(OUT)/%.o: %.c
	@mkdir -p $(@D); echo "cc    $<"; $(CC) $(CFLAGS) $(FLAGS) -c $< -o $@

$(OUT)/%.o: %.S
	@mkdir -p $(@D); echo "as    $<"; $(CC) $(CFLAGS) $(FLAGS) -c $< -o $@

.PHONY: all
.SECONDARY:
-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
