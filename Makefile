# SPDX-License-Identifier: BSD-2-Clause
# make help lists the targets.
.DEFAULT_GOAL := all
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
# make's own default is cc; what the environment or the command line names is taken.
ifeq ($(origin CC),default)
CC := gcc
endif
PKG_CONFIG ?= pkg-config
CLANG ?= clang
BPFTOOL ?= bpftool
VERSION := 0.1.0

# libcurl's header alone: the library is loaded when an engine is spoken to (user/engine.h).
PACKAGES := libbpf libevent_core libevent_extra yaml-0.1 openssl libnghttp2 ldns jansson \
	libseccomp libcap-ng libpcre2-8 libidn2 libpsl
WARNINGS := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wpointer-arith \
	-Wwrite-strings -Wundef -Wvla -Werror
# What the compiler for this machine knows: control-flow protection is for x86.
accepted = $(shell $(CC) $(1) -Werror -c -x c -o /dev/null /dev/null 2>/dev/null && echo $(1))
# A distribution's own level of it stays.
FORTIFY := $(if $(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS)),,-D_FORTIFY_SOURCE=2)
HARDENING := -fPIE -fstack-protector-strong $(FORTIFY) \
	$(call accepted,-fstack-clash-protection) $(call accepted,-fcf-protection)
# Nothing unwinds a stack but debuggers, which have .debug_frame: a twelfth of the binary less.
# Functions of libraries' sources that nobody calls are left out.
OPTIMISE ?= -O2 -g -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections
SANITIZE ?=
ifneq ($(SANITIZE),)
HARDENING := -fPIE
# A report tells functions and lines: the rest of -g is a sixth of the compiler's time.
OPTIMISE := -O1 -g1 -fno-omit-frame-pointer
endif

# llhttp: as a library where pkg-config knows it, else the C sources of Debian's node-llhttp.
ifeq ($(shell $(PKG_CONFIG) --exists libllhttp 2>/dev/null && echo yes),yes)
PACKAGES += libllhttp
else
LLHTTP_SOURCES := /usr/share/llhttp/api.c /usr/share/llhttp/http.c /usr/share/llhttp/llhttp.c
LLHTTP_CFLAGS := -I/usr/share/include/llhttp -DLLHTTP_STRICT_MODE=1
LLHTTP_OBJECTS := $(LLHTTP_SOURCES:/usr/share/llhttp/%.c=$(BUILD)/llhttp/%.o)
endif

CPPFLAGS_ALL := -D_GNU_SOURCE -DEGRESS_VERSION='"$(VERSION)"' -I$(BUILD) -Iuser -Ibpf \
	$(LLHTTP_CFLAGS) $(shell $(PKG_CONFIG) --cflags $(PACKAGES) libcurl 2>/dev/null) $(CPPFLAGS)
CFLAGS_ALL := -std=gnu11 $(OPTIMISE) $(WARNINGS) $(HARDENING) $(SANITIZE) $(CFLAGS)
LDFLAGS_ALL := -pie -Wl,--gc-sections -Wl,-z,pack-relative-relocs -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--as-needed $(SANITIZE) $(LDFLAGS)
LIBS := $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null)

# V=1 shows the commands.
Q = $(if $(V),,@)
say = $(if $(V),,@echo "  $(1)	$@")

