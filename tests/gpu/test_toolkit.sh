#!/bin/bash
# What needs a CUDA toolkit: our copy of the driver's interface against the real headers, the real
# runtime against the table of hooks, programs compiled by nvcc.  Lines as tests/run reads them.
cd "$TMPDIR" || exit 1
bad=0
cuda=${CUDA_HOME:-/usr/local/cuda}
nvcc=$(command -v nvcc || echo "$cuda/bin/nvcc")
result() { if [ "$1" = 0 ]; then echo "ok $2"; else echo "FAIL $2: $(tail -c 400 said)"; bad=1; fi; }

# The header alone must compile without a toolkit.
echo '#include "gpu_hooks/cuda_abi.h"' | cc -std=gnu11 -I "$TEST_ROOT" -xc -c - -o /dev/null 2> said
result $? the_interface_builds_without_a_toolkit

# HIP has no hooks yet: a program of its runtime must not notice us, with a card or without.
cat > hip.c <<'C'
#define __HIP_PLATFORM_AMD__
#include <hip/hip_runtime_api.h>
#include <stdio.h>
int main(void)
{
    int n = -1;
    void *p = (void *)7, *q = (void *)7;
    int count = hipGetDeviceCount(&n), alloc = hipMalloc(&p, 1000), host = hipHostMalloc(&q, 1000, 0);
    if (n > 0 && alloc == 0)
        return hipFree(p) || hipHostFree(q);
    printf("%d %d %d %p %d %p %d\n", count, n, alloc, p, host, q, (int)hipFree(NULL));
    return 0;
}
C
if cc -o hip hip.c -lamdhip64 > said 2>&1; then
    ./hip > without 2>> said
    one=$?
    HSHM_SEGMENT=hip HSHM_GPU=on HSHM_SIZE=64M LD_PRELOAD=$TEST_PRELOAD ./hip > with 2>> said
    two=$?
    [ $one = $two ] && cmp without with >> said 2>&1
    result $? a_program_of_HIP_runs_as_without_us
else
    echo "skipped a_program_of_HIP_runs_as_without_us no libamdhip64-dev"
fi

if [ ! -e "$cuda/include/cuda.h" ] || [ ! -x "$nvcc" ]; then
    for t in the_interface_is_that_of_cuda_h each_hook_is_in_cudaTypedefs_h the_runtimes_requests_are_answered programs_of_nvcc_hand_over_a_tensor; do
        echo "skipped $t no CUDA toolkit (CUDA_HOME)"
    done
    exit 0
fi

cc -std=gnu11 -I "$cuda/include" -I "$TEST_ROOT" -c "$TEST_ROOT/tests/gpu/abi_cuda.c" -o /dev/null > said 2>&1
result $? the_interface_is_that_of_cuda_h

# Each row: there is such a function pointer type, of that version.
: > said
sed -n 's/^HOOK(\(cu[A-Za-z]*\), \(cu[A-Za-z0-9_]*\), \([0-9]*\), .*, \([A-Z_]*\))$/\1 \2 \3 \4/p' "$TEST_ROOT/gpu_hooks/cuda_hooks.def" > rows
while read -r name symbol since streams; do
    suffix=$([ "$streams" = PER_THREAD ] && echo _ptsz)
    grep -q "PFN_${name}_v${since}${suffix})" "$cuda/include/cudaTypedefs.h" || echo "no PFN_${name}_v$since$suffix for $symbol" >> said
done < rows
[ "$(wc -l < rows)" -ge 30 ] && [ ! -s said ]
result $? each_hook_is_in_cudaTypedefs_h

# What the real runtime asks the driver for, static and shared; it does not accept a driver that is
# none, and nobody tries to make it.
cat > m.cu <<'C'
int main() { void *p; return cudaMalloc(&p, 1000) == cudaSuccess; }
C
fakes=$TEST_BIN/fakes
if "$nvcc" -cudart static -o m_static m.cu > said 2>&1 && "$nvcc" -cudart shared -o m_shared m.cu >> said 2>&1; then
    FAKE_LOG=$PWD/static FAKE_ANY=1 LD_LIBRARY_PATH=$fakes ./m_static > said 2>&1 &&
    FAKE_LOG=$PWD/shared FAKE_ANY=1 LD_LIBRARY_PATH=$fakes LD_PRELOAD=$(ls "$cuda"/lib64/libcudart.so.1?) ./m_shared >> said 2>&1 &&
    cmp static shared >> said 2>&1 &&
    HSHM_SEGMENT=requests HSHM_GPU=on HSHM_SIZE=64M FAKE_ANY=1 REQUESTS=$PWD/static LD_LIBRARY_PATH=$fakes LD_PRELOAD=$TEST_PRELOAD \
        "$TEST_BIN/prog_gpu_names" requests_are_answered > said 2>&1
    rc=$?
    # of the rows, those that the runtime asks for
    [ $rc = 0 ] && [ "$(sed -n 's/ ours.*//p' said)" -ge 25 ]
    result $? the_runtimes_requests_are_answered
else
    result 1 the_runtimes_requests_are_answered
fi

B=$(dirname "$TEST_TOOL") "$TEST_ROOT/examples/gpu/run" > said 2>&1
rc=$?
grep -q "all as it should be" said && [ $rc = 0 ]
result $? programs_of_nvcc_hand_over_a_tensor
exit $bad
