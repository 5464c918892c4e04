#!/bin/bash
# make install, and the bare line of the README:
#     LD_PRELOAD=libhshm_preload.so HSHM_SEGMENT=name program
# As root in a mount namespace, over copies of /usr/local and /etc that go with it; else below a
# folder (DESTDIR).  Lines 'ok NAME', 'FAIL NAME' and 'skipped NAME reason' as tests/run reads them.
cd "$TMPDIR" || exit 1
export LC_ALL=C
bad=0
# NAME CONDITION...
check() {
    local name=$1
    shift
    if "$@" > out 2>&1; then
        echo "ok $name"
    else
        echo "FAIL $name: $(head -c 300 out)"
        bad=1
    fi
}
build=$(basename "$(dirname "$TEST_PRELOAD")")
install="make -s -C $TEST_ROOT B=$build"

# Below a folder, and away again.
check make_install_fills_a_folder $install install DESTDIR="$PWD/root" PREFIX=/usr
(cd root && find . ! -type d | sort) > files
check it_holds_the_library_the_command_and_the_manual \
    sh -c 'for f in lib/libhshm_preload.so lib/libhshm_preload.so.0 bin/hshm lib/pkgconfig/hshm.pc share/man/man1/hshm.1 share/man/man7/libhshm_preload.7; do
        grep -qx "./usr/$f" files || { echo no $f; exit 1; }; done'
if command -v pkg-config > /dev/null; then
    preload=$(PKG_CONFIG_PATH=root/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR= pkg-config --variable=preload hshm)
    check pkg_config_tells_where_the_preload_is test "$preload" = /usr/lib/libhshm_preload.so
else
    echo "skipped pkg_config_tells_where_the_preload_is no pkg-config"
fi
check make_uninstall_leaves_nothing sh -c "$install uninstall DESTDIR=$PWD/root PREFIX=/usr && ! find root ! -type d | grep ."

bare=the_bare_line_of_the_README_works
if [ "$(id -u)" != 0 ] || ! unshare --mount mount -t tmpfs tmpfs /usr/local 2> /dev/null; then
    echo "skipped $bare needs root"
    exit $bad
fi
cat > inside.sh <<'C'
set -e
mount -t tmpfs tmpfs /usr/local
mkdir /usr/local/upper /usr/local/work
mount -t overlay -o lowerdir=/etc,upperdir=/usr/local/upper,workdir=/usr/local/work overlay /etc
mount -t tmpfs tmpfs /var/cache/ldconfig 2> /dev/null || true
eval "$INSTALL install" > installed 2>&1
ldconfig
cd /
sh -c 'LD_PRELOAD=libhshm_preload.so HSHM_SEGMENT=name HSHM_VERBOSE=2 sleep 0'  2>&1 | grep -q 'joined segment name'
sh -c 'LD_PRELOAD=libhshm_preload.so HSHM_SEGMENT=name ls /usr/local/lib/libhshm_preload.so' 2>&1
C
expected=/usr/local/lib/libhshm_preload.so
said=$(INSTALL="$install" unshare --mount bash inside.sh 2>&1)
if [ "$said" = "$expected" ]; then
    echo "ok $bare"
else
    echo "FAIL $bare: $said $(head -c 300 installed)"
    bad=1
fi
exit $bad