SOURCES := $(wildcard user/*.c)
OBJECTS := $(SOURCES:user/%.c=$(BUILD)/%.o)
UNIT_TESTS := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
KERNEL_TESTS := $(patsubst tests/kernel/%.c,%,$(wildcard tests/kernel/test_*.c))
# Both are built in one directory.
$(foreach name,$(filter $(UNIT_TESTS),$(KERNEL_TESTS)),$(error tests/unit and tests/kernel both have $(name).c))

all: $(BUILD)/egress-bpf ## build the program: build/egress-bpf

# Without the packages the compiler's complaints would be long and say less.
ifneq ($(shell $(PKG_CONFIG) --exists $(PACKAGES) libcurl 2>/dev/null && echo yes),yes)
needs-packages:
	@echo "egress-bpf: packages are missing; run tools/bootstrap build (it asks for root)" >&2; exit 1
$(OBJECTS) $(LLHTTP_OBJECTS): | needs-packages
endif

$(BUILD)/egress-bpf: $(OBJECTS) $(LLHTTP_OBJECTS)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(BUILD)/%.o: user/%.c Makefile | $(BUILD)
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# The commit is one of the facts of `--version`.
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
$(BUILD)/version.o: CPPFLAGS_ALL += -DEGRESS_COMMIT='"$(COMMIT)"'
$(BUILD)/version.o: $(BUILD)/commit
$(BUILD)/commit: ALWAYS | $(BUILD)
	$(Q)echo '$(COMMIT)' | cmp -s - $@ || echo '$(COMMIT)' >$@

# The data path is made fast; all else, which runs once or waits for others, small.
HOT := access_log address arena bytes connection% client_hello dns_% feed h2% http1% http2 identify ledger% \
	listener policy policy_decide policy_hint policy_host policy_override policy_path policy_table refusal rpc \
	server sockets stream stream_tls tls_provider_% tunnel upstream% verdicts
$(patsubst %,$(BUILD)/%.o,$(filter-out $(HOT),$(SOURCES:user/%.c=%))): CFLAGS_ALL += -Os

# Not our code: its warnings are not ours to fix.
$(BUILD)/llhttp/%.o: /usr/share/llhttp/%.c Makefile | $(BUILD)/llhttp
	$(call say,CC)
	$(Q)$(CC) $(LLHTTP_CFLAGS) $(CPPFLAGS) -std=gnu11 $(OPTIMISE) $(HARDENING) $(SANITIZE) $(CFLAGS) -w -c -o $@ $<

$(BUILD)/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) Makefile | $(BUILD)
	$(call say,BPF)
	$(Q)$(CLANG) -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -Ibpf \
		-I/usr/include/$(shell uname -m)-linux-gnu -c -o $@ $<
	$(Q)llvm-strip -g $@
	$(call forget_lines,$@)

# Which line of the source an instruction comes from is half of an object, the kernel checks it at each
# load, and nobody is shown it. What stays says which functions are global: those are verified once and
# not at each call. Objects with CO-RE relocations are left as they are. struct btf_ext_header has
# line_info_len at octet 20; the linker then leaves out what nothing refers to.
forget_lines = $(if $(findstring wall,$1),,$(Q)llvm-objcopy --dump-section .BTF.ext=$1.ext $1 && \
	printf '\0\0\0\0' | dd of=$1.ext bs=1 seek=20 conv=notrunc status=none && \
	llvm-objcopy -w -N 'LBB*' -R .rel.BTF.ext --update-section .BTF.ext=$1.ext $1 $1.raw && \
	$(BPFTOOL) gen object $1 $1.raw && rm $1.ext $1.raw)

# clang-tidy cannot see that the library frees the skeleton which could not be made.
$(BUILD)/%.skel.h: $(BUILD)/%.bpf.o
	$(Q)$(BPFTOOL) gen skeleton $< name $* > $@.raw
	$(Q)sed 's|^	return err;$$|& /* NOLINT */|' $@.raw > $@.tmp && rm $@.raw && mv $@.tmp $@

$(filter $(BUILD)/kernel%.o,$(OBJECTS)): $(BUILD)/egress.skel.h $(BUILD)/wire.skel.h \
	$(BUILD)/unix_wall.skel.h $(BUILD)/root_wall.skel.h \
	$(BUILD)/unix_doors.skel.h
.PRECIOUS: $(BUILD)/%.bpf.o $(BUILD)/tests/%.o

# A unit test links only the modules named for it, so that a new dependency shows here.
include tests/unit/links.mk
$(BUILD)/tests/%.o: tests/unit/%.c Makefile | $(BUILD)/tests
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS_ALL) -Itests/unit $(CFLAGS_ALL) -MMD -MP -c -o $@ $<
$(BUILD)/tests/%.o: tests/kernel/%.c Makefile | $(BUILD)/tests
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS_ALL) -Itests/kernel $(CFLAGS_ALL) -MMD -MP -c -o $@ $<
.SECONDEXPANSION:
$(BUILD)/tests/test_%: $(BUILD)/tests/test_%.o $$(addprefix $(BUILD)/,$$(addsuffix .o,$$(links_test_%))) $$(if $$(filter http1_head llhttp,$$(links_test_%)),$$(LLHTTP_OBJECTS))
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) -lcmocka
$(BUILD)/tests/bench_%: $(BUILD)/tests/bench_%.o $$(addprefix $(BUILD)/,$$(addsuffix .o,$$(links_bench_%)))
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) -lcmocka

