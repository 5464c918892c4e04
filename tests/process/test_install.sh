#!/bin/bash
# make install and uninstall, pkg-config, and the bare line of the README:
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

# Writes into a segment, as a program of its own.
cat > user.c << 'C'
#include <hshm.h>
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv)
{
    hshm_segment *segment;
    char *text;
    if (argc != 2 || hshm_version() != HSHM_API_VERSION || hshm_open(argv[1], NULL, &segment))
        return 1;
    text = hshm_alloc(segment, 100);
    if (!text)
        return 2;
    strcpy(text, "in the segment");
    puts(text);
    hshm_free(text);
    return hshm_close(segment);
}
C
# Below a folder, and away again.
check make_install_fills_a_folder $install install DESTDIR="$PWD/root" PREFIX=/usr
(cd root && find . ! -type d | sort) > files
check it_holds_the_libraries_the_command_the_headers_and_the_manual \
    sh -c 'for f in lib/libhshm_preload.so lib/libhshm_preload.so.0 lib/libhshm.so lib/libhshm.so.0 lib/libhshm.a bin/hshm \
        include/hshm.h include/hshm.hpp lib/pkgconfig/hshm.pc share/man/man1/hshm.1 share/man/man7/libhshm_preload.7; do
        grep -qx "./usr/$f" files || { echo no $f; exit 1; }; done'
check the_python_package_is_where_python3_looks \
    env LD_LIBRARY_PATH="$PWD/root/usr/lib" PYTHONPATH="$PWD/root/usr/lib/python3/dist-packages" PYTHONDONTWRITEBYTECODE=1 \
    /usr/bin/python3 -c "import hshm; s = hshm.Segment('install-$$'); s.create('x', 10)[3] = 1; assert s.find('x')[3] == 1"
if command -v pkg-config > /dev/null; then
    preload=$(PKG_CONFIG_PATH=root/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR= pkg-config --variable=preload hshm)
    check pkg_config_tells_where_the_preload_is test "$preload" = /usr/lib/libhshm_preload.so
    # Below a folder it is no folder of the system's, which pkg-config would leave out.
    flags="env PKG_CONFIG_PATH=root/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$PWD/root \
PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 pkg-config"
    check a_program_is_built_with_pkg_config_and_runs \
        sh -c "cc user.c -o user \$($flags --cflags --libs hshm) && LD_LIBRARY_PATH=root/usr/lib ./user install-$$ | grep -qx 'in the segment'"
    check and_with_the_static_library \
        sh -c "cc user.c -o static \$($flags --cflags hshm) root/usr/lib/libhshm.a -pthread && ./static install-$$ | grep -qx 'in the segment'"
else
    for name in pkg_config_tells_where_the_preload_is a_program_is_built_with_pkg_config_and_runs and_with_the_static_library; do
        echo "skipped $name no pkg-config"
    done
fi
check make_uninstall_leaves_nothing sh -c "$install uninstall DESTDIR=$PWD/root PREFIX=/usr && ! find root ! -type d | grep ."

bare=the_bare_line_of_the_README_works_from_any_shell_and_so_does_what_is_linked
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
for shell in /bin/bash /bin/dash /bin/zsh /usr/bin/fish '/bin/busybox sh'; do
    [ ! -x "${shell%% *}" ] ||
        $shell -c 'LD_PRELOAD=libhshm_preload.so HSHM_SEGMENT=name HSHM_VERBOSE=2 /bin/sleep 0' 2>&1 |
        grep -q 'joined segment name' || echo "not from $shell"
done
cd "$TMPDIR"
if command -v pkg-config > /dev/null; then
    cc user.c -o user $(pkg-config --cflags --libs hshm)
    env -i ./user name
else
    echo 'in the segment'
fi
eval "$INSTALL uninstall" >> installed 2>&1
find /usr/local ! -type d ! -path '/usr/local/upper*' ! -path '/usr/local/work*'
C
expected=$'/usr/local/lib/libhshm_preload.so\nin the segment'
said=$(INSTALL="$install" unshare --mount bash inside.sh 2>&1)
if [ "$said" = "$expected" ]; then
    echo "ok $bare"
else
    echo "FAIL $bare: $said $(head -c 300 installed)"
    bad=1
fi
exit $bad
