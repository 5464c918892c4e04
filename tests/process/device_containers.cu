// Compiled by nvcc and hipcc, never run: what of the containers is marked for device code.
#include <hshm_containers.hpp>

__global__ void use(hshm_ptr_t where, hipc::vector<int> *numbers, hipc::ring_queue<long> *queue, long *sum)
{
    long value;
    if (!hshm_ptr_is_null(where) && hshm_ptr_equal(where, where))
        *sum += *hshm::ipc::raw<long>(where);
    for (size_t i = 0; i < numbers->size(); i++)
        *sum += (*numbers)[i]++;
    for (int number : *numbers)
        *sum += number;
    while (queue->pop(value))
        *sum += value;
    queue->push(*sum);
}
