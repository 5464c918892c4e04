_Noreturn void fuzz_abort(void);
