#!/bin/bash
# Install what building, testing and measuring need on Debian 12.
#
#   tests/deps.sh [demo|check|full]      install what is missing of a set (default: check)
#   tests/deps.sh --missing SET          only print the missing packages, one line; exit 1 if any
#   tests/deps.sh --table                print the table below
#
# A set contains the ones before it.  It prints the download size and asks, unless there is no
# terminal, or CI=true, or YES=1.  Without root it prints the line to run.  Services that come with
# the packages are not started, now or at boot: the tests start their own servers on free ports.
set -euo pipefail

# package                 set    present if this command exists   used for
table='
gcc                       demo   gcc          building
libc6-dev                 demo   -            building
make                      demo   make         building
python3                   demo   python3      the demo, the test runner
libncurses-dev            check  -            hshm top
libcriterion-dev          check  -            unit and process tests
pkg-config                check  pkg-config   install test
git                       check  git          program test
dash                      check  dash         program test
perl                      check  perl         program test
lua5.4                    check  -            program test
sqlite3                   check  sqlite3      program test
strace                    check  strace       tests that count system calls
ltrace                    check  ltrace       the test that counts malloc calls
gdb                       check  gdb          program test
valgrind                  check  valgrind     program test
spin                      check  spin         models of protocols
libc6-dbg                 check  -            valgrind
redis-server              check  -            server test
redis-tools               check  -            server test
nginx-light               check  nginx        server test
apache2-bin               check  apache2      server test
wrk                       check  wrk          load for nginx
postgresql-15             check  -            server test
stress-ng                 check  stress-ng    program test
procps                    check  ps           tests that look at processes
libjemalloc-dev           check  jeprof       tests of heap profiles
google-perftools          check  google-pprof tests of heap profiles
gcc-aarch64-linux-gnu     full   aarch64-linux-gnu-gcc tests on another machine
libc6-dev-arm64-cross     full   -            tests on another machine
gcc-riscv64-linux-gnu     full   riscv64-linux-gnu-gcc compiles for another machine
libc6-dev-riscv64-cross   full   -            compiles for another machine
qemu-user                 full   qemu-aarch64 tests on another machine
musl-tools                full   musl-gcc     tests with another C library
debhelper                 full   dh           make deb
dh-python                 full   -            make deb
dpkg-dev                  full   dpkg-buildpackage make deb
fakeroot                  full   fakeroot     make deb
lintian                   full   lintian      looks at the packages
debootstrap               full   debootstrap  tries the packages in a clean tree
systemd                   full   systemd-analyze looks at the units
python3-yaml              full   -            tries the container files
tmux                      check  tmux         tests that read the screen, program test
python3-jsonschema        check  -            tests of JSON
python3-numpy             check  -            tests of the Python package
python3-prometheus-client check  -            tests of metrics
zsh                       check  zsh          tests of completions
fish                      check  fish         tests of completions
g++                       check  g++          hshm.hpp, C++ programs
libmpich-dev              full   mpicxx.mpich MPI programs, hshm_mpi.h
mpich                     full   mpirun.mpich MPI programs, hshm_mpi.h
libboost-dev              full   -            bench, for comparison
libopenmpi-dev            full   mpicxx.openmpi MPI programs, hshm_mpi.h
openmpi-bin               full   mpirun.openmpi MPI programs, hshm_mpi.h
gcc-12-multilib           full   -            32-bit programs (gcc-multilib conflicts with cross compilers)
clang                     full   clang        second compiler, program test
libclang-rt-14-dev        full   -            fuzzing
clang-format              full   clang-format style
clang-tidy                full   clang-tidy   style
cppcheck                  full   cppcheck     style
libamdhip64-dev           full   -            a program of HIP, without a GPU
ruby                      full   ruby         program test
nodejs                    full   node         program test
default-jdk-headless      full   javac        program test
ghostscript               full   gs           program test
z3                        full   z3           program test
ffmpeg                    full   ffmpeg       program test
imagemagick               full   convert-im6.q16      program test
busybox-static            full   busybox      program test
vim                       full   vim          program test
cmake                     full   cmake        program test
tcl                       full   tclsh        program test
libxml2-utils             full   xmllint      program test
bc                        full   bc           program test
zstd                      full   zstd         program test
cpio                      full   cpio         program test
libpython3.11-testsuite   full   -            program test
man-db                    full   man          looks at the manual pages
gnuplot-nox               full   gnuplot      plots of the benches
libjemalloc2              full   -            bench, for comparison
libmimalloc2.0            full   -            bench, for comparison
libtcmalloc-minimal4      full   -            bench, for comparison
'