# Pieces of the hot path, for callgrind to count.
$(BUILD)/tests/count: tests/count/count.c $(addprefix $(BUILD)/,$(addsuffix .o,$(links_count))) $(LLHTTP_OBJECTS) | $(BUILD)/tests
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.c %.o,$^) $(LIBS)

$(BUILD) $(BUILD)/tests $(BUILD)/llhttp $(BUILD)/fuzz:
	$(Q)mkdir -p $@

UNIT_BINARIES := $(UNIT_TESTS:%=$(BUILD)/tests/%)
KERNEL_BINARIES := $(KERNEL_TESTS:%=$(BUILD)/tests/%)
tests: $(UNIT_BINARIES) $(KERNEL_BINARIES) $(BUILD)/tests/count $(BUILD)/bench-load ## build the tests written in C

check: $(UNIT_BINARIES) ## unit tests: no privilege, no network
	tools/run-tests unit=$(BUILD)

check-count: $(BUILD)/tests/count ## instructions of the hot path, by callgrind, against those noted
	tools/run-tests count=$(BUILD)

check-kernel: $(KERNEL_BINARIES) ## the kernel wall against a real kernel (root)
	tools/run-tests kernel=$(BUILD)

check-e2e: all $(BUILD)/bench-load ## end to end, in network namespaces of their own (root); ONLY=PATTERN picks
	tools/run-tests e2e=$(BUILD) $(if $(ONLY),--only '$(ONLY)')

check-kernel-matrix: all $(KERNEL_BINARIES) ## kernel tests and a smoke test under Debian's own kernels, in qemu
	-@tools/kernel-matrix-fetch linux-image-amd64 linux-image-6.12-amd64
	tools/run-tests matrix-all=$(BUILD) $(if $(ONLY),--only '$(ONLY)')

