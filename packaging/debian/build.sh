#!/bin/sh
# Builds hedgerow_VERSION_ARCH.deb in a directory (default: dist). Needs dpkg-deb, python3 with venv, and the project's .venv.
# The package contains a virtual environment, /opt/hedgerow, for the python3 of the Debian release on which it is built.
set -eu
cd "$(dirname "$0")/../.."
out=$(mkdir -p "${1:-dist}" && cd "${1:-dist}" && pwd)
python=${PYTHON:-/usr/bin/python3}
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
architecture=$(dpkg --print-architecture)
minor=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
next=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1] + 1}")')
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
root=$work/root
home=$root/opt/hedgerow

mkdir -p "$root/DEBIAN" "$home"
"$python" -m venv --without-pip --symlinks "$home"
.venv/bin/python -P packaging/debian/runtime_lock.py . >"$work/runtime.lock"
packages=$home/lib/python$minor/site-packages
.venv/bin/python -m pip --disable-pip-version-check --quiet --python "$home/bin/python" install --root-user-action=ignore --no-compile \
    --require-hashes -r "$work/runtime.lock"
# From a copy of the last commit, so that no uncommitted change gets in and no build file is left in the checkout.
export HEDGEROW_COMMIT
HEDGEROW_COMMIT=$(git rev-parse HEAD)
git archive HEAD hedgerow pyproject.toml setup.py README.md LICENSE | tar -x -C "$work"
.venv/bin/python -m pip --disable-pip-version-check --quiet install --root-user-action=ignore --no-compile --no-deps --no-build-isolation \
    --target "$packages" "$work"

# Keep only our command, and no path of the build.
find "$home/bin" -mindepth 1 ! -name 'python*' ! -name hedgerow -delete
cat >"$home/bin/hedgerow" <<'END'
#!/opt/hedgerow/bin/python -P
import sys

from hedgerow.app.cli import main

sys.exit(main())
END
chmod 755 "$home/bin/hedgerow"
rm -rf "$packages"/bin "$packages"/pip "$packages"/pip-* "$home"/include "$home"/lib64
printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = %s\nexecutable = /usr/bin/python%s\n' "$minor" "$minor" >"$home/pyvenv.cfg"
ln -sfn "/usr/bin/python$minor" "$home/bin/python3"
find "$packages" -name direct_url.json -delete
"$python" -m compileall -q -j 0 -s "$root" -p / "$packages" || true

install -D -m 755 packaging/debian/hedgerow.sh "$root/usr/bin/hedgerow"
install -D -m 644 packaging/debian/hedgerow.yaml "$root/usr/share/hedgerow/hedgerow.yaml"
install -D -m 644 packaging/debian/default "$root/etc/default/hedgerow"
install -D -m 644 -t "$root/usr/lib/systemd/system" packaging/systemd/*
documents=$root/usr/share/doc/hedgerow
install -D -m 644 -t "$documents" README.md CHANGELOG.md docs/ways-round.md
install -D -m 644 -t "$documents/install" docs/install/*.md
install -D -m 644 -t "$documents/examples" examples/*.yaml
install -m 644 LICENSE "$documents/copyright"

size=$(du -sk --exclude=DEBIAN "$root" | cut -f1)
sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@SIZE@/$size/; s/@PYTHON@/$minor/; s/@NEXT@/$next/" \
    packaging/debian/control.in >"$root/DEBIAN/control"
echo /etc/default/hedgerow >"$root/DEBIAN/conffiles"
install -m 755 -t "$root/DEBIAN" packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm
(cd "$root" && find opt usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
find "$root" -newermt "@$SOURCE_DATE_EPOCH" -print0 | xargs -0 -r touch --no-dereference --date="@$SOURCE_DATE_EPOCH"

package=$out/hedgerow_${version}_${architecture}.deb
dpkg-deb --root-owner-group -Zzstd --build "$root" "$package" >/dev/null
echo "$package"
