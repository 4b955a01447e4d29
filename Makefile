# SPDX-License-Identifier: BSD-2-Clause
# make help lists the targets.
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
CC = gcc
CLANG ?= clang
BPFTOOL ?= bpftool
VERSION := 0.1.0

PACKAGES := libbpf libevent_core libevent_extra yaml-0.1 openssl libnghttp2 ldns jansson \
	libseccomp libcap-ng libpcre2-8 libidn2
WARNINGS := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wpointer-arith \
	-Wwrite-strings -Wundef -Wvla -Werror
HARDENING := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection \
	-D_FORTIFY_SOURCE=2
OPTIMISE ?= -O2 -g
SANITIZE ?=
ifneq ($(SANITIZE),)
HARDENING := -fPIE
OPTIMISE := -O1 -g -fno-omit-frame-pointer
endif

# llhttp: as a library where pkg-config knows it, else the C sources of Debian's node-llhttp.
ifeq ($(shell pkg-config --exists libllhttp 2>/dev/null && echo yes),yes)
PACKAGES += libllhttp
else
LLHTTP_SOURCES := /usr/share/llhttp/api.c /usr/share/llhttp/http.c /usr/share/llhttp/llhttp.c
LLHTTP_CFLAGS := -I/usr/share/include/llhttp -DLLHTTP_STRICT_MODE=1
LLHTTP_OBJECTS := $(LLHTTP_SOURCES:/usr/share/llhttp/%.c=$(BUILD)/llhttp/%.o)
endif

CPPFLAGS_ALL := -D_GNU_SOURCE -DEGRESS_VERSION='"$(VERSION)"' -I$(BUILD) -Iuser -Ibpf \
	$(LLHTTP_CFLAGS) $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null) $(CPPFLAGS)
CFLAGS_ALL := -std=gnu11 $(OPTIMISE) $(WARNINGS) $(HARDENING) $(SANITIZE) $(CFLAGS)
LDFLAGS_ALL := -pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--as-needed $(SANITIZE) $(LDFLAGS)
LIBS := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null)

SOURCES := $(wildcard user/*.c)
OBJECTS := $(SOURCES:user/%.c=$(BUILD)/%.o)
UNIT_TESTS := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
KERNEL_TESTS := $(patsubst tests/kernel/%.c,%,$(wildcard tests/kernel/test_*.c))

all: $(BUILD)/egress-bpf

$(BUILD)/egress-bpf: $(OBJECTS) $(LLHTTP_OBJECTS)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(BUILD)/%.o: user/%.c Makefile | $(BUILD)
	$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# Not our code: its warnings are not ours to fix.
$(BUILD)/llhttp/%.o: /usr/share/llhttp/%.c Makefile | $(BUILD)/llhttp
	$(CC) $(LLHTTP_CFLAGS) -std=gnu11 $(OPTIMISE) $(HARDENING) $(SANITIZE) -w -c -o $@ $<

$(BUILD)/egress.bpf.o: $(wildcard bpf/*.c bpf/*.h) Makefile | $(BUILD)
	$(CLANG) -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -Ibpf \
		-I/usr/include/$(shell uname -m)-linux-gnu -c -o $@ bpf/egress.bpf.c
	llvm-strip -g $@

$(BUILD)/egress.skel.h: $(BUILD)/egress.bpf.o
	$(BPFTOOL) gen skeleton $< name egress > $@.tmp && mv $@.tmp $@

$(BUILD)/kernel.o: $(BUILD)/egress.skel.h

# A unit test links only the modules named for it, so that a new dependency shows here.
include tests/unit/links.mk
$(BUILD)/tests/%.o: tests/unit/%.c Makefile | $(BUILD)/tests
	$(CC) $(CPPFLAGS_ALL) -Itests/unit $(CFLAGS_ALL) -MMD -MP -c -o $@ $<
$(BUILD)/tests/%.o: tests/kernel/%.c Makefile | $(BUILD)/tests
	$(CC) $(CPPFLAGS_ALL) -Itests/kernel $(CFLAGS_ALL) -MMD -MP -c -o $@ $<
.SECONDEXPANSION:
$(BUILD)/tests/test_%: $(BUILD)/tests/test_%.o $$(addprefix $(BUILD)/,$$(addsuffix .o,$$(links_test_%))) $$(if $$(filter http1 llhttp,$$(links_test_%)),$$(LLHTTP_OBJECTS))
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) -lcmocka

$(BUILD) $(BUILD)/tests $(BUILD)/llhttp:
	mkdir -p $@

check: $(addprefix $(BUILD)/tests/,$(UNIT_TESTS))
	tools/run-tests unit $^

check-kernel: $(addprefix $(BUILD)/tests/,$(KERNEL_TESTS))
	tools/run-tests kernel $^

clean:
	rm -rf $(BUILD)

-include $(wildcard $(BUILD)/*.d $(BUILD)/tests/*.d)
.PHONY: all check check-kernel clean
.DELETE_ON_ERROR:
