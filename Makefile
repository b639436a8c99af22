# Everything a checkout can do.  `make demo` and `make test` set up what they need in .venv;
# on a bare Debian: apt-get install -y make python3-venv

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet

# oracle: how many generated cases, and from which seed (a failure prints the one it had).
N ?= 200
SEED ?= 0
WORLDS ?=

.PHONY: demo recording test oracle packages packages-deb packages-rpm packages-all release e2e e2e-debian12 e2e-debian13 e2e-all timeline kills fleet bench compare fuzz roots clean

demo: $(VENV)/runs
	$(BIN)/python docs/demo.py

# The same as a picture, for the README.
recording: $(VENV)/runs
	$(BIN)/python docs/demo.py --svg docs/demo.svg

test: $(VENV)/tests
	$(BIN)/python -m pytest $(ARGS)

oracle: $(VENV)/tests
	N=$(N) SEED=$(SEED) WORLDS=$(WORLDS) $(BIN)/python -m pytest -m oracle $(ARGS)

# The packages, built and installed with the real apt, dpkg, dnf and rpm of Debian 12, 13 and testing, in chroots.
# Needs a Debian system with a mirror, and root, for chroots and to install what is missing.  Roots are kept in .cache.
PACKAGES := $(BIN)/python -m pytest -m packages -v --tb=short --durations=10

packages: $(VENV)/tests
	$(BIN)/python -m tests.packages.chroot --needs
	$(MAKE) --no-print-directory --keep-going -j2 packages-deb packages-rpm

packages-deb: $(VENV)/tests
	$(PACKAGES) -o cache_dir=.cache/pytest/deb tests/packages/test_apt.py --xfail-tb $(ARGS)

packages-rpm: $(VENV)/tests
	$(PACKAGES) -o cache_dir=.cache/pytest/rpm tests/packages --ignore=tests/packages/test_apt.py \
		--ignore=tests/packages/all $(ARGS)

# Also what a release passes: the newest judges of packages, in Debian unstable.  What is missing here is skipped.
packages-all: packages
	$(PACKAGES) -o cache_dir=.cache/pytest/all tests/packages/all $(ARGS)

# `make release VERSION=1.2.3`: that version in all changelogs, a commit, a tag, and dist/ with its checksums.  Pushes nothing.
release: $(VENV)/tests
	@test -n "$(VERSION)" || { echo "which one?  make release VERSION=1.2.3" >&2; exit 2; }
	$(PIP) install build twine check-wheel-contents
	$(BIN)/python packaging/release.py $(VERSION)
	$(BIN)/twine check --strict dist/*.whl dist/kexec_hook-*.tar.gz
	$(BIN)/check-wheel-contents dist

# Virtual machines with real GRUBs and kernels, emulated (no KVM).  Needs a Debian system with a mirror; root, for
# chroots and to install what is missing.  Images are kept in .cache; `ARGS=-x` and other words go to pytest.
E2E := $(BIN)/python -m pytest -m vm -v --tb=short --durations=0

# Two at a time: an emulated processor takes one.
e2e: $(VENV)/tests
	$(BIN)/python -m tests.vm.image --needs
	$(MAKE) --no-print-directory --keep-going -j2 e2e-debian12 e2e-debian13

# Two of the power cuts, in the machine that is there.
e2e-debian12: WITH := tests/vm/test_power_cuts.py

e2e-debian12 e2e-debian13: e2e-%: $(VENV)/tests
	$(BIN)/python -m tests.vm.image --needs
	CUTS=2 $(E2E) -o cache_dir=.cache/pytest/$* tests/vm/test_$*.py $(WITH) $(ARGS)

# Also writes docs/proof.md, from the last result of each test.  arm64 is left out where its emulator is missing, and
# the machine's own key with a TPM where their programs are:
# apt-get install qemu-system-arm qemu-efi-aarch64 cpio kmod swtpm sbsigntool
e2e-all: e2e
	$(E2E) tests/vm --ignore=tests/vm/test_debian12.py --ignore=tests/vm/test_debian13.py $(ARGS)
	$(BIN)/python -m tests.vm.proof docs/proof.md

# kexec-hook and what it starts are killed, or a call fails, at each system call that changes something; then the machine
# is rebooted by what is shipped in systemd/.  Takes an hour, and writes its numbers to docs/proof.md; needs grub-editenv.
# `ARGS="--every 10"` instead tries each tenth point, and writes nothing.
kills: ARGS = --proof docs/proof.md
kills: $(VENV)/tests
	$(BIN)/python -m tests.kills all all $(ARGS)

# contrib/: Prometheus' metrics and rules, the Ansible collection, and its rolling reboot on directories and on two virtual
# machines (`ARGS="-k 'not machines'"` leaves those out).  ansible-core and ansible-lint come from PyPI, into
# .venv/ansible; promtool (apt-get install prometheus) is asked where it is there.
fleet: $(VENV)/tests $(VENV)/ansible
	$(BIN)/python -m tests.vm.image --needs
	$(BIN)/python -m pytest -m fleet -v --tb=short tests/fleet $(ARGS)

# Measures a reboot and a jump in a virtual machine, each five times, and draws docs/timeline.svg.  On a quiet system.
timeline: $(VENV)/tests
	$(BIN)/python -m tests.vm.image --needs
	$(BIN)/python -m tests.vm.timeline docs

# Looks for FOR seconds for inputs on which a target of tests/fuzz raises what it should not, or hangs; keeps the fewest
# that reach all the code that was reached.
TARGET ?= script
FOR ?= 300

fuzz: $(VENV)/tests
	$(PIP) install atheris
	$(BIN)/python -m tests.fuzz.corpus unpack $(TARGET) .cache/fuzz/$(TARGET)
	$(BIN)/python -m tests.fuzz.fuzz $(TARGET) -max_total_time=$(FOR) -max_len=600 -timeout=20 -print_final_stats=1 \
		-dict=tests/fuzz/script.dict -artifact_prefix=.cache/fuzz/ .cache/fuzz/$(TARGET)
	$(BIN)/python -m tests.fuzz.corpus pack $(TARGET) .cache/fuzz/$(TARGET)

# Needs hyperfine, time, grub-emu and e2fsprogs.
bench: $(VENV)/runs
	$(BIN)/python bench/bench.py $(ARGS)

# Debian 12's own script and kexec-hook on the trees of tests/roots.  Needs a Debian 12 with a mirror.
compare: $(VENV)/runs
	$(BIN)/python bench/compare.py

# Makes the shipped trees again, in a Debian 12 chroot: needs root, mmdebstrap and a Debian mirror.
roots:
	$(PYTHON) tests/roots/make-roots $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "python3 has no venv: apt-get install -y python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/runs: pyproject.toml | $(VENV)/bin/pip
	$(PIP) install --editable .
	@touch $@

$(VENV)/ansible: tests/fleet/ansible.txt
	$(PYTHON) -m venv $@
	$@/bin/pip --disable-pip-version-check --quiet install --requirement $<
	@touch $@

$(VENV)/tests: pyproject.toml | $(VENV)/bin/pip
	$(PIP) install --editable '.[test]'
	@touch $@ $(VENV)/runs
