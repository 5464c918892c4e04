/* Was the block freed by the one who died?  See page_audit(), block_is_lost(),
 * finish_small(), page_free_remote().
 *
 * One block of a living owner's page.  Freers come one after the other and may
 * each die at any step; recoverers may die too, and the next starts over.  The
 * owner meanwhile merges, allocates the block again, hands it on, and answers.
 *
 *   A1  the block is never on two lists, nor on one while somebody has it
 *   A2  when all is quiet it is on a list, or somebody who lives has it
 *
 * ALSO: -DFREERS=2 -DDEATHS=1
 *
 * BROKEN=1: the owner does not look whose hands have the block; =2: the question
 * is taken off after it was answered; =3: where somebody has the block in hand it is dropped.
 */
#ifndef BROKEN
#define BROKEN 0
#endif

#ifndef FREERS
#define FREERS 3
#endif
#ifndef DEATHS /* with three freers, too: long */
#define DEATHS 0
#endif
mtype = { NONE, MINE, LINKED }

mtype note[FREERS];         /* the step in the record of each freer */
byte state[FREERS];         /* 0 not yet, 1 has the block, 2 gone in good order, 3 dead, 4 recovered */
bool remote, own, taken;  /* lists that have the block */
bool looks_free;
bool question;
byte holder = 0;            /* who has it; FREERS: nobody */
byte deaths = DEATHS;       /* of recoverers */

#define on_lists (remote + own + taken)

proctype freer(byte me)
{
end_idle:
    (state[me] == 1);
    note[me] = MINE;
    if :: state[me] = 3; goto end :: skip fi;
    looks_free = true;
    if :: state[me] = 3; goto end :: skip fi;
    note[me] = LINKED;
    if :: state[me] = 3; goto end :: skip fi;
    atomic { assert(!on_lists); remote = true; holder = FREERS }
    if :: state[me] = 3; goto end :: skip fi;
    note[me] = NONE;
    state[me] = 2;
end:
    skip
}

/* Dies: somebody starts over. */
#define MAY_DIE if :: deaths > 0 -> deaths--; goto again :: skip fi

proctype recoverer(byte dead)
{
end_idle:
    (state[dead] == 3 || state[dead] == 2);
    if :: state[dead] == 2 -> goto end :: else fi;
    if
    :: holder == dead -> holder = FREERS /* a ghost: nobody has it any more */
    :: else
    fi;
again:
    if
    :: note[dead] == NONE -> goto done
    :: note[dead] == MINE -> looks_free = true; MAY_DIE; note[dead] = LINKED; MAY_DIE
    :: else
    fi;
    if :: !looks_free -> goto clear :: else fi;
    MAY_DIE;
    question = true; /* one question: the CAS finds none, or the same */
    MAY_DIE;
clear:
    note[dead] = NONE;
done:
    state[dead] = 4;
end:
    skip
}

inline look(i)
{
    if :: note[i] == MINE || note[i] == LINKED -> lost = false; in_hand = true :: else fi
}

inline answer()
{
    lost = true;
    if
    :: !looks_free -> lost = false; listed = true /* it is not free at all */
    :: else
    fi;
#if BROKEN != 1
    look(0);
    look(1); /* one record after the other */
#if FREERS > 2
    look(2);
#endif
#endif
    if :: remote -> lost = false; listed = true :: else fi; /* the others are the owner's own */
    if :: taken || own -> lost = false; listed = true :: else fi;
    if
    :: lost -> atomic { assert(!on_lists); assert(holder == FREERS); own = true }
#if BROKEN != 3
    :: !lost && in_hand && !listed -> question = true /* when those hands are empty */
#endif
    :: else
    fi;
    lost = false;
    in_hand = false;
    listed = false
}

byte next = 1;
#define at_end(i) (next <= i || state[i] == 2 || state[i] == 4)
#if FREERS > 2
#define quiet (at_end(0) && at_end(1) && at_end(2))
#else
#define quiet (at_end(0) && at_end(1))
#endif

active proctype owner()
{
    bool lost, in_hand, listed;
    do
    :: remote -> taken = true; remote = false; atomic { own = true; taken = false }
    :: own && next < FREERS ->
        atomic { own = false; assert(!on_lists); holder = next }
        looks_free = false;
        atomic { state[next] = 1; next++ }
    :: question ->
#if BROKEN == 2
        answer();
        question = false
#else
        question = false;
        answer()
#endif
    :: quiet && !question && !remote -> break
    od;
    assert(on_lists == 1 || (holder < FREERS && state[holder] < 3))
}

init {
    atomic {
        byte i;
        for (i : 0 .. FREERS - 1) { note[i] = NONE }
        state[0] = 1;
        for (i : 0 .. FREERS - 1) { run freer(i); run recoverer(i) }
    }
}
