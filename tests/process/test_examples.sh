#!/bin/bash
# Each of examples/interface is compiled with the flags that pkg-config tells, run, and prints what its first
# lines say.  Lines 'ok NAME', 'FAIL NAME' and 'skipped NAME reason' as tests/run reads them.
cd "$TMPDIR" || exit 1
export LC_ALL=C
bad=0
build=$(dirname "$(realpath "$TEST_ROOT/$TEST_PRELOAD" 2> /dev/null || realpath "$TEST_PRELOAD")")
flags="-Wall -Wextra -Werror -O1 -I$TEST_ROOT/include -L$build -Wl,-rpath,$build -pthread"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1

# NAME FILE COMMAND...: it prints what it says, and ends well
prints() {
    local name=$1 file=$2
    shift 2
    sed -n 's/^ *\** *prints: //p' "$file" | sed 's, \*/$,,' > wanted
    if timeout 60 "$@" > out 2> err && [ -s wanted ] && cmp -s out wanted && ! [ -s err ]; then
        echo "ok $name"
    else
        echo "FAIL $name: $(head -c 300 out err)"
        bad=1
    fi
}

for file in "$TEST_ROOT"/examples/interface/*; do
    base=$(basename "$file")
    name=example_$(tr . _ <<< "$base")
    case $base in
    ranks.c)
        command -v mpicc.mpich > /dev/null || { echo "skipped $name no MPI"; continue; }
        mpicc.mpich -std=c11 -D_GNU_SOURCE $flags "$file" -o program -lhshm 2> out ||
            { echo "FAIL $name: $(head -c 300 out)"; bad=1; continue; }
        prints "$name" "$file" mpirun.mpich -n 2 ./program;;
    *.c)
        cc -std=c11 -D_GNU_SOURCE $flags "$file" -o program -lhshm 2> out ||
            { echo "FAIL $name: $(head -c 300 out)"; bad=1; continue; }
        prints "$name" "$file" ./program;;
    *.cpp)
        command -v c++ > /dev/null || { echo "skipped $name no C++ compiler"; continue; }
        c++ -std=c++17 $flags "$file" -o program -lhshm 2> out ||
            { echo "FAIL $name: $(head -c 300 out)"; bad=1; continue; }
        prints "$name" "$file" ./program;;
    *.py)
        /usr/bin/python3 -c 'import numpy' 2> /dev/null || { echo "skipped $name no numpy"; continue; }
        prints "$name" "$file" env PYTHONPATH="$TEST_ROOT/bindings/python" LIBHSHM="$build/libhshm.so.0" \
            /usr/bin/python3 "$file";;
    esac
done
exit $bad
