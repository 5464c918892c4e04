/* MPI programs with each MPI that is installed: those that know nothing of us under the preload, and those
 * that use hshm_mpi.h. */
#include "tests/process/run.h"

/* Four ranks, also on two processors and as root.  'settings' are the ranks', not mpirun's. */
static struct outcome ranks(const char *mpi, const char *settings, const char *program)
{
    return shell("export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
                 "OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl_base_warn_component_unused=0; "
                 "exec timeout -k 1 100 mpirun.%s -n 4 env %s \"$BIN\"/%s",
                 mpi, settings, program);
}

static bool is_there(const char *mpi)
{
    return shell("test -x \"$BIN\"/prog_mpi_%s", mpi).status == 0;
}

static void plain_program_runs(const char *mpi)
{
    char settings[600], program[100];
    snprintf(program, sizeof program, "prog_mpi_%s", mpi);
    struct outcome o = ranks(mpi, "-u LD_PRELOAD", program);
    cr_assert_eq(o.status, 0, "without us: %s", o.err);
    cr_assert_str_eq(o.out, "4 ranks, libc's heap\n");
    snprintf(settings, sizeof settings, "LD_PRELOAD=%s", preload());
    o = ranks(mpi, settings, program);
    cr_assert_eq(o.status, 0, "%s", o.err);
    cr_assert_str_eq(o.out, "4 ranks, a heap of ours\n");
    cr_assert_str_eq(o.err, "");
    snprintf(settings, sizeof settings, "LD_PRELOAD=%s HSHM_SEGMENT=mpi-%s-%d", preload(), mpi,
             (int)getpid());
    o = ranks(mpi, settings, program);
    cr_assert_eq(o.status, 0, "%s", o.err);
    cr_assert_str_eq(o.out, "4 ranks, a heap of ours\n");
    cr_assert_str_eq(o.err, "");
}

static void umpires_recipe_works(const char *mpi)
{
    char program[100];
    snprintf(program, sizeof program, "prog_api_mpi_%s names-mpi-%s-%d", mpi, mpi, (int)getpid());
    struct outcome o = ranks(mpi, "-u LD_PRELOAD", program);
    cr_assert_eq(o.status, 0, "%s", o.err);
    char settings[600];
    snprintf(settings, sizeof settings, "LD_PRELOAD=%s HSHM_SEGMENT=mpi-umpire-%s-%d", preload(),
             mpi, (int)getpid());
    o = ranks(mpi, settings, program);
    cr_assert_eq(o.status, 0, "under the preload: %s", o.err);
}

#define WITH(mpi)                                                                                  \
    Test(mpi, unmodified_programs_run_with_##mpi)                                                  \
    {                                                                                              \
        if (!is_there(#mpi))                                                                       \
            cr_skip_test("no " #mpi);                                                              \
        plain_program_runs(#mpi);                                                                  \
    }                                                                                              \
    Test(mpi, umpires_recipe_works_with_##mpi)                                                     \
    {                                                                                              \
        if (!is_there(#mpi))                                                                       \
            cr_skip_test("no " #mpi);                                                              \
        umpires_recipe_works(#mpi);                                                                \
    }
WITH(mpich)
WITH(openmpi)
