/* A library with more thread-local storage than the loader keeps spare. */
__attribute__((tls_model("global-dynamic"))) static __thread char area[100000];

__attribute__((visibility("default"))) char *library_tls(void);

char *library_tls(void)
{
    return area;
}
