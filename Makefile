# SPDX-License-Identifier: MIT
#
# Everything is built out of tree, under build/:
#
#   bin/       shimportd, shimportctl, and shimport-builder, which the service manager starts
#   python/    the client: one directory that serves every interpreter, one pair of extensions for each SOABI
#   gen/       what protoc-c makes of proto/
#   obj/       objects and the files of their dependencies
#   tests/     the cmocka programs
#
# A variant is a build directory of its own: `make CC=clang BUILD=build/clang`, `make SANITIZE=address,undefined`.

CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
SANITIZE ?=
BUILD ?= build$(if $(SANITIZE),/sanitize)

# The interpreters to build the client for and to test with; empty: all that client/pythons.sh finds.
PYTHONS ?=
export PYTHONS

# For `make race`. Each flood lasts FLOOD seconds.
ROUNDS ?= 20000
KILLS ?= 0
FLOOD ?= 60

# For the tests, the demo and the benchmarks.
export SHIMPORT_BUILD = $(abspath $(BUILD))

# Runs the tests. It need not be one of the interpreters that are tested; it has to have pytest.
TEST_PYTHON ?= /usr/bin/python3

# ---------------------------------------------------------------------------------------------------------
# Packages, by what they are for. `make deps` installs all of them.

PACKAGES_BUILD = gcc libc6-dev pkg-config libuv1-dev libprotobuf-c-dev protobuf-c-compiler libinih-dev \
        libjansson-dev libsystemd-dev python3 python3-dev strace
PACKAGES_CHECK = git libcmocka-dev python3-dbg python3-pip python3-prometheus-client python3-pytest \
        python3-pytest-xdist python3-setuptools python3-venv python3-wheel systemd util-linux util-linux-extra valgrind \
        wget $(PACKAGES_DEB) $(PACKAGES_MATRIX) $(PACKAGES_PROGRAMS) $(PACKAGES_SUITES)
# Programs of other people's, to compare code object by code object, to run both ways, and to measure.
PACKAGES_PROGRAMS = apt-listchanges gunicorn python3-boto3 python3-django python3-hypothesis python3-numpy \
        python3-pandas python3-pytest-cov python3-sphinx python3-sqlalchemy reportbug
# CPython's own tests; tests/matrix.sh installs those of its interpreters.
PACKAGES_SUITES = lib$(notdir $(realpath /usr/bin/python3))-testsuite
PACKAGES_LINT = clang clang-format clang-tidy cppcheck
PACKAGES_FUZZ = clang libclang-rt-dev
PACKAGES_COVERAGE = gcovr
PACKAGES_MATRIX = debootstrap
PACKAGES_DEB = debhelper dh-python dpkg-dev fakeroot lintian
PACKAGES_IN_MATRIX = $(PACKAGES_BUILD) $(filter-out $(PACKAGES_PROGRAMS) $(PACKAGES_SUITES) $(PACKAGES_DEB) \
        $(PACKAGES_MATRIX),$(PACKAGES_CHECK))

# ---------------------------------------------------------------------------------------------------------
# Sources: a new file is added to one of these lists.

PROTO_SOURCES = proto/shimport.proto proto/builder.proto

SHARED_SOURCES = $(addprefix shared/,buffer.c endpoint.c identity.c image.c image_writer.c memfd.c packet.c staleness.c syscalls.c)

