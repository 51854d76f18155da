# `make up` filters, `make test` tests; both set everything up first.
.PHONY: help up setup dev test quick test-times release repo image try-image try-packages check check-types check-rest fix lock pictures docs screenshots walk chaos fuzz redteam bench-lists bench-first-day bench-protection bench-dns bench-dns-growth soak-dns bench-dns-abuse soak-connections bench-proxy bench-web bench-scale bench-policy bench-gateway bench-tunnel bench-memory bench-start bench-parsers bench-abuse bench-pictures conformance

# Tools run without the root on sys.path: the links there (dns, proxy, …) are signposts, not packages.
export PYTHONSAFEPATH = 1
# Tests start hundreds of processes, each of which would otherwise compile all of its modules again.
unexport PYTHONDONTWRITEBYTECODE
BIN = .venv/bin

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: setup  ## Set everything up and filter; ARGS are options of `hedgerow up`
	@exec $(BIN)/hedgerow up $(ARGS)

test: dev  ## Run all tests, or those in ARGS
ifdef ARGS
	$(BIN)/pytest $(ARGS)
else
	@$(BIN)/python tools/run_tests.py all
endif

quick: dev  ## Run the unit tests without shared services, with few examples
	@$(BIN)/python tools/run_tests.py quick

test-times: dev  ## Run all tests, and record the seconds of each file and layer
	@$(BIN)/python tools/run_tests.py all --record

setup:  ## Create .venv with the locked dependencies of the program
	@scripts/setup.sh run

dev:  ## Create .venv with what tests and checks need too
	@scripts/setup.sh

check: check-types check-rest  ## Lint, types, import contracts, names and docstrings, coverage, and what must be blocked or open

# Takes most of the time of `check`, on one processor.
check-types: dev
	$(BIN)/mypy

check-rest: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/deptry hedgerow
	$(BIN)/python tools/check_prose.py
	$(BIN)/python tools/check_coverage.py
	$(BIN)/python tools/statements.py --check
	$(BIN)/python bench/protection.py --sample

fix: dev  ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Needs Chromium.
screenshots: dev  ## Take pictures of all pages of an invented family into build/screenshots
	$(BIN)/python tools/screenshots.py build/screenshots $(ARGS)

walk: dev  ## Tap 2,000 times at random on all pages; TAPS and SEED choose others
	TAPS=$(or $(TAPS),2000) SEED=$(or $(SEED),14) $(BIN)/pytest tests/e2e/test_random_walk.py -q

# Needs root, and what the laboratory needs.
redteam: dev  ## Try every way round the filter in network namespaces, and write docs/ways-round.md
	HEDGEROW_WRITE_DOCS=1 $(BIN)/pytest -q tests/lab/test_ways_round.py tests/lab/test_ways_round_closed.py

# Atheris stays apart from .venv, which needs no compiler's run-time libraries.
fuzz: dev  ## Fuzz the parsers of strangers' bytes; MINUTES and TARGETS choose how long and which
	@test build/fuzz-tools/.installed -nt tests/fuzz/requirements.lock || { \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --require-hashes --upgrade \
			--target build/fuzz-tools -r tests/fuzz/requirements.lock && touch build/fuzz-tools/.installed; }
	PYTHONPATH=build/fuzz-tools $(BIN)/python tools/fuzz.py --minutes $(or $(MINUTES),10) $(TARGETS)

chaos: dev  ## Break Hedgerow at random under its users' eyes; ROUNDS, SEED and ONLY choose
	PYTHONPATH=tests/support $(BIN)/python -m chaos.run --rounds $(or $(ROUNDS),50) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only "$(ONLY)")

bench-lists: dev  ## Measure compilation and URL look-ups
	$(BIN)/python bench/lists.py --write
	$(BIN)/python bench/urls.py --write

# Needs stored copies of public lists (ARGS="--data FOLDER").
bench-first-day: dev  ## Measure how many adult sites are blocked after the guide (ARGS="--unused FILE")
	$(BIN)/python bench/first_day.py --write $(ARGS)

# Needs stored copies of public lists and snapshots of public repositories (ARGS="--data FOLDER --mirrors FOLDER"), and dnsmasq.
bench-protection: dev  ## Measure what is blocked, and blocked by mistake, beside the peers
	$(BIN)/python bench/protection.py --write $(ARGS)
	$(BIN)/python bench/protection_topics.py --write $(ARGS)

# Needs squid-openssl, e2guardian, nginx, hey, curl and Chromium.
bench-proxy: dev  ## Measure tunnels, inspection, bodies and pages beside the peers
	$(BIN)/python bench/proxy_tunnel.py --write
	$(BIN)/python bench/proxy_inspect.py --write
	$(BIN)/python bench/proxy_bodies.py --write
	$(BIN)/python bench/proxy_page.py --write
	$(BIN)/python bench/budgets.py --write

# The extra `pictures` of pyproject.toml, beside the other dependencies.
pictures: setup  ## Install what judges pictures (picture_scan)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --require-hashes -r pictures.lock

# Needs nginx and Chromium, and what fetches the pictures: pip, npm and apt-get; ARGS=--fetch does that.
bench-pictures: dev pictures  ## Measure the judgement of pictures: false alarms, and the delay of pages
	$(BIN)/python bench/features/pictures/pictures.py alarms --write $(ARGS)
	$(BIN)/python bench/features/pictures/pictures.py pages --write

