#!/bin/sh
# Run tests on aarch64 in emulation (qemu-user), in a folder of its own: Debian's Python and the wheels of requirements.lock for that
# architecture. It shows that each dependency has a wheel, and that the structures of system calls have the right sizes and alignment.
# Needs apt-get, dpkg-deb and .venv. The kernel's confinement can't be tried so.
#
# Usage: scripts/try-aarch64.sh [FOLDER [TEST...]]
set -eu
cd "$(dirname "$0")/.."
folder=${1:-/tmp/hedgerow-aarch64}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- tests/dns/server/test_udp_batch.py tests/test_proxy_protocol.py tests/test_codec.py
mkdir -p "$folder/state/lists/partial" "$folder/cache/archives/partial" "$folder/packages" "$folder/wheels" "$folder/site" "$folder/root"
touch "$folder/state/status"
cat >"$folder/apt.conf" <<EOF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir::State "$folder/state";
Dir::State::status "$folder/state/status";
Dir::Cache "$folder/cache";
EOF
libraries="libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libffi8 libssl3t64 liblzma5 libbz2-1.0 libsqlite3-0 libuuid1 libzstd1"
(
    cd "$folder/packages"
    apt-get download qemu-user
    export APT_CONFIG="$folder/apt.conf"
    apt-get update
    # shellcheck disable=SC2086 # a list
    apt-get download python3.13-minimal libpython3.13-minimal libpython3.13-stdlib $libraries
)
for package in "$folder"/packages/*_arm64.deb; do dpkg-deb -x "$package" "$folder/root"; done
dpkg-deb -x "$folder"/packages/qemu-user_*.deb "$folder/qemu"
ln -sfn usr/lib "$folder/root/lib"
# All libraries but one, in pure Python, publish wheels.
.venv/bin/python -P packaging/runtime_lock.py --constraints --only http-ece . >"$folder/built.txt"
.venv/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$folder/wheels" --requirement "$folder/built.txt"
.venv/bin/python -P packaging/runtime_lock.py --constraints --without http-ece . | grep -vE "sys_platform == '(win32|darwin)'|os_name == 'nt'" | sed 's/ *;.*//' \
    >"$folder/requirements.txt"
printf '%s\n' pytest pytest-timeout iniconfig pluggy packaging hypothesis sortedcontainers attrs >>"$folder/requirements.txt"
.venv/bin/python -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.13 --implementation cp --abi cp313 --abi abi3 \
    --abi none --platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux_2_28_aarch64 \
    --platform manylinux_2_34_aarch64 --dest "$folder/wheels" --requirement "$folder/requirements.txt"
for wheel in "$folder"/wheels/*.whl; do .venv/bin/python -m zipfile -e "$wheel" "$folder/site"; done
export PYTHONHOME="$folder/root/usr" PYTHONPATH="$folder/site:$PWD" PYTHONDONTWRITEBYTECODE=1
exec "$folder/qemu/usr/bin/qemu-aarch64" -L "$folder/root" "$folder/root/usr/bin/python3.13" -m pytest -q -p no:cacheprovider --timeout 600 "$@"
