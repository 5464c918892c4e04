/* The lives that test_every_instruction.c steps through pass every site of
 * sites.def, or the site is named here with the test that reaches it. */
#define HSHM_COUNT_SITES
#include "tests/process/steps.h"

uint8_t site_hits[SITE_COUNT];
static uint8_t *all_hits;

static const char *const site_names[] = {
#define SITE(id, found, repaired_by) #id,
#include "allocators/sites.def"
#undef SITE
};

/* Reached only by fork, which this life does not do.  No test kills there yet:
 * what a survivor finds is known from reading. */
static const char *const elsewhere[] = { "damaged",    "hold_seq",   "holds_high", "hold_state",
                                         "hold_facts", "holds_live", "hold_cover", "hold_over",
                                         "fork_facts", "inherited",  "page_park" };

static void hits_add(void)
{
    for (int i = 0; i < SITE_COUNT; i++)
        all_hits[i] |= site_hits[i];
}

static bool is_elsewhere(const char *site)
{
    if (strncmp(site, "gpu_", 4) == 0) /* tests/gpu/test_gpu_core.c dies at each of them */
        return true;
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (strcmp(elsewhere[i], site) == 0)
            return true;
    return false;
}

static void victim_counted(void)
{
    raise(SIGSTOP);
    for (stage->phase = 0; victim_phases[stage->phase]; stage->phase++) {
        victim_phases[stage->phase]();
        hits_add();
        raise(SIGSTOP);
    }
    _exit(0);
}

static void life_is_counted(const char *path)
{
    stage_set(path);
    pid_t victim = fork();
    if (victim == 0)
        victim_counted();
    stop_and_wait(victim);
    pid_t dead = fork();
    if (dead == 0) {
        kill(getpid(), SIGSTOP);
        pid_t pid = predecessor(false);
        stop_and_wait(pid);
        kill_and_wait(pid);
        _exit(0);
    }
    stop_and_wait(dead);
    join(false);
    survivor_set_up();
    int status;
    kill(dead, SIGCONT);
    MUST(waitpid(dead, &status, 0) == dead && status == 0);
    for (uint32_t phase = 0; victim_phases[phase]; phase++) {
        if (phase > 0) /* when it joins it only notes the death */
            grace_is_over(&heap);
        kill(victim, SIGCONT);
        stop_and_wait(victim);
        survivor_phase(phase);
    }
    kill_and_wait(victim);
    grace_is_over(&heap);
    recover_dead(&heap, false);
    reclaim_kept(cache);
    segment_leave(&heap);
    hits_add();
    unlink(file);
    _exit(0);
}

Test(every_site, is_passed)
{
    char path[160];
    snprintf(path, sizeof path, "/dev/shm/sites-%d", (int)getpid());
    all_hits = mmap(NULL, SITE_COUNT, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    void (*const *lives[])(void) = { blocks_phases, names_phases };
    for (int i = 0; i < 2; i++) {
        victim_phases = lives[i];
        int status;
        pid_t pid = fork();
        if (pid == 0)
            life_is_counted(path);
        cr_assert(waitpid(pid, &status, 0) == pid && status == 0);
    }
    char missing[2000] = "";
    for (int i = 0; i < SITE_COUNT; i++)
        if (!all_hits[i] && !is_elsewhere(site_names[i]))
            strcat(strcat(missing, " "), site_names[i]);
    cr_assert_str_eq(missing, "", "not passed:%s", missing);
}