# Tools of releases stay apart from .venv. Needs lintian for the check of the packages, and apt-utils and gpg for the repository.
release: dev  ## Make wheel, sdist, Debian packages, SBOM and checksums of the last commit in dist; KEY signs, URL is the project's address
	@test build/release-tools/.installed -nt packaging/release-tools.lock || { \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --require-hashes --upgrade \
			--target build/release-tools -r packaging/release-tools.lock && touch build/release-tools/.installed; }
	PYTHONPATH=build/release-tools $(BIN)/python tools/release.py --out dist $(if $(KEY),--key "$(KEY)") $(if $(URL),--url "$(URL)") $(ARGS)

repo:  ## Add the packages in dist to the apt repository build/repo, signed with KEY; URL is the repository's address
	packaging/debian/repo.sh dist build/repo "$(KEY)" "$(URL)"

# Needs root, and what packaging/image/build.sh names.
image: dev  ## Build a disk for PCs with Debian and the last commit in dist, as .img and .qcow2
	packaging/image/build.sh dist

# Needs root, qemu-system-x86 and what `make image` needs; without KVM, it takes half an hour.
try-image: image  ## Boot that disk in QEMU, join its Wi-Fi with a simulated tablet, and pull the plug; ARGS are options
	nice $(BIN)/python packaging/image/try_image.py --write $(ARGS) dist/hedgerow_*_amd64.img

# Needs root, mmdebstrap, systemd-container, apt-utils, gpg, and the history of the repository.
try-packages: dev  ## Install, upgrade, downgrade, restore, purge and publish the Debian packages in machines of their own; PARTS chooses
	packaging/debian/try.sh $(PARTS)

# Needs uv; the lock names no index.
lock:  ## Write the lock files anew
	uv pip compile --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements.lock
	$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['pictures'], sep='\n')" | \
		uv pip compile --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-header -c requirements.lock - -o pictures.lock
	uv pip compile --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-header docs/requirements.in -o docs/requirements.lock
	uv pip compile --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-header tests/fuzz/requirements.in -o tests/fuzz/requirements.lock
	uv pip compile --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-header -c requirements.lock packaging/release-tools.in -o packaging/release-tools.lock

# MkDocs stays apart from .venv, whose versions it would change.
docs: dev  ## Build the documentation site into build/site
	@test build/docs-tools/.installed -nt docs/requirements.lock || { \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --require-hashes --upgrade \
			--target build/docs-tools -r docs/requirements.lock && touch build/docs-tools/.installed; }
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=build/docs-tools $(BIN)/python -m mkdocs build --strict

# Needs unbound, dnsmasq, dnsperf, pdns-recursor, knot-resolver and openssl.
bench-dns: dev  ## Measure the resolver beside the peers
	$(BIN)/python bench/dns.py --out bench/results/dns.md $(ARGS)
	$(BIN)/python bench/budgets.py --write

# Needs unbound, dnsmasq and dnsperf, and three gigabytes of memory for the longest list.
bench-dns-growth: dev  ## Measure how the resolver's CPU per query grows beside Unbound's, and draw it
	$(BIN)/python bench/dns_growth.py --out bench/results/dns_growth.md --pictures docs/images $(ARGS)

# Needs dnsmasq and dnsperf; ten million queries take half a minute to several minutes.
soak-dns: dev  ## Ask the resolver ten million queries
	$(BIN)/python bench/dns_soak.py --out bench/results/dns_soak.md $(ARGS)

# Needs unbound, dnsmasq and openssl.
bench-dns-abuse: dev  ## Measure plain DNS while another device abuses encrypted DNS
	$(BIN)/python bench/dns_abuse.py --out bench/results/dns_abuse.md $(ARGS)

# Needs dnsmasq and openssl; an hour with 100,000 connections for each transport.
soak-connections: dev  ## Open 100,000 short connections over each DNS transport
	$(BIN)/python bench/dns_connections.py --out bench/results/dns_connections.md $(ARGS)

bench-web: dev  ## Measure pages over a large journal
	$(BIN)/python -P bench/web.py $(ARGS)

# Needs a quiet machine, and minutes for 20,000 devices.
bench-scale: dev  ## Measure pages, API and changes with up to 20,000 devices and 2,000 people
	$(BIN)/python -P bench/scale.py --write $(ARGS)

bench-policy: dev  ## Measure decide and policy changes
	$(BIN)/python -P bench/policy.py --out bench/results/policy.md $(ARGS)

# Needs root, and what the laboratory needs.
bench-gateway: dev  ## Measure forwarding through the gateway
	$(BIN)/python bench/gateway.py --write $(ARGS)

bench-tunnel: dev  ## Measure the tunnel home beside plain WireGuard, and twenty phones at once
	$(BIN)/python bench/tunnel.py --write $(ARGS)

# Needs squid-openssl for the comparison.
conformance: dev  ## Run the conformance suites beside the peers and write bench/results/conformance.md; ARGS choose areas
	$(BIN)/python tools/conformance.py --write $(ARGS)

bench-parsers: dev  ## Measure the CPU time of parsers over the size of their input, and draw it
	$(BIN)/python bench/parsers.py --write $(ARGS)

# Needs nginx.
bench-abuse: dev  ## Attack the inspector and measure another device's requests
	$(BIN)/python bench/abuse.py --write $(ARGS)

# Needs dnsperf and curl.
bench-memory: dev  ## Measure the memory of all processes
	$(BIN)/python bench/memory.py --write
	$(BIN)/python bench/budgets.py --write

bench-start: dev  ## Measure the processor time of a start
	$(BIN)/python bench/start.py --write
	$(BIN)/python bench/budgets.py --write
