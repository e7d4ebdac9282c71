PYTHON ?= python
REF ?= HEAD

.PHONY: check format lint types layers test docs wheel token onprem

# Types and layers are checked beside the tests, which wait for processes now and then. Their output comes last.
check: lint
	@mkdir -p build
	@$(MAKE) --no-print-directory types layers > build/types.log 2>&1 & beside=$$!; \
	$(MAKE) --no-print-directory test; tested=$$?; \
	wait $$beside; typed=$$?; \
	cat build/types.log; \
	exit $$(( tested || typed ))

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lint:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

layers:
	$(PYTHON) -c "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"

# Three for two cores: tests of Ray and of outages wait half of the time.
test:
	$(PYTHON) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# The documentation as a site, in build/site. The tests build it too.
docs:
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict

# What the files in cluster/ install on every machine: these sources at the commit REF, as a wheel.
wheel:
	rm -rf build/wheel && mkdir -p build/wheel dist
	git rev-parse --verify "$(REF)^{commit}" > build/wheel.commit
	git archive --format=tar "$(REF)" | tar -x -C build/wheel
	cp build/wheel.commit build/wheel/raydarts/COMMIT
	$(PYTHON) -m pip wheel -q --no-deps -w dist build/wheel

# The token that a cluster and its users share: made once, then kept; nobody else on this machine can read it.
token:
	@umask 077; $(PYTHON) -m ray.scripts.scripts get-auth-token --generate > /dev/null
	@chmod 700 "$$HOME/.ray"; chmod 600 "$$HOME/.ray/auth_token"

# A real `ray up cluster/onprem.yaml` onto hosts made on this machine: Linux, as root. Minutes.
onprem:
	$(PYTHON) -m pytest -m cluster -s tests/cluster/test_onprem.py
