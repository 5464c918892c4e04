// Reads a tensor that another program made, at the address that it is given on standard input, as
// often as it is given one.  To free it is its right, too: an address with a minus before it.
#include <cstdio>
#include <cstdlib>
#include <vector>

int main()
{
    char line[100];
    void *own = nullptr;
    if (cudaMalloc(&own, 1000) != cudaSuccess)
        return 1;
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        char *rest;
        bool is_to_free = line[0] == '-';
        void *tensor = (void *)strtoull(line + is_to_free, &rest, 16);
        size_t n = strtoull(rest, nullptr, 0), right = 0;
        if (is_to_free) {
            printf("%s\n", cudaFree(tensor) == cudaSuccess ? "freed" : "not freed");
        } else {
            std::vector<float> host(n);
            if (cudaMemcpy(host.data(), tensor, n * sizeof(float), cudaMemcpyDeviceToHost) == cudaSuccess)
                for (size_t i = 0; i < n; i++)
                    right += host[i] == float(i % 1000) / 8;
            printf("%zu of %zu values are right\n", right, n);
        }
        fflush(stdout);
    }
    return 0;
}
