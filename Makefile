# make demo    iSCSI end to end on a real Linux kernel, in a guest, with every command shown
# make test    every check and test there is, the kernel tests in the guest included
# make test-full what takes too long for that: Debian's kernel in QEMU, iSER, real firmware tables, initramfs images
# make check   what a commit needs: style, types, unit, data and repository tests (no root, no guest)
# make bench   command times and system calls beside Debian's open-iscsi, on this machine and in the guest
# make soak    a hundred sessions under I/O while the daemon is killed and the targets go, in the guest
# make soak-records iscsid and clients killed while all of them write records, 300 s (SECONDS=60)
# make fuzz    damaged input for every parser, 60 s each (SECONDS=600 for longer)
# make fuzz-cli random commands for open-iscsi's iscsiadm and ours, compared (FUZZ_SEQUENCES=500)
# make install programs, manual pages and boot files (PREFIX=/usr/local DESTDIR= LAUNCHER=no); docs/install.md
# make fmt     format the code
# make clean   remove everything these targets made

# Debian's own python3 starts several times faster than most others; any from 3.11 on will do.
PYTHON := $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo python3)
BIN := .venv/bin
export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help demo test test-full check check-kernel soak soak-records bench parity fuzz fuzz-cli install uninstall fmt compile clean
help:
	@sed -n '/^# make/s/^# //p' Makefile

.venv: .venv/ready
.venv/ready: pyproject.toml
	@bash tests/lab/setup base
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "pyiscsi needs Python 3.11 or newer")'
	@test -x $(BIN)/python || { echo "making .venv with $(PYTHON)"; $(PYTHON) -m venv .venv; }
	@$(BIN)/pip install -q -U pip
	@$(BIN)/pip install -q -e '.[test]'
	@touch $@

# The guest's files are read-only: byte code must exist before it boots.
compile: .venv/ready
	@$(BIN)/python -m compileall -q pyiscsi tests
	@$(BIN)/python -m compileall -q .venv/lib >/dev/null || true

demo: .venv/ready compile
	@bash tests/lab/setup guest
	@bash tests/lab/guest -m 512M -t 300 python -m tests.lab.demo

test: .venv/ready compile
	@bash tests/lab/setup test
	@bash tests/lab/run-tests

test-full: .venv/ready compile
	@bash tests/lab/setup full
	$(BIN)/pytest -q --full --basetemp .lab/full tests/full

check: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -q tests/unit tests/repo

check-kernel: .venv/ready compile
	@bash tests/lab/setup test
	$(BIN)/pytest tests/kernel

soak: .venv/ready compile
	@bash tests/lab/setup test
	@bash tests/lab/guest -m 1G -t 7200 bash -c 'python -m pytest -q -s tests/kernel/checks/soak*.py'

soak-records: .venv/ready
	@bash tests/lab/setup test
	@STORM_SECONDS=$(or $(SECONDS),300) $(BIN)/pytest -q -s tests/integration/storm

bench: .venv/ready compile
	@bash tests/lab/setup test
	@$(BIN)/python -m tests.bench --native
	@bash tests/lab/guest -m 1G -t 3600 python -m tests.bench

# The scenarios played with Debian's open-iscsi: shows that the runner and the expectations are right.
parity: .venv/ready compile
	@bash tests/lab/setup test
	@bash tests/lab/guest -o .lab/debian bash -c 'python -m tests.kernel.parity --programs debian --out $$LAB_OUT'

fuzz: .venv/ready
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60)

# Other sequences each time, and the one that fails made shorter; FUZZ_SEED=N repeats a run.
fuzz-cli: .venv/ready
	@bash tests/lab/setup test
	@FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} FUZZ_SEQUENCES=$${FUZZ_SEQUENCES:-500} \
		$(BIN)/pytest -q tests/differential

PREFIX ?= /usr/local
LAUNCHER ?= no
export PREFIX DESTDIR LAUNCHER

install: .venv/ready
	@PACKAGES="$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" etc/install

uninstall:
	@etc/install uninstall

fmt: .venv/ready
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv .lab .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
