# `make up` filters, `make test` tests; both set everything up first.
.PHONY: up test setup check fix lock bench-lists bench-dns soak-dns bench-proxy bench-web bench-policy bench-gateway bench-memory

# Tools run without the root on sys.path: the links there (dns, proxy, …) are signposts, not packages.
export PYTHONSAFEPATH = 1
# Tests start hundreds of processes, each of which would otherwise compile all of its modules again.
unexport PYTHONDONTWRITEBYTECODE
BIN = .venv/bin

# Side by side, and one more than there are processors, since tests mostly wait. What failed is tried once more with the machine to itself.
twice = $(BIN)/pytest -n $$(($$(nproc) + 1)) --dist loadfile --no-loadscope-reorder $(1) || { echo "Once more, by itself:"; $(BIN)/pytest --last-failed --last-failed-no-failures none $(1); }

up: setup
	@exec $(BIN)/hedgerow up $(ARGS)

test: setup
ifdef ARGS
	$(BIN)/pytest $(ARGS)
else
	$(call twice,--ignore=tests/e2e --ignore=tests/lab)
	$(call twice,tests/e2e tests/lab)
endif

setup:
	@scripts/setup.sh

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-lists: setup
	$(BIN)/python bench/lists.py --write
	$(BIN)/python bench/urls.py --write

# Needs squid-openssl, e2guardian, nginx, hey, curl and Chromium.
bench-proxy: setup
	$(BIN)/python bench/proxy_tunnel.py --write
	$(BIN)/python bench/proxy_inspect.py --write
	$(BIN)/python bench/proxy_bodies.py --write
	$(BIN)/python bench/proxy_page.py --write

# Needs uv; the lock names no index.
lock:
	uv pip compile --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements.lock

# Needs unbound, dnsmasq, dnsperf, pdns-recursor, knot-resolver and openssl.
bench-dns: setup
	$(BIN)/python bench/dns.py --out bench/results/dns.md $(ARGS)

# Needs dnsmasq and dnsperf; ten million queries take half a minute to several minutes.
soak-dns: setup
	$(BIN)/python bench/dns_soak.py --out bench/results/dns_soak.md $(ARGS)

bench-web: setup
	$(BIN)/python -P bench/web.py $(ARGS)

bench-policy: setup
	$(BIN)/python -P bench/policy.py --out bench/results/policy.md $(ARGS)

# Needs root, and what the laboratory needs.
bench-gateway: setup
	$(BIN)/python bench/gateway.py --write $(ARGS)

# Needs dnsperf and curl.
bench-memory: setup
	$(BIN)/python bench/memory.py --write
