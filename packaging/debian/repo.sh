#!/bin/sh
# Adds the Debian packages of a directory to an apt repository, and signs it. Packages that are in it already stay.
# Needs apt-ftparchive (package apt-utils) and gpg. Serve the directory with any web server.
# Usage: repo.sh PACKAGES REPOSITORY KEY [URL]
set -eu
packages=$1 repository=$2 key=$3 url=${4:-https://apt.hedgerow.example}
test -n "$key" || { echo "Name the gpg key that signs the repository: make repo KEY=" >&2; exit 2; }
gpg --batch --list-secret-keys "$key" >/dev/null || exit 2
pool=pool/main/h/hedgerow dist=dists/stable
mkdir -p "$repository/$pool" # made once, and never emptied
cp "$packages"/hedgerow_*.deb "$repository/$pool"
cd "$repository"
architectures=
for package in "$pool"/*.deb; do
    architecture=$(dpkg-deb -f "$package" Architecture)
    case " $architectures " in *" $architecture "*) ;; *) architectures="$architectures $architecture" ;; esac
done
rm -rf "$dist.new"
for architecture in $architectures; do
    index=$dist.new/main/binary-$architecture
    mkdir -p "$index"
    apt-ftparchive --arch "$architecture" packages "$pool" >"$index/Packages"
    gzip --keep --no-name -9 "$index/Packages"
done
apt-ftparchive -o APT::FTPArchive::Release::Origin=Hedgerow -o APT::FTPArchive::Release::Label=Hedgerow \
    -o APT::FTPArchive::Release::Suite=stable -o APT::FTPArchive::Release::Codename=stable \
    -o APT::FTPArchive::Release::Components=main -o "APT::FTPArchive::Release::Architectures=${architectures# }" \
    release "$dist.new" >release.new
mv release.new "$dist.new/Release"
gpg --batch --yes --local-user "$key" --digest-algo SHA256 --clearsign --output "$dist.new/InRelease" "$dist.new/Release"
gpg --batch --yes --local-user "$key" --digest-algo SHA256 --armor --detach-sign --output "$dist.new/Release.gpg" "$dist.new/Release"
rm -rf "$dist"
mv "$dist.new" "$dist"
gpg --batch --yes --export --output hedgerow-archive-keyring.gpg "$key"
cat >hedgerow.sources <<END
Types: deb
URIs: $url
Suites: stable
Components: main
Signed-By: /usr/share/keyrings/hedgerow-archive-keyring.gpg
END
echo "$repository: ${architectures# }"
