#!/bin/sh
# Builds hedgerow_VERSION_ARCH.deb of the last commit in a directory (default: dist). Needs dpkg-deb, python3 with venv, and `make dev`.
# The package contains a virtual environment, /opt/hedgerow, for the python3 of the Debian release on which it is built. ARCHITECTURE=arm64
# builds for that one instead, from its wheels; LIBRARIES=no leaves the libraries out, for a quick check. The same commit gives the same
# package, octet by octet. It has the extension in C if there is a compiler for its architecture (gcc; gcc-aarch64-linux-gnu), and python3-dev.
set -eu
umask 022
cd "$(dirname "$0")/../.."
out=$(mkdir -p "${1:-dist}" && cd "${1:-dist}" && pwd)
python=${PYTHON:-/usr/bin/python3}
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
architecture=${ARCHITECTURE:-$(dpkg --print-architecture)}
case $architecture in
amd64) machine=x86_64 ;;
arm64) machine=aarch64 ;;
*) echo "There is no package for $architecture: amd64 and arm64 are known" >&2 && exit 2 ;;
esac
minor=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
next=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1] + 1}")')
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
root=$work/root
home=$root/opt/hedgerow
packages=$home/lib/python$minor/site-packages

# Debian's python3 is linked against a C library of at least this version, so that wheels for all older ones run.
glibc=$(ldd --version | sed -n '1s/.* 2\.//p')
platforms="--platform linux_$machine --platform manylinux2014_$machine"
for number in $(seq 5 "$glibc"); do platforms="$platforms --platform manylinux_2_${number}_$machine"; done

pip_wheel() { .venv/bin/python -m pip --disable-pip-version-check --quiet wheel --no-deps --no-build-isolation --wheel-dir "$work" "$@"; }
# shellcheck disable=SC2086 # a list
pip_install() {
    .venv/bin/python -m pip --disable-pip-version-check --quiet --python "$home/bin/python" install --root-user-action=ignore --no-compile \
        --no-deps --target "$packages" --only-binary=:all: $platforms --implementation cp --python-version "$minor" \
        --abi "cp$(echo "$minor" | tr -d .)" --abi abi3 --abi none "$@"
}
# The last commit, so that no uncommitted change gets in and no build file is left in the checkout.
git archive --prefix=source/ HEAD | tar -x -C "$work"
mkdir -p "$root/DEBIAN" "$home"
"$python" -m venv --without-pip --symlinks "$home"
if [ "${LIBRARIES:-yes}" = yes ]; then
    # All libraries but one, in pure Python, publish wheels.
    .venv/bin/python -P packaging/runtime_lock.py --without http-ece "$work/source" >"$work/runtime.lock"
    .venv/bin/python -P packaging/runtime_lock.py --only http-ece "$work/source" >"$work/built.lock"
    pip_wheel --require-hashes -r "$work/built.lock"
    pip_install --require-hashes -r "$work/runtime.lock"
fi
export HEDGEROW_COMMIT
HEDGEROW_COMMIT=$(git rev-parse HEAD)
if [ "$architecture" != "$(dpkg --print-architecture)" ]; then
    if command -v "$machine-linux-gnu-gcc" >/dev/null; then
        # In what the limited API needs of it, pyconfig.h is the same for both architectures.
        mkdir "$work/headers"
        ln -s "/usr/include/$(uname -m)-linux-gnu" "$work/headers/$machine-linux-gnu"
        export CC="$machine-linux-gnu-gcc" LDSHARED="$machine-linux-gnu-gcc -shared" CFLAGS="-I$work/headers" _PYTHON_HOST_PLATFORM="linux-$machine"
    else
        export HEDGEROW_PURE=1
    fi
fi
pip_wheel "$work/source"
pip_install "$work"/*.whl

# Keep only our command, and no path of the build.
find "$home/bin" -mindepth 1 ! -name 'python*' -delete
cat >"$home/bin/hedgerow" <<'END'
#!/opt/hedgerow/bin/python -P
import sys

from hedgerow.app.cli import main

sys.exit(main())
END
chmod 755 "$home/bin/hedgerow"
rm -rf "$packages/bin" "$packages/share" "$home/include" "$home/lib64" "$home/.gitignore"
printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = %s\nexecutable = /usr/bin/python%s\n' "$minor" "$minor" >"$home/pyvenv.cfg"
ln -sfn "/usr/bin/python$minor" "$home/bin/python3"
# pip describes the wheel's place, and a command that it has made and we replace.
find "$packages" -name direct_url.json -delete
sed -i -e '/\/direct_url\.json,/d' -e '/^\.\.\/\.\.\/bin\//d' "$packages"/*.dist-info/RECORD
find "$packages" -name '*.so*' -exec chmod 644 {} +
# One process, without the caller's environment and site modules (-I -S): a module's octets may depend on what else the process knows, such as modules
# that it has compiled, or those that a machine imports at the start from PYTHONPATH, which `make release` sets. Sources and modules come in one package, so that no
# start needs to compare them.
"$python" -I -S -m compileall -q -j 1 -s "$root" -p / --invalidation-mode unchecked-hash "$packages" || true

cd "$work/source"
install -D -m 755 packaging/debian/hedgerow.sh "$root/usr/bin/hedgerow"
install -D -m 644 packaging/debian/hedgerow.yaml "$root/usr/share/hedgerow/hedgerow.yaml"
install -D -m 644 packaging/debian/default "$root/etc/default/hedgerow"
install -D -m 644 -t "$root/usr/lib/systemd/system" packaging/systemd/*
documents=$root/usr/share/doc/hedgerow
install -D -m 644 -t "$documents" README.md CHANGELOG.md docs/ways-round.md
install -D -m 644 -t "$documents/install" docs/install/*.md
install -D -m 644 -t "$documents/examples" examples/*.yaml
install -m 644 packaging/debian/copyright "$documents/copyright"
install -D -m 644 packaging/debian/lintian-overrides "$root/usr/share/lintian/overrides/hedgerow"
mkdir -p "$root/usr/share/man/man1"
gzip -9 --no-name <packaging/debian/hedgerow.1 >"$root/usr/share/man/man1/hedgerow.1.gz"
gzip -9 --no-name >"$documents/changelog.gz" <<END
hedgerow ($version) stable; urgency=medium

  * See CHANGELOG.md in this directory.

 -- The Hedgerow authors <hedgerow@hedgerow.example>  $(date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")
END

size=$(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)
sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@SIZE@/$size/; s/@PYTHON@/$minor/; s/@NEXT@/$next/" \
    packaging/debian/control.in >"$root/DEBIAN/control"
echo /etc/default/hedgerow >"$root/DEBIAN/conffiles"
install -m 755 -t "$root/DEBIAN" packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm
(cd "$root" && find opt usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
find "$root" -print0 | xargs -0 -r touch --no-dereference --date="@$SOURCE_DATE_EPOCH"

package=$out/hedgerow_${version}_${architecture}.deb
# xz, since other tools of Debian do not read zstd; its first levels take little time.
dpkg-deb --root-owner-group -Zxz -z2 --build "$root" "$package" >/dev/null
echo "$package"