say() { printf 'deps: %s\n' "$*"; }

rank() { case $1 in demo) echo 1;; check) echo 2;; full) echo 3;; *) say "no set '$1': demo, check or full" >&2; exit 2;; esac; }

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing()                   # the packages of a set that are not here, on one line
{
    local limit package set command purpose out=
    limit=$(rank "$1")
    while read -r package set command purpose; do
        [ -n "$package" ] && [ "$(rank "$set")" -le "$limit" ] || continue
        [ "$command" != - ] && [ -n "$(command -v "$command")" ] && continue
        installed "$package" || out="$out $package"
    done <<< "$table"
    echo "${out# }"
}

case ${1:-} in
--table)   printf '%s' "$table"; exit;;
--missing) list=$(missing "${2:-check}"); echo "$list"; [ -z "$list" ]; exit;;
esac

set_name=${1:-check}
packages=$(missing "$set_name")
[ -n "$packages" ] || { say "everything of the set '$set_name' is here"; exit 0; }

if ! command -v apt-get > /dev/null; then
    say "this is not Debian; the set '$set_name' lacks what Debian calls: $packages" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    say "missing: $packages" >&2
    say "not root: run this line, then again what you ran" >&2
    echo "    sudo apt-get update && sudo apt-get install --no-install-recommends -y $packages" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt=(apt-get -q -o DPkg::Lock::Timeout=900)

"${apt[@]}" update > /dev/null < /dev/null || say "apt-get update failed; trying with the lists that are here" >&2
# One line per file to fetch: 'URI' name bytes checksum.  (--assume-no would not do: apt-get asks
# nothing, and installs, where no other packages come along.)
if ! files=$("${apt[@]}" install --no-install-recommends -qq --print-uris $packages 2>&1 < /dev/null); then
    echo "$files" >&2
    exit 1
fi
say "set '$set_name': $packages"
say "to download: $(awk '/^.http|^.ftp|^.file/ { n++; s += $3 } END { printf "%d packages, %.1f MB", n, s / 1e6 }' <<< "$files")"

if [ "${CI:-}" != true ] && [ "${YES:-}" != 1 ] && [ -t 0 ] && [ -t 1 ]; then
    read -r -p 'deps: install? [Y/n] ' answer
    case $answer in ''|y|Y|yes) ;; *) say 'nothing installed'; exit 1;; esac
fi

# 101 tells maintainer scripts (invoke-rc.d, deb-systemd-invoke) to start nothing.
policy=/usr/sbin/policy-rc.d
if [ "$("$policy" > /dev/null 2>&1 && echo 0 || echo $?)" != 101 ]; then
    saved=
    if [ -e "$policy" ]; then saved=$(mktemp "$policy.hshm-saved.XXXXXX"); mv "$policy" "$saved"; fi
    restore() { if [ -n "$saved" ]; then mv "$saved" "$policy"; else rm -f "$policy"; fi; }
    trap restore EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi

log=$(mktemp)
# shellcheck disable=SC2086  # a list of words
if ! "${apt[@]}" install --no-install-recommends -y $packages > "$log" 2>&1 < /dev/null; then
    tail -n 30 "$log" >&2
    say "apt-get install failed; all it said is in $log" >&2
    exit 1
fi
rm -f "$log"
for package in $packages; do        # only what this run has installed
    case $package in
    redis-server)  update-rc.d redis-server disable;;
    nginx-light)   update-rc.d nginx disable;;
    postgresql-15) update-rc.d postgresql disable;;
    esac
done > /dev/null 2>&1 || true
say "the set '$set_name' is complete"
