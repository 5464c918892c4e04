#!/bin/bash
# find_package(hshm) of CMake, on what make install has put below a folder: in C, C++ and with the
# static library, also where the tree was moved or is found through a link.   timeout: 120
cd "$TMPDIR" || exit 1
export LC_ALL=C
unset CMAKE_PREFIX_PATH
if ! command -v cmake > /dev/null; then echo "there is no cmake"; exit 77; fi
bad=0
check()                     # NAME COMMAND...
{
    local name=$1
    shift
    if "$@" > said 2>&1; then echo "ok $name"; else echo "FAIL $name: $(tail -c 400 said | tr '\n' ' ')"; bad=1; fi
}
multiarch=$(gcc -print-multiarch)
install="make -s -C $TEST_ROOT B=$(basename "$(dirname "$TEST_PRELOAD")") install"
$install DESTDIR="$PWD/first" PREFIX=/usr LIBDIR="/usr/lib/$multiarch" > said 2>&1 || { cat said; exit 1; }
mv first root
ln -s usr/lib root/lib

mkdir project
cat > project/user.c <<'C'
#include <hshm.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    hshm_segment *segment;
    char *text;
    if (argc != 2 || hshm_open(argv[1], NULL, &segment) || !(text = hshm_alloc(segment, 100)))
        return 1;
    sprintf(text, "%s", "in the segment");
    puts(text);
    hshm_free(text);
    return hshm_close(segment);
}
C
cat > project/user.cpp <<'C'
#include <hshm.hpp>
#include <cstdio>
#include <vector>
int main(int argc, char **argv)
{
    if (argc != 2)
        return 1;
    hshm::Segment segment(argv[1]);
    std::vector<int, hshm::allocator<int>> v(1000, 7, segment);
    std::printf("%d in the segment\n", v[999]);
}
C
cat > project/CMakeLists.txt <<'C'
cmake_minimum_required(VERSION 3.13)
project(user C CXX)
find_package(hshm ${WANTED} CONFIG REQUIRED)
find_package(hshm ${WANTED} CONFIG REQUIRED) # once more does no harm
set(CMAKE_CXX_STANDARD 17)
add_executable(shared user.c)
target_link_libraries(shared hshm::hshm)
add_executable(static user.c)
target_link_libraries(static hshm::static)
add_executable(cxx user.cpp)
target_link_libraries(cxx hshm::hshm)
get_target_property(preload hshm::preload LOCATION)
file(WRITE ${CMAKE_BINARY_DIR}/paths "${preload}\n${hshm_PRELOAD}\n${hshm_COMMAND}\n${hshm_VERSION}\n")
C
build() { cmake -S project -B "$1" -DCMAKE_PREFIX_PATH="$PWD/$2" -DWANTED="$3" && make -C "$1"; }

check a_project_finds_the_package_and_builds build b root/usr 0.1
says() { "b/$1" "cmake-$$-$1" | grep -qx "$2"; }
check the_shared_library_is_linked_to sh -c 'readelf -d b/shared | grep -q "NEEDED.*libhshm.so.0"'
check the_static_library_is_linked_in sh -c '! readelf -d b/static | grep -q libhshm'
check a_program_with_the_shared_library_runs says shared 'in the segment'
check a_program_with_the_static_library_runs says static 'in the segment'
check a_program_in_cxx_runs says cxx '7 in the segment'
check the_preload_and_the_command_are_found sh -c 'LD_PRELOAD=$(sed -n 2p b/paths) HSHM_SEGMENT=cmake-preload \
    $(sed -n 3p b/paths) list | grep -q "^cmake-preload " && [ "$(sed -n 1p b/paths)" = "$(sed -n 2p b/paths)" ]'
check it_is_found_through_a_link_to_its_folder build linked root ''
check another_interface_is_refused sh -c "! cmake -S project -B other -DCMAKE_PREFIX_PATH=$PWD/root/usr -DWANTED=9 && ! cmake -S project -B older \
    -DCMAKE_PREFIX_PATH=$PWD/root/usr -DWANTED=0.0.5"
rm "root/usr/lib/$multiarch/libhshm.a"
check what_is_missing_is_named sh -c "! cmake -S project -B missing -DCMAKE_PREFIX_PATH=$PWD/root/usr > missing.txt 2>&1 &&
    tr -s ' \n' ' ' < missing.txt | grep -q 'libhshm.a is missing'" # it breaks lines by their length
exit $bad