CTL_SOURCES = $(wildcard daemon/ctl*.c)
DAEMON_SOURCES = $(filter-out daemon/main.c daemon/builder_service.c $(CTL_SOURCES),$(wildcard daemon/*.c))

# What each extension is made of. A missing file shows only when the extension is loaded.
EXTENSION_SHARED = $(addprefix shared/,image.c memfd.c packet.c syscalls.c)
CLIENT_SOURCES = $(EXTENSION_SHARED) shared/endpoint.c shared/identity.c shared/staleness.c $(addprefix client/, \
        arena.c \
        attach.c \
        audit.c \
        code.c \
        collect.c \
        create.c \
        distribution.c \
        entry.c \
        facts.c \
        finder.c \
        loader.c \
        mapping.c \
        meta_path.c \
        metadata.c \
        module.c \
        module_lock.c \
        noted.c \
        path_finder.c \
        place.c \
        points.c \
        pyc.c \
        regex.c \
        regex_loaded.c \
        root.c \
        shortcuts.c \
        sieve.c \
        sitecustomize.c \
        snippets.c \
        spec.c \
        splice.c \
        stock.c \
        tag.c \
        texts.c \
        thaw.c \
        thaw_external.c \
        validate.c \
        wanted.c)
CLIENT_PROTO = shimport
BUILDER_SOURCES = $(addprefix client/,build_module.c channel.c facts.c freeze.c freeze_external.c freeze_sets.c \
        freeze_stays.c freeze_texts.c freezer.c previous.c tag.c words.c writer.c) $(EXTENSION_SHARED) shared/buffer.c \
        shared/image_writer.c shared/staleness.c
BUILDER_PROTO = builder

PACKAGE_SOURCES = $(wildcard client/shimport/*.py)

UNIT_SOURCES = $(wildcard tests/unit/test_*.c)

# ---------------------------------------------------------------------------------------------------------

WARNINGS = -Wall -Wextra -Werror
ALL_CFLAGS = -std=gnu17 -D_GNU_SOURCE $(WARNINGS) $(CFLAGS) $(if $(SANITIZE),-fsanitize=$(SANITIZE)) -MMD -MP
ALL_LDFLAGS = $(LDFLAGS) $(if $(SANITIZE),-fsanitize=$(SANITIZE))

DAEMON_MODULES = libuv libprotobuf-c inih jansson libsystemd
DAEMON_LIBS = $(shell pkg-config --libs $(DAEMON_MODULES))
UNIT_LIBS = $(DAEMON_LIBS) $(shell pkg-config --libs cmocka)
# The archive, where there is one that a shared object can be made of: what every process loads is one object, not two.
PROTOBUF_ARCHIVE = -Wl,--exclude-libs,ALL -Wl,-Bstatic -lprotobuf-c -Wl,-Bdynamic
CLIENT_LIBS := $(shell $(CC) -shared -o /dev/null -x c /dev/null -Wl,-z,text -Wl,-u,protobuf_c_message_unpack \
        $(PROTOBUF_ARCHIVE) 2>/dev/null && echo $(PROTOBUF_ARCHIVE) || pkg-config --libs libprotobuf-c)

GEN = $(BUILD)/gen
OBJ = $(BUILD)/obj
GEN_SOURCES = $(PROTO_SOURCES:proto/%.proto=$(GEN)/%.pb-c.c)
GEN_HEADERS = $(GEN_SOURCES:.c=.h)

PROGRAMS = $(BUILD)/bin/shimportd $(BUILD)/bin/shimportctl $(BUILD)/bin/shimport-builder
LIBRARIES = $(BUILD)/libdaemon.a $(BUILD)/libshared.a
PACKAGE = $(PACKAGE_SOURCES:client/%=$(BUILD)/python/%)
UNITS = $(UNIT_SOURCES:tests/unit/%.c=$(BUILD)/tests/%)

.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
.PHONY: all build programs package extensions extension units help deps demo check check-units check-matrix \
        conformance conformance-matrix race flood fuzz fuzzers fuzz-build replay-build bench bench-attach bench-scale chart client-sources deb install uninstall format lint clean

all: build

help:
	@echo 'make                builds the daemon, the control tool and the client for every CPython found'
	@echo 'make demo           installs what is missing, builds, compares imports with and without shimport'
	@echo 'make check          likewise, and runs all tests'
	@echo 'make check-units    the C tests alone, also with SANITIZE=address,undefined'
	@echo 'make check-matrix   the tests in a Debian sid chroot, with its CPythons 3.13 and up (as root)'
	@echo 'make conformance    runs CPythons'"'"' own tests without and with shimport; SUITES="test_import ..." SET=GC=freeze'
	@echo 'make conformance-matrix   likewise, in the chroot'
	@echo 'make race           changes files and imports them, ROUNDS=20000 times, or until KILLS=500 daemons are dead'
	@echo 'make flood          makes ten thousand changes a second for FLOOD=60 seconds'
	@echo 'make faults         makes every system call and allocation fail, at each place in turn'
	@echo 'make coverage       which lines and branches the tests reach; COVER=--units'
	@echo 'make soak           lets neighbours at their worst loose on a daemon for SECONDS=60'
	@echo 'make fuzz           looks for inputs that do harm, for SECONDS=60 with each target; FUZZ="image thaw"'
	@echo 'make bench          measures against stock CPython; PAIRS=15 pairs of runs; draws build/bench/chart.svg'
	@echo 'make chart          draws chart.svg, for the README, of what was measured last'
	@echo 'make bench-attach   attaches ATTACHES=100000 times from eight processes, and beside hostile neighbours'
	@echo 'make bench-scale    measures a site of SITE_MODULES=50000 modules, and SITE_VENVS=50 virtual environments'
	@echo 'make install        into DESTDIR= PREFIX=/usr/local; make uninstall takes it out again'
	@echo 'make deb            Debian packages shimportd and python3-shimport, into build/deb'
	@echo 'make deps           installs the Debian packages that any of this needs'
	@echo 'make format lint    what to run before a commit'
	@echo 'make clean'
	@echo
	@echo 'Variables: CC, CFLAGS, BUILD=build, SANITIZE=, PYTHONS="python3.11 /opt/python3.13/bin/python3"'

build: programs package extensions

programs: $(PROGRAMS)

package: $(PACKAGE)

# ---------------------------------------------------------------------------------------------------------
# The daemon's side. What is linked depends on this file, so that taking a source off a list is noticed.

$(GEN)/%.pb-c.c $(GEN)/%.pb-c.h: proto/%.proto
	@mkdir -p $(@D)
	protoc-c --proto_path=proto --c_out=$(GEN) $<

$(OBJ)/gen/%.o: $(GEN)/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -I$(GEN) -c -o $@ $<

$(OBJ)/%.o: %.c | $(GEN_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Ishared -Idaemon -I$(GEN) -c -o $@ $<

$(BUILD)/libshared.a: $(SHARED_SOURCES:%.c=$(OBJ)/%.o) $(GEN_SOURCES:$(GEN)/%.c=$(OBJ)/gen/%.o)
$(BUILD)/libdaemon.a: $(DAEMON_SOURCES:%.c=$(OBJ)/%.o)
$(LIBRARIES): Makefile
	@rm -f $@
	$(AR) rcs $@ $(filter %.o,$^)

$(BUILD)/bin/shimportd: $(OBJ)/daemon/main.o $(LIBRARIES)
$(BUILD)/bin/shimportctl: $(CTL_SOURCES:%.c=$(OBJ)/%.o) $(LIBRARIES)
$(BUILD)/bin/shimport-builder: $(OBJ)/daemon/builder_service.o $(LIBRARIES)
$(PROGRAMS): Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -Wl,--as-needed -o $@ $(filter %.o %.a,$^) $(DAEMON_LIBS)

# cmocka 2 deprecates assertions whose successors cmocka 1 does not have.
$(OBJ)/tests/unit/%.o: WARNINGS += -Wno-deprecated-declarations

$(BUILD)/tests/%: $(OBJ)/tests/unit/%.o $(LIBRARIES)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(UNIT_LIBS)

# Stands in front of the C library in the fault tests. Without a sanitizer, whatever it stands before is built with.
$(BUILD)/tests/fault.so: $(wildcard tests/fault/*.c) tests/fault/fault.h
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE $(WARNINGS) -O2 -g -fPIC -shared -o $@ $(filter %.c,$^)

units: $(UNITS) $(BUILD)/tests/fault.so $(BUILD)/bench/attach_load $(BUILD)/bin/shimport-builder

$(BUILD)/bench/%: $(OBJ)/tests/bench/%.o $(BUILD)/libshared.a
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(UNIT_LIBS)

# ---------------------------------------------------------------------------------------------------------
# The fuzz targets: with libFuzzer's main if FUZZER is set, else with one that tries the inputs it is given. They are
# built in variants of their own, by fuzz-build and replay-build.

FUZZERS = config image kept packet thaw
FUZZ_MAIN = $(if $(FUZZER),-fsanitize=fuzzer,$(OBJ)/tests/fuzz/replay.o)
FUZZ_WRAPS = -Wl,--wrap=geteuid,--wrap=syscalls_connect,--wrap=write

fuzzers: $(FUZZERS:%=$(BUILD)/fuzzers/%)

$(BUILD)/fuzzers/kept $(BUILD)/fuzzers/packet: $(OBJ)/tests/fuzz/fuzz_daemon.o
$(BUILD)/fuzzers/kept $(BUILD)/fuzzers/packet: ALL_LDFLAGS += $(FUZZ_WRAPS)
$(BUILD)/fuzzers/%: $(OBJ)/tests/fuzz/fuzz_%.o $(LIBRARIES) $(if $(FUZZER),,$(OBJ)/tests/fuzz/replay.o)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $(filter-out %/replay.o,$(filter %.o,$^)) $(FUZZ_MAIN) $(LIBRARIES) $(DAEMON_LIBS)

# In an interpreter: that of the tests, whose objects thaw knows.
FUZZ_THAW_OBJECTS = $(OBJ)/fuzz-thaw/tests/fuzz/fuzz_thaw.o $(addprefix $(OBJ)/fuzz-thaw/client/,arena.o facts.o \
        texts.o thaw.o thaw_external.o)

$(OBJ)/fuzz-thaw/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -DPY_SSIZE_T_CLEAN -Ishared -Iclient $$($(TEST_PYTHON)-config --includes | sed s/-I/-isystem/g) \
	        -c -o $@ $<

$(BUILD)/fuzzers/thaw: $(FUZZ_THAW_OBJECTS) $(if $(FUZZER),,$(OBJ)/tests/fuzz/replay.o)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $(FUZZ_THAW_OBJECTS) $(FUZZ_MAIN) $$($(TEST_PYTHON)-config --embed --ldflags)

FUZZ_CFLAGS = -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all

replay-build:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/replay SANITIZE=address,undefined CFLAGS="$(FUZZ_CFLAGS)" fuzzers programs

# The extension of the first interpreter alone, for the test of threads.
thread-build:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/thread SANITIZE=thread \
	        PYTHONS="$$(client/pythons.sh | head -n 1 | cut -f 1)" extensions

.PHONY: thread-build
fuzz-build:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz CC=clang FUZZER=1 SANITIZE=fuzzer-no-link,address,undefined \
	        CFLAGS="$(FUZZ_CFLAGS)" fuzzers

# ---------------------------------------------------------------------------------------------------------
# The client's side: once for each SOABI, by a make of its own that gets SOABI and PYTHON_INCLUDE

$(BUILD)/python/shimport/%.py: client/shimport/%.py
	@mkdir -p $(@D)
	install -m 644 $< $@

extensions: $(GEN_SOURCES)
	+@set -e; client/pythons.sh --builds | while read -r soabi include; do \
	        $(MAKE) --no-print-directory extension SOABI="$$soabi" PYTHON_INCLUDE="$$include"; \
	done

ifdef SOABI
# pyconfig.h first: Debian's python3.11d has links to the headers of python3.11, which GCC follows to the pyconfig.h there.
EXTENSION_CFLAGS = $(ALL_CFLAGS) -fPIC -fvisibility=hidden -Ishared -Iclient -I$(GEN) -isystem $(PYTHON_INCLUDE) \
        -include $(PYTHON_INCLUDE)/pyconfig.h -DPY_SSIZE_T_CLEAN -DSHIMPORT_SOABI='"$(SOABI)"'
EXTENSION_OBJ = $(OBJ)/$(SOABI)
EXTENSION = $(BUILD)/python/_shimport.$(SOABI).so
BUILDER = $(BUILD)/python/_shimport_build.$(SOABI).so
RUN = $(BUILD)/python/run/sitecustomize.$(SOABI).so

extension: $(EXTENSION) $(BUILDER) $(RUN)
	@:

$(EXTENSION_OBJ)/gen/%.o: $(GEN)/%.c
	@mkdir -p $(@D)
	$(CC) $(EXTENSION_CFLAGS) -c -o $@ $<

$(EXTENSION_OBJ)/%.o: %.c | $(GEN_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(EXTENSION_CFLAGS) -c -o $@ $<

$(EXTENSION): $(CLIENT_SOURCES:%.c=$(EXTENSION_OBJ)/%.o) $(CLIENT_PROTO:%=$(EXTENSION_OBJ)/gen/%.pb-c.o)
$(BUILDER): $(BUILDER_SOURCES:%.c=$(EXTENSION_OBJ)/%.o) $(BUILDER_PROTO:%=$(EXTENSION_OBJ)/gen/%.pb-c.o)
$(EXTENSION) $(BUILDER): Makefile
	@mkdir -p $(@D)
	$(CC) -shared $(ALL_LDFLAGS) -Wl,-z,now -o $@ $(filter %.o,$^) $(CLIENT_LIBS)

$(RUN): | $(EXTENSION)
	@mkdir -p $(@D)
	ln -sfn ../$(notdir $(EXTENSION)) $@
endif

# What the client is made of, for client/setup.py: a directory for a source distribution to carry.
CLIENT_TREE = $(BUILD)/client-sources

client-sources: $(GEN_SOURCES)
	rm -rf $(CLIENT_TREE)
	install -D -m 644 -t $(CLIENT_TREE)/client $(filter client/%,$(CLIENT_SOURCES)) $(wildcard client/*.h)
	install -D -m 644 -t $(CLIENT_TREE)/shared $(filter shared/%,$(CLIENT_SOURCES)) $(wildcard shared/*.h)
	install -D -m 644 -t $(CLIENT_TREE)/gen $(foreach name,$(CLIENT_PROTO),$(GEN)/$(name).pb-c.c $(GEN)/$(name).pb-c.h)
	install -m 644 daemon/version.h LICENSE $(CLIENT_TREE)

# ---------------------------------------------------------------------------------------------------------
# Packages to install: only what is missing, and nothing is run where nothing is

define install_packages
	@missing=; for package in $(1); do \
	        case "$$(dpkg-query -W -f='$${db:Status-Status}' "$$package" 2>/dev/null)" in \
	        installed) ;; \
	        *) missing="$$missing $$package" ;; \
	        esac; \
	done; \
	if [ -n "$$missing" ]; then \
	        echo "installing with apt-get:$$missing"; \
	        sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	        $$sudo apt-get update -q && \
	        $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	fi
endef

deps:
	$(call install_packages,$(PACKAGES_BUILD) $(PACKAGES_CHECK) $(PACKAGES_LINT) $(PACKAGES_FUZZ) $(PACKAGES_COVERAGE) $(PACKAGES_MATRIX))

# ---------------------------------------------------------------------------------------------------------
# To see, to test, to measure. A recipe that installs packages builds in a make of its own, started afterwards.

BUILDING = @$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

demo:
	$(call install_packages,$(PACKAGES_BUILD))
	$(BUILDING) build
	@$(TEST_PYTHON) tests/demo.py

check:
	$(call install_packages,$(PACKAGES_BUILD) $(PACKAGES_CHECK))
	$(BUILDING) build units replay-build thread-build
	@$(TEST_PYTHON) tests/run.py --units --integration

check-units: units
	@$(TEST_PYTHON) tests/run.py --units

# ROUNDS of changes, or as many as it takes to kill the daemon KILLS times.
race:
	$(call install_packages,$(PACKAGES_BUILD) $(PACKAGES_CHECK))
	@$(MAKE) --no-print-directory build
	@$(TEST_PYTHON) tests/race.py --rounds $(ROUNDS) --kills $(KILLS)

# Every call of the daemon, of builders and of processes fails once, at each place in turn; make check tries some places.
.PHONY: faults
faults:
	$(call install_packages,$(PACKAGES_BUILD) $(PACKAGES_CHECK))
	$(BUILDING) build units replay-build
	@FAULTS=whole $(TEST_PYTHON) -m pytest -q -s -p no:cacheprovider tests/fault

# Which lines and branches the tests reach: of the units alone with COVER=--units.
COVER ?= --units --integration
COVERAGE_CFLAGS = -O0 -g --coverage -fprofile-update=atomic

.PHONY: coverage
coverage:
	$(call install_packages,$(PACKAGES_BUILD) $(PACKAGES_CHECK) $(PACKAGES_COVERAGE))
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/coverage CFLAGS="$(COVERAGE_CFLAGS)" LDFLAGS=--coverage build units
	-SHIMPORT_BUILD=$(abspath $(BUILD))/coverage $(TEST_PYTHON) tests/run.py $(COVER)
	gcovr --root . --filter '(shared|daemon|client)/' --print-summary $(BUILD)/coverage/obj

# SECONDS of neighbours at their worst, or of each fuzz target.
SECONDS ?= 60

.PHONY: soak
soak:
	$(call install_packages,$(PACKAGES_BUILD) $(PACKAGES_CHECK))
	$(BUILDING) build
	@$(TEST_PYTHON) tests/soak.py --seconds $(SECONDS)

FUZZ ?=

fuzz:
	$(call install_packages,$(PACKAGES_BUILD) $(PACKAGES_FUZZ))
	$(BUILDING) build fuzz-build
	@$(TEST_PYTHON) tests/fuzz/fuzz.py --seconds $(SECONDS) $(FUZZ)

# Ten thousand changes a second.
flood:
	$(call install_packages,$(PACKAGES_BUILD) $(PACKAGES_CHECK))
	@$(MAKE) --no-print-directory build
	@SHIMPORT_FLOOD=$(FLOOD) $(TEST_PYTHON) -m pytest -q -s -p no:cacheprovider tests/integration/test_flood.py

check-matrix:
	$(call install_packages,$(PACKAGES_MATRIX))
	@tests/matrix.sh $(PACKAGES_IN_MATRIX)

# SUITES: patterns of CPython's suites, or `all`; empty: those that can tell a difference. SET: of the daemon's configuration.
SUITES ?=
SET ?=
export SUITES SET

conformance:
	$(call install_packages,$(PACKAGES_BUILD) $(PACKAGES_CHECK))
	$(BUILDING) build
	@$(TEST_PYTHON) tests/conformance/conformance.py $(SUITES) $(addprefix --set ,$(SET))

conformance-matrix:
	$(call install_packages,$(PACKAGES_MATRIX))
	@TARGET=conformance tests/matrix.sh $(PACKAGES_IN_MATRIX)

# ATTACHES of all processes together.
export ATTACHES

bench-attach:
	$(call install_packages,$(PACKAGES_BUILD))
	$(BUILDING) build $(BUILD)/bench/attach_load
	@$(TEST_PYTHON) tests/bench/attach.py

bench:
	$(call install_packages,$(PACKAGES_BUILD) python3-pytest $(PACKAGES_PROGRAMS))
	$(BUILDING) build $(BUILD)/bench/staleness_cost
	@$(TEST_PYTHON) tests/bench/bench.py
	@$(TEST_PYTHON) tests/bench/chart.py $(or $(RESULTS),$(BUILD)/bench/results.json) $(BUILD)/bench/chart.svg

# The README's chart, of what `make bench` measured last.
chart:
	@$(TEST_PYTHON) tests/bench/chart.py $(BUILD)/bench/results.json chart.svg

# A site of SITE_MODULES modules and a machine of SITE_VENVS virtual environments, generated.
SITE_MODULES ?= 50000
SITE_VENVS ?= 50
export SITE_MODULES SITE_VENVS

bench-scale:
	$(call install_packages,$(PACKAGES_BUILD))
	$(BUILDING) build
	@$(TEST_PYTHON) tests/bench/scale.py

# ---------------------------------------------------------------------------------------------------------

BINDIR = $(DESTDIR)$(PREFIX)/bin
CLIENTDIR = $(DESTDIR)$(PREFIX)/lib/shimport

MANDIR = $(DESTDIR)$(PREFIX)/share/man
MAN_PAGES = $(wildcard daemon/*.[0-9])
COMPLETION = $(DESTDIR)$(PREFIX)/share/bash-completion/completions/shimportctl

# Where the units go: below PREFIX, where systemd looks for them if that is /usr or /usr/local.
SYSTEMDDIR = $(DESTDIR)$(PREFIX)/lib
SYSTEMD_FILES = $(foreach scope,system user,$(patsubst %,systemd/$(scope)/%,$(notdir $(wildcard systemd/$(scope)/*.service \
        systemd/$(scope)/*.socket)))) sysusers.d/shimport.conf tmpfiles.d/shimport.conf \
        systemd/system-preset/90-shimport.preset systemd/user-preset/90-shimport.preset

install: build
	install -d $(BINDIR) $(CLIENTDIR)
	install -m 755 $(filter-out %/shimport-builder,$(PROGRAMS)) $(BINDIR)
	rm -rf $(CLIENTDIR)/python
	cp -a $(BUILD)/python $(CLIENTDIR)/python
	chown -R -h 0:0 $(CLIENTDIR)/python 2>/dev/null || true
	install -D -m 755 -t $(CLIENTDIR)/bin $(BUILD)/bin/shimport-builder
	for page in $(MAN_PAGES); do install -D -m 644 -t $(MANDIR)/man$${page##*.} $$page; done
	install -D -m 644 daemon/shimportctl.bash $(COMPLETION)
	for scope in system user; do \
	        install -d $(SYSTEMDDIR)/systemd/$$scope; \
	        install -D -m 644 -t $(SYSTEMDDIR)/systemd/$$scope-preset systemd/$$scope/90-shimport.preset; \
	        for unit in systemd/$$scope/*.service systemd/$$scope/*.socket; do \
	                sed 's,@BINDIR@,$(PREFIX)/bin,; s,@LIBDIR@,$(PREFIX)/lib,' $$unit \
	                        >$(SYSTEMDDIR)/systemd/$$scope/$${unit##*/} || exit 1; \
	        done; \
	done
	install -D -m 644 -t $(SYSTEMDDIR)/sysusers.d systemd/sysusers.d/shimport.conf
	install -D -m 644 -t $(SYSTEMDDIR)/tmpfiles.d systemd/tmpfiles.d/shimport.conf

uninstall:
	rm -f $(addprefix $(BINDIR)/,$(notdir $(PROGRAMS))) $(addprefix $(SYSTEMDDIR)/,$(SYSTEMD_FILES))
	for page in $(notdir $(MAN_PAGES)); do rm -f $(MANDIR)/man$${page##*.}/$$page; done
	rm -f $(COMPLETION)
	rm -rf $(CLIENTDIR)

# Debian packages, built and looked over in a copy of the tree: build/deb/*.deb.
DEB = $(BUILD)/deb

deb:
	$(call install_packages,$(PACKAGES_BUILD) $(PACKAGES_DEB))
	rm -rf $(DEB)
	mkdir -p $(DEB)/shimport
	tar -c --exclude=./build --exclude=./.git . | tar -x --no-same-owner -C $(DEB)/shimport
	cp -r systemd/debian $(DEB)/shimport/debian
	cd $(DEB)/shimport && env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u SHIMPORT_BUILD -u PYTHONS \
	        PATH=/usr/sbin:/usr/bin:/sbin:/bin DEB_BUILD_OPTIONS='noautodbgsym parallel=2' dpkg-buildpackage -us -uc -b
	lintian --allow-root --fail-on error $(DEB)/*.changes

# ---------------------------------------------------------------------------------------------------------

C_FILES = $(wildcard shared/*.[ch] daemon/*.[ch] client/*.[ch] tests/unit/*.[ch] tests/fuzz/*.[ch] tests/fault/*.[ch] \
        tests/bench/*.c)

format:
	clang-format -i $(C_FILES)

# gcc's analyser, of which two checks are left out: it does not know the cleanup attribute (what is freed through a void **
# counts as not initialised), nor that an object is kept by a member of it, as in our lists (that counts as a leak).
# The leak sanitizer has a look at both in the fault tests.
ANALYZE = gcc -std=gnu17 -D_GNU_SOURCE -O1 -Werror -fanalyzer -Wno-analyzer-use-of-uninitialized-value \
        -Wno-analyzer-malloc-leak -I$(GEN) -Ishared -c -o /dev/null

# cppcheck reads without the headers of others: it is told what CPython's macros come to. It does not know the cleanup
# attribute either, which makes every early return a leak.
CPPCHECK = cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
        --suppress=memleak --suppress=resourceLeak -D_GNU_SOURCE -D__BYTE_ORDER=1234 -D__LITTLE_ENDIAN=1234 \
        '-DPy_BEGIN_ALLOW_THREADS={' '-DPy_END_ALLOW_THREADS=}' '-DPy_RETURN_NONE=return Py_None' \
        -DPY_VERSION_HEX=0x030b02f0 '-DSHIMPORT_SOABI=""' -Ishared

CLIENT_INCLUDE = "$$(client/pythons.sh --builds | head -n 1 | cut -f 2)"

# clang-tidy and the analyser see the extension as the first interpreter compiles it.
lint: $(GEN_HEADERS)
	clang-format --dry-run --Werror $(C_FILES)
	$(MAKE) --no-print-directory CC=clang BUILD=$(BUILD)/clang build units
	clang-tidy --quiet $(filter shared/%.c daemon/%.c,$(C_FILES)) -- \
	        -std=gnu17 -D_GNU_SOURCE -Ishared -Idaemon -I$(GEN)
	clang-tidy --quiet $(filter client/%.c,$(C_FILES)) -- \
	        -std=gnu17 -D_GNU_SOURCE -DPY_SSIZE_T_CLEAN -DSHIMPORT_SOABI='""' -Ishared -Iclient -I$(GEN) \
	        -isystem $(CLIENT_INCLUDE)
	for file in $(filter shared/%.c daemon/%.c,$(C_FILES)); do $(ANALYZE) -Idaemon $$file || exit 1; done
	for file in $(filter client/%.c,$(C_FILES)); do \
	        $(ANALYZE) -Iclient -DPY_SSIZE_T_CLEAN -DSHIMPORT_SOABI='""' -isystem $(CLIENT_INCLUDE) $$file || exit 1; \
	done
	$(CPPCHECK) -Idaemon shared daemon
	$(CPPCHECK) -Iclient client

clean:
	rm -rf $(BUILD)

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)
