// Makes a tensor on the device and says where it is: nothing else.
#include <cstdio>
#include <cstdlib>
#include <vector>

#define MUST(call)                                                                                 \
    if (cudaError_t error = (call)) {                                                              \
        fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(error));                             \
        return 1;                                                                                  \
    }

int main(int argc, char **argv)
{
    size_t n = argc > 1 ? strtoull(argv[1], nullptr, 0) : 1 << 20;
    std::vector<float> host(n);
    for (size_t i = 0; i < n; i++)
        host[i] = float(i % 1000) / 8;
    float *tensor;
    MUST(cudaMalloc(&tensor, n * sizeof(float)));
    MUST(cudaMemcpy(tensor, host.data(), n * sizeof(float), cudaMemcpyHostToDevice));
    printf("%p %zu\n", (void *)tensor, n);
    fflush(stdout);
    getchar(); // until it is told to go, or killed
    return 0;
}
