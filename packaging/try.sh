#!/bin/bash
# Installs the packages of `make deb`, runs the demo with what was installed, removes them, and looks
# for leftovers.
#
#   packaging/try.sh            on this machine, as root
#   packaging/try.sh TREE       in a clean system tree, which debootstrap makes if it is not there
set -euo pipefail
cd "$(dirname "$0")/.."
tree=${1:-}
packages="libhshm-preload0 libhshm0 libhshm-dev hshm-tools python3-hshm"

if [ -n "$tree" ] && [ ! -x "$tree/usr/bin/dpkg" ]; then
    debootstrap --variant=minbase --include=python3,gcc,libc6-dev,libncursesw6 bookworm "$tree"
fi
root=${tree:-/}
debs=$(mktemp -d "$root/var/tmp/hshm-debs-XXXXXX")
trap 'rm -rf "$debs"' EXIT
cp build/deb/*.deb "$debs"
rm -f "$debs"/*dbgsym*
cp -r examples/demo "$debs/demo"

cat > "$debs/inside" <<'INSIDE'
set -eu
unset TMPDIR                # is this machine's, not the tree's
cd "$(dirname "$0")"
files() { find /bin/ /etc /lib/ /usr /var/lib -xdev ! -path '/var/lib/dpkg/*' ! -path '/etc/ld.so.cache' \
              ! -path '/usr/lib/python3*/__pycache__*' ! -name '*.pyc' 2> /dev/null | sort; }
files > before
dpkg -i ./*.deb
hshm version
hshm doctor || [ $? = 1 ]
library=$(ls /usr/lib/*/libhshm_preload.so.0)
LD_PRELOAD=libhshm_preload.so.0 HSHM_SEGMENT=installed /bin/sh -c 'hshm list' | grep -q '^installed '
[ "$(LD_PRELOAD=libhshm_preload-debug.so.0 HSHM_SEGMENT=installed hshm version)" = "$(hshm version)" ]
hshm run -s tree -- sh -c 'hshm who tree' | grep -q ' alive '
PRELOAD=$library TOOL=/usr/bin/hshm PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 demo/run
PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -c 'import hshm; hshm.Segment("tree").create("block", 9)[8] = 1'
hshm reclaim > /dev/null
dpkg -P python3-hshm hshm-tools libhshm-dev libhshm0 libhshm-preload0
files > after
echo "leftovers: $(diff before after | grep -c '^[<>]' || true)"
diff before after
if ls /dev/shm | grep hshm; then exit 1; fi
INSIDE
if [ -n "$tree" ]; then
    unshare --mount --pid --fork bash -c "
        mount -t proc proc $tree/proc && mount -t tmpfs -o size=2G tmpfs $tree/dev/shm &&
        mount --bind /dev/null $tree/dev/null &&
        chroot $tree sh /${debs#"$tree"/}/inside"
else
    unshare --mount bash -c "mount -t tmpfs -o size=2G tmpfs /dev/shm && sh $debs/inside"
fi
echo "installed, tried and removed: $packages"
