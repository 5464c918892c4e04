/* The last one leaves while others come.  See remove_locked(), join_map(),
 * segment_create(), segment_leave().
 *
 * A file under the name is a segment with a state and a lock for each member.
 * Leavers remove it if nobody stays; joiners open what has the name, take their
 * lock, and look at the state and the name again; where there is no file they make one.
 * A remover may die at any step.
 *
 *   R1  who has joined and not left is in the segment that has the name
 *
 * BROKEN=1: the remover asks first and announces then; =2: the joiner looks first
 * and takes its lock then.
 */
#ifndef BROKEN
#define BROKEN 0
#endif

#define SEGMENTS 4
#define PEOPLE 3
#define NO_NAME SEGMENTS

mtype = { LIVE, REMOVING, REMOVED }
mtype state[SEGMENTS];
bool locked[SEGMENTS * PEOPLE]; /* by its member */
bool leaving[PEOPLE];
byte create_lock[SEGMENTS];     /* person + 1; goes with its holder */
byte name = 0;                  /* segment that has it */
byte made = 1;
byte joined[PEOPLE];            /* segment + 1 */
byte deaths = 1;

#define LOCKED(s, p) locked[(s) * PEOPLE + (p)]
#define MAY_DIE(s) if :: deaths > 0 -> atomic { deaths--; joined[me] = 0; LOCKED(s, me) = false; create_lock[s] = 0 }; goto dead :: skip fi

/* Does anybody but 'me' stay?  One lock after the other. */
inline ask(s)
{
    idle = true;
    i = 0;
    do
    :: i < PEOPLE ->
        if :: i != me && LOCKED(s, i) && !leaving[i] -> idle = false :: else fi;
        i++
    :: else -> break
    od
}

inline remove(s)
{
    if
    :: atomic { create_lock[s] == 0 -> create_lock[s] = me + 1 };
        if
        :: name != s -> skip
        :: else ->
#if BROKEN == 1
            ask(s);
            MAY_DIE(s);
            state[s] = REMOVING;
#else
            state[s] = REMOVING;
            MAY_DIE(s);
            ask(s);
            MAY_DIE(s);
#endif
            if
            :: idle -> name = NO_NAME; MAY_DIE(s); state[s] = REMOVED
            :: else -> state[s] = LIVE
            fi
        fi;
        create_lock[s] = 0
    :: create_lock[s] != 0 -> skip /* somebody else is looking */
    fi
}

proctype person(byte me)
{
    byte s, i;
    bool idle;
    if :: joined[me] -> s = joined[me] - 1; goto leave :: else fi;
again:
    s = name;
    if
    :: s == NO_NAME && made < SEGMENTS ->
        /* nameless, with its maker in it; then it gets the name, or not */
        atomic { s = made; made++; state[s] = LIVE; LOCKED(s, me) = true }
        atomic {
            if
            :: name == NO_NAME -> name = s; joined[me] = s + 1
            :: else -> LOCKED(s, me) = false; goto again
            fi
        }
    :: s == NO_NAME -> goto dead /* enough for this model */
    :: else ->
        /* a stale one: nobody lives in it */
        ask(s);
        if :: idle && !LOCKED(s, me) -> remove(s); goto again :: else fi;
        if :: state[s] != LIVE -> remove(s); goto again :: else fi;
#if BROKEN == 2
        idle = state[s] == LIVE && name == s;
        LOCKED(s, me) = true;
#else
        LOCKED(s, me) = true;
        idle = state[s] == LIVE;
        idle = idle && name == s;
#endif
        if
        :: idle -> joined[me] = s + 1
        :: else -> LOCKED(s, me) = false; goto again
        fi
    fi;
leave:
    if :: goto stay :: skip fi;
    atomic { leaving[me] = true; joined[me] = 0 }
    ask(s);
    if :: idle -> remove(s) :: else fi;
    LOCKED(s, me) = false;
dead:
    goto end;
stay:
    skip;
end:
    skip
}

/* At any moment. */
active proctype watch()
{
    byte p;
end:
    do
    :: atomic { joined[0] && joined[0] - 1 != name -> assert(false) }
    :: atomic { joined[1] && joined[1] - 1 != name -> assert(false) }
    :: atomic { joined[2] && joined[2] - 1 != name -> assert(false) }
    od
}

init {
    atomic {
        state[0] = LIVE;
        LOCKED(0, 0) = true;
        joined[0] = 1;
        run person(0);
        run person(1);
        run person(2)
    }
}