# The attack programs: one binary, each attack a function that registers itself.
$(BUILD)/attack: $(wildcard tests/attack/*.c tests/attack/*.h) Makefile | $(BUILD)
	$(call say,CC)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 -O2 -g $(WARNINGS) -o $@ $(filter %.c,$^) -lpthread
attack: all $(BUILD)/attack ## everything that tries to get out, judged by a sniffer (root); ONLY=PATTERN
	tools/run-tests attack=$(BUILD) $(if $(ONLY),--only '$(ONLY)')
attack-mutate: all $(BUILD)/attack ## the same with each kernel program left out in turn: must turn red
	tools/run-tests attack-mutate=$(BUILD)

ASAN := BUILD=build-asan SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined'
asan-build:
	$(MAKE) $(ASAN) all tests
asan: asan-build ## unit and end-to-end tests under AddressSanitizer and UBSan
	tools/run-tests unit=build-asan e2e=build-asan

# It does not know the feed's fences (seqlock, checked by its reader), so no unit tests.
tsan: ## end-to-end tests where threads are at work, under ThreadSanitizer (root; not part of test)
	$(MAKE) BUILD=build-tsan SANITIZE=-fsanitize=thread CFLAGS=-Wno-tsan all build-tsan/bench-load
	tools/run-tests e2e=build-tsan --only tsan

lint: ## clang-tidy, cppcheck, module graph, sizes
	tools/run-tests lint=$(BUILD)
# What tools/lint needs to know to read the sources as the compiler does.
print-cppflags:
	$(info $(CPPFLAGS_ALL))@:

# A fuzzer is made by clang of the modules that links.mk names for it, each compiled once for all fuzzers.
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_CFLAGS := -std=gnu11 -g -O1 -fno-sanitize-recover=undefined
fuzz_cc = $(CLANG) $(FUZZ_CFLAGS) -fsanitize=$(1),address,undefined -MMD -MP
$(BUILD)/fuzz/%.o: user/%.c Makefile | $(BUILD)/fuzz
	$(call say,FUZZ)
	$(Q)$(call fuzz_cc,fuzzer-no-link) $(CPPFLAGS_ALL) -c -o $@ $<
$(BUILD)/fuzz/llhttp_%.o: /usr/share/llhttp/%.c Makefile | $(BUILD)/fuzz
	$(call say,FUZZ)
	$(Q)$(call fuzz_cc,fuzzer-no-link) $(LLHTTP_CFLAGS) $(CPPFLAGS) -w -c -o $@ $<
FUZZ_LLHTTP := $(LLHTTP_SOURCES:/usr/share/llhttp/%.c=$(BUILD)/fuzz/llhttp_%.o)
$(FUZZERS): $(BUILD)/fuzz/%: tests/fuzz/%.c $$(addprefix $(BUILD)/fuzz/,$$(addsuffix .o,$$(links_%))) \
		$$(if $$(filter http1_head,$$(links_%)),$$(FUZZ_LLHTTP)) Makefile
	$(call say,FUZZ)
	$(Q)$(call fuzz_cc,fuzzer) $(CPPFLAGS_ALL) -MF $@.d -o $@ $(filter %.c %.o,$^) $(LIBS)
fuzzers: $(FUZZERS)
fuzz: $(FUZZERS) ## run each fuzzer from its seeds for FUZZ_SECONDS (default 10)
	tools/run-tests fuzz=$(BUILD)

check-manifests: ## container/kubernetes/ against the Kubernetes API's schemas, from npm
	BUILD=$(abspath $(BUILD)) tools/check-manifests

# The load client, for bench and soak.
$(BUILD)/bench-load: tools/bench/load.c Makefile | $(BUILD)
	$(call say,CC)
	$(Q)$(CC) -D_GNU_SOURCE $(CFLAGS_ALL) -pie -o $@ $< $(shell $(PKG_CONFIG) --libs openssl)
BENCH_PARTS := $(BUILD)/egress-bpf $(BUILD)/bench-load $(BUILD)/tests/bench_wall
bench: $(BENCH_PARTS) ## CPU, time and memory as ratios to peers' and to goals (root); BENCH=OPTIONS
	tools/bench/bench $(BUILD)/egress-bpf $(BENCH)
bench-quick: $(BENCH_PARTS) ## the same in one short round, within two minutes, without limits (root)
	tools/bench/bench $(BUILD)/egress-bpf --quick $(BENCH)
bench-peers: ## install the peers that bench compares with when they are there (calls sudo)
	tools/bootstrap bench

soak: $(BUILD)/egress-bpf $(BUILD)/bench-load ## that nothing grows: memory, descriptors, map entries (root; not part of test)
	tools/bench/soak $(BUILD)/egress-bpf

check-image: ## container/Dockerfile built and run, without a registry (root, Debian's mirror; not part of test)
	tools/check-image

check-cluster: $(BUILD)/egress-bpf ## the node agent on a whole Kubernetes, built by the first run (root, Debian's mirror; not part of test)
	tools/check-cluster $(abspath $<) $(ONLY)

demo: ## install packages, build, and show the main job (calls sudo)
	@tools/bootstrap demo
	@$(MAKE) --no-print-directory -j2 all
	@tools/demo $(BUILD)/egress-bpf

test: ## install packages, build, and run every test (calls sudo)
	@tools/bootstrap
	@tools/run-tests everything

# What is installed beside the program; what names the place that it is installed to names that one.
SHARE = $(DESTDIR)$(PREFIX)/share
# Where the documents' links lead to.
CONTAINER_UNIT = container/egress-bpf-container@.service
EXAMPLES = README.md compose.yaml github-action/action.yml \
	gitlab-ci/egress.gitlab-ci.yml grafana/egress-bpf.json kubernetes/daemonset.yaml \
	kubernetes/sidecar.yaml
placed = sed 's|/usr/local|$(PREFIX)|g' $(1) >$(2) && chmod $(or $(3),644) $(2)
install: all ## DESTDIR= PREFIX=/usr/local: program, egress-ci, man pages, documents, completions, schema, systemd unit
	install -D -m 755 $(BUILD)/egress-bpf $(DESTDIR)$(PREFIX)/bin/egress-bpf
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/libexec/egress-bpf container/ci/egress-ci container/ci/annotate
	$(call placed,container/egress-bpf-runc,$(DESTDIR)$(PREFIX)/libexec/egress-bpf/egress-bpf-runc,755)
	ln -sf ../libexec/egress-bpf/egress-ci $(DESTDIR)$(PREFIX)/bin/egress-ci
	install -D -m 644 -t $(SHARE)/egress-bpf/providers share/egress-bpf/providers/*.yaml
	install -D -m 644 -t $(SHARE)/egress-bpf/ui share/egress-bpf/ui/*
	install -D -m 644 README.md $(SHARE)/doc/egress-bpf/README.md
	install -D -m 644 -t $(SHARE)/doc/egress-bpf/docs \
		$(filter-out docs/containers.md,$(wildcard docs/*.md)) docs/report.schema.json
	for file in $(EXAMPLES); do \
		install -D -m 644 container/$$file $(SHARE)/doc/egress-bpf/container/$$file || exit; \
	done
	$(call placed,docs/containers.md,$(SHARE)/doc/egress-bpf/docs/containers.md)
	$(call placed,$(CONTAINER_UNIT),$(SHARE)/doc/egress-bpf/$(CONTAINER_UNIT))
	install -D -m 644 LICENSE $(SHARE)/doc/egress-bpf/LICENSE
	install -D -m 644 docs/routes.schema.json $(SHARE)/egress-bpf/routes.schema.json
	install -D -m 644 tools/completions/egress-bpf.bash \
		$(SHARE)/bash-completion/completions/egress-bpf
	install -D -m 644 tools/completions/_egress-bpf $(SHARE)/zsh/vendor-completions/_egress-bpf
	install -D -m 644 tools/completions/egress-bpf.fish \
		$(SHARE)/fish/vendor_completions.d/egress-bpf.fish
	install -d $(SHARE)/man/man1 $(SHARE)/man/man5 $(DESTDIR)$(PREFIX)/lib/systemd/system
	$(call placed,docs/man/egress-bpf.1,$(SHARE)/man/man1/egress-bpf.1)
	$(call placed,docs/man/egress-ci.1,$(SHARE)/man/man1/egress-ci.1)
	$(call placed,docs/man/egress-bpf-routes.5,$(SHARE)/man/man5/egress-bpf-routes.5)
	$(call placed,tools/egress-bpf@.service,$(DESTDIR)$(PREFIX)/lib/systemd/system/egress-bpf@.service)

# Installs once more, into a directory of its own, for the list: that cannot say less than install does.
# A directory that is left empty and is named after us goes, too.
uninstall: all ## DESTDIR= PREFIX=/usr/local: remove what install put there; walls and /var/lib/egress-bpf stay
	list=$$(mktemp -d) && trap 'rm -rf "$$list"' EXIT && \
	$(MAKE) -s -o all install DESTDIR="$$list" >/dev/null && \
	(cd "$$list" && find . ! -type d) | sed 's|^\./||' | while read -r file; do \
		rm -f "$(DESTDIR)/$$file" || exit; done && \
	(cd "$$list" && find . -depth -type d -path '*egress-bpf*') | sed 's|^\./||' | \
		while read -r place; do rmdir "$(DESTDIR)/$$place" 2>/dev/null || :; done

deb: ## a Debian package below build/ (needs debhelper)
	tools/build-deb $(BUILD) $(VERSION)

clean: ## remove what was built
	rm -rf $(BUILD) build-asan build-tsan

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 23

-include $(wildcard $(BUILD)/*.d $(BUILD)/tests/*.d $(BUILD)/fuzz/*.d)
.PHONY: check-cluster check-image check-kernel-matrix check-manifests check-count bench-quick bench-peers ALWAYS deb
.PHONY: all tests attack attack-mutate check check-kernel check-e2e asan asan-build tsan lint fuzz fuzzers bench soak demo test \
	install uninstall clean help print-cppflags needs-packages
.DELETE_ON_ERROR:
