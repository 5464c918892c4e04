/* A name is removed while those who refer to it die, come and go.  See name_remove(), entry_finish(),
 * name_ref(), ref_end(), names_recover(), drop_ref().
 *
 * One entry.  Member 0 is dead and has a reference; member 1 removes the name and may die at it; member 2
 * refers to it and lets go.  Who recovers a dead one may die as well: the next starts over.
 *
 *   N1  the block is freed once
 *   N2  not while somebody who lives has a reference
 *   N3  when all is quiet it has been freed
 *
 * LONG
 *
 * BROKEN=1: whoever drops a dead one's reference does not look whether the name is gone; =2: who takes over
 * from a dead recoverer does not look through the entries; =3: the remover looks for references before it
 * says that the name is removed; =4: who refers looks first and announces then.
 */
#ifndef BROKEN
#define BROKEN 0
#endif

mtype = { LIVE, REMOVED, FREEING, UNUSED }
mtype state = LIVE;
byte in_charge;         /* of FREEING: the member */
bool ref[3];            /* what each has announced */
bool has[3];            /* lives, and was told that it has one */
bool dead[2], naming[2];
byte freed, ended;

#ifndef DEATHS
#define DEATHS 1
#endif
byte may = DEATHS; /* die, of members and recoverers */
#define MAY_DIE if :: mortal && may > 0 -> may--; goto dies :: skip fi

/* One after the other. */
inline look()
{
    seen = ref[0];
    seen = seen || ref[1];
    seen = seen || ref[2]
}

inline free_it()
{
    atomic { assert(!has[1] && !has[2]); freed++; state = UNUSED }
}

/* As member 'me', or on its behalf. */
inline finish(me)
{
    if
    :: state == REMOVED ->
        look();
        if
        :: !seen ->
            if
            :: atomic { state == REMOVED -> state = FREEING; in_charge = me }; MAY_DIE; free_it()
            :: else
            fi
        :: else
        fi;
        seen = false
    :: else
    fi
}

proctype remover()
{
    bool seen;
    bool mortal = true;
    naming[1] = true;
#if BROKEN == 3
    look();
    state = REMOVED;
    if :: !seen -> state = FREEING; in_charge = 1; free_it() :: else fi;
#else
    state = REMOVED;
    MAY_DIE;
    finish(1);
#endif
    naming[1] = false;
    goto out;
dies:
    dead[1] = true;
out:
    atomic { seen = false; ended++ }
}

proctype referrer()
{
    bool seen, lives;
    bool mortal = false;
#if BROKEN == 4
    lives = (state == LIVE);
    ref[2] = true;
    has[2] = lives;
#else
    ref[2] = true;
    has[2] = (state == LIVE);
#endif
    atomic { lives = false; has[2] = false; ref[2] = false };
    finish(2);
dies:
    atomic { seen = false; ended++ }
}

proctype recoverer(byte self)
{
    bool seen, in_a_step;
    bool mortal = true;
    if :: dead[self] :: ended % 10 == 2 && !dead[self] -> goto out fi;
dies: /* and the next starts over */
    atomic { seen = false; in_a_step = naming[self]; naming[self] = true };
    if
    :: ref[self] ->
        ref[self] = false;
        MAY_DIE;
#if BROKEN != 1
        finish(self)
#endif
    :: else
    fi;
    MAY_DIE;
#if BROKEN == 2
    in_a_step = false;
#endif
    if
    :: in_a_step && state == REMOVED -> finish(self)
    :: in_a_step && state == FREEING && in_charge == self -> free_it()
    :: else
    fi;
out:
    atomic {
        seen = false;
        in_a_step = false;
        ended = ended + 10;
        if :: ended == 22 -> assert(state == UNUSED || (state == LIVE && freed == 0)); assert(freed <= 1) :: else fi
    }
}

init {
    atomic {
        ref[0] = true;
        dead[0] = true;
        run remover();
        run referrer();
        run recoverer(0);
        run recoverer(1)
    }
}
