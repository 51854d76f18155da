#!/bin/sh
# Builds hedgerow_VERSION_amd64.img, a disk for PCs with BIOS or UEFI, and the same as .qcow2, in a directory (default: dist). Needs root,
# mmdebstrap, squashfs-tools, mtools, dosfstools, e2fsprogs, fdisk, qemu-utils, syslinux, systemd-boot-efi, Debian's archive and `make dev`.
# PACKAGES is a folder with a Debian package that is built already. FIRMWARE names packages with the firmware of radios ("" for none).
# Times, ids and names are fixed, so that the same commit and the same packages of Debian should give the same disk; nobody has compared two yet.
set -eu
umask 022
cd "$(dirname "$0")/../.."
out=$(mkdir -p "${1:-dist}" && cd "${1:-dist}" && pwd)
here=$PWD/packaging/image
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export LC_ALL=C TZ=UTC
firmware=${FIRMWARE-firmware-atheros firmware-mediatek firmware-realtek}
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT INT TERM
. "$here/layout"

packages=${PACKAGES:-$work/packages}
package=$packages/hedgerow_${version}_amd64.deb
[ -e "$package" ] || packaging/debian/build.sh "$packages"

include=$(sed 's/#.*//' "$here/packages" | xargs | tr ' ' ,)
root=$work/root
# shellcheck disable=SC2016 # the hooks' own variables
mmdebstrap --quiet --variant=minbase --components="main${firmware:+ non-free-firmware}" \
    --include="$include${firmware:+,$(echo "$firmware" | tr ' ' ,)}" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --aptopt='Acquire::Languages "none"' \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"; echo RESUME=none >"$1/etc/initramfs-tools/conf.d/resume"' \
    --customize-hook="cp '$package' \"\$1/hedgerow.deb\"; chroot \"\$1\" dpkg --install /hedgerow.deb; rm \"\$1/hedgerow.deb\"" \
    --customize-hook="'$here/customise.sh' \"\$1\" '$here/files'" \
    "${RELEASE:-trixie}" "$root"
"$here/contents.sh" "$root"

# The boot partition: the kernel, a loader for BIOS and one for UEFI, and room for hedgerow.txt.
boot=$work/boot.img
truncate -s "${BOOT_MIB}M" "$boot"
mkfs.vfat --invariant -F 32 -n HEDGEROW -i "$BOOT_VOLUME" "$boot" >/dev/null
options="root=PARTUUID=$SYSTEM_UUID rootfstype=squashfs ro quiet panic=10 systemd.ssh_auto=no console=ttyS0,115200 console=tty0"
mkdir -p "$work/loader"
printf 'timeout 0\n' >"$work/loader/loader.conf"
printf 'title Hedgerow\nlinux /vmlinuz\ninitrd /initrd.img\noptions %s\n' "$options" >"$work/loader/hedgerow.conf"
printf 'DEFAULT hedgerow\nLABEL hedgerow\nLINUX /vmlinuz\nINITRD /initrd.img\nAPPEND %s\n' "$options" >"$work/loader/syslinux.cfg"
export MTOOLS_SKIP_CHECK=1
mmd -i "$boot" ::/EFI ::/EFI/BOOT ::/loader ::/loader/entries ::/syslinux
mcopy -i "$boot" "$root"/boot/vmlinuz-* ::/vmlinuz
mcopy -i "$boot" "$root"/boot/initrd.img-* ::/initrd.img
mcopy -i "$boot" /usr/lib/systemd/boot/efi/systemd-bootx64.efi ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$boot" "$work/loader/loader.conf" ::/loader/loader.conf
mcopy -i "$boot" "$work/loader/hedgerow.conf" ::/loader/entries/hedgerow.conf
mcopy -i "$boot" "$work/loader/syslinux.cfg" ::/syslinux/syslinux.cfg
syslinux --directory /syslinux --install "$boot"

rm -rf "$root"/boot/* "$root"/initrd.img* "$root"/vmlinuz*
system=$work/system.img
mksquashfs "$root" "$system" -comp zstd -Xcompression-level 15 -no-progress -quiet -noappend >/dev/null

# Empty: the first boot fills it, and makes it as large as the disk allows.
state=$work/state.img
truncate -s "${STATE_MIB}M" "$state"
E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -t ext4 -L hedgerow-state -U "$STATE_UUID" -E "hash_seed=$STATE_UUID" -m 1 "$state"

disk=$out/hedgerow_${version}_amd64.img
system_mib=$(($(stat -c %s "$system") / 1048576 + 1))
rm -f "$disk"
truncate -s "$((1 + BOOT_MIB + SYSTEM_MIB + STATE_MIB + 1))M" "$disk"
[ "$system_mib" -le "$SYSTEM_MIB" ] || { echo "The system has $system_mib MiB, and its partition $SYSTEM_MIB" >&2; exit 1; }
sfdisk --quiet "$disk" <<TABLE
label: gpt
label-id: $DISK_UUID
first-lba: 2048
start=1MiB, size=${BOOT_MIB}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=$BOOT_UUID, name=hedgerow-boot, attrs=LegacyBIOSBootable
start=$((1 + BOOT_MIB))MiB, size=${SYSTEM_MIB}MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=$SYSTEM_UUID, name=hedgerow-system
start=$((1 + BOOT_MIB + SYSTEM_MIB))MiB, size=${STATE_MIB}MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=$STATE_UUID, name=hedgerow-state
TABLE
dd if=/usr/lib/syslinux/mbr/gptmbr.bin of="$disk" conv=notrunc status=none
dd if="$boot" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$system" of="$disk" bs=1M seek=$((1 + BOOT_MIB)) conv=notrunc,sparse status=none
dd if="$state" of="$disk" bs=1M seek=$((1 + BOOT_MIB + SYSTEM_MIB)) conv=notrunc,sparse status=none
qemu-img convert -q -c -O qcow2 "$disk" "${disk%.img}.qcow2"
(cd "$out" && sha256sum "$(basename "$disk")" "$(basename "${disk%.img}.qcow2")" >"$(basename "$disk").sha256")
du -sm "$root" | sed 's/\t.*/ MB in the system, unpacked/'
ls -l "$disk" "${disk%.img}.qcow2"
