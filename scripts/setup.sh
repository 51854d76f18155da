#!/bin/sh
# Makes .venv with the locked dependencies and an editable Hedgerow. Safe to run again: it does nothing when all is up to date.
# With the argument `run` it leaves out what only tests and checks need.
set -eu
cd "$(dirname "$0")/.."

kind=${1:-all}

# With sudo, .venv belongs to the owner of the folder all the same, who can then bring it up to date without sudo.
owner=$(stat -c %u .)
if [ "$(id -u)" = 0 ] && [ "$owner" != 0 ] && [ "${SUDO_UID:-}" = "$owner" ]; then
    exec sudo -H -u "#$owner" -- env PYTHON="${PYTHON:-}" scripts/setup.sh "$kind"
fi

lock=requirements.lock
stamp=.venv/.installed
wanted=$(cat "$lock" pyproject.toml setup.py hedgerow/blocklists/recognition/_pieces.c | cksum)
is_done() { [ "$(cat "$stamp" 2>/dev/null)" = "$1 $wanted" ]; }
if [ -x .venv/bin/hedgerow ] && { is_done all || is_done "$kind"; } && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

is_recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; }

find_python() {
    for name in ${PYTHON:-} python3.14 python3.13 python3.12 python3 /usr/bin/python3.14 /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3; do
        path=$(command -v "$name" 2>/dev/null) || continue
        if is_recent "$path"; then echo "$path"; return 0; fi
    done
    return 1
}

# An interpreter without ensurepip (Debian splits it off), or none at all: any Python 3 with pip can fetch uv, which makes the environment.
make_with_uv() {
    for any in python3 python3.14 python3.13 python3.12 python3.11 python python3.10; do
        command -v "$any" >/dev/null 2>&1 && "$any" -m pip --version >/dev/null 2>&1 && break
        any=
    done
    if [ -z "$any" ]; then
        echo "Hedgerow needs Python 3.12 or newer with its venv module, or any Python 3 with pip. On Debian: apt install python3-venv" >&2
        exit 2
    fi
    "$any" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --require-hashes --no-deps --target .tools -r scripts/uv.lock
    PYTHONPATH=.tools "$any" -m uv venv --quiet --seed --python "${1:-3.13}" .venv
}

if [ -x .venv/bin/pip ] && is_recent .venv/bin/python; then
    echo "Bringing .venv up to date" >&2
elif python=$(find_python); then
    echo "Setting up .venv with $("$python" -V)" >&2
    rm -rf .venv
    if ! "$python" -m venv .venv >/dev/null 2>&1; then
        rm -rf .venv
        make_with_uv "$python"
    fi
else
    echo "No Python 3.12 or newer here: looking for one with uv" >&2
    rm -rf .venv
    make_with_uv
fi
pip_install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore "$@"; }
if [ "$kind" = all ]; then
    pip_install --require-hashes -r "$lock"
    pip_install --no-deps --no-build-isolation -e . 2>/dev/null
else
    # setuptools, which builds the editable Hedgerow, is there only until then. Of the libraries, only what Hedgerow imports is compiled.
    builder=$(mktemp -d)
    trap 'rm -rf "$builder"' EXIT INT TERM
    .venv/bin/python -P packaging/runtime_lock.py . >"$builder/runtime.lock"
    .venv/bin/python -P packaging/runtime_lock.py --only setuptools . >"$builder/setuptools.lock"
    pip_install --no-compile --require-hashes -r "$builder/runtime.lock"
    pip_install --no-compile --require-hashes --target "$builder/site" -r "$builder/setuptools.lock"
    PYTHONPATH="$builder/site" pip_install --no-deps --no-build-isolation -e .
    env -u PYTHONDONTWRITEBYTECODE .venv/bin/python packaging/import_all.py
fi
printf '%s\n' "$kind $wanted" >"$stamp"
