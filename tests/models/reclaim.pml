/* A block is being freed while its page's owner is recovered with HSHM_EXIT=reclaim.
 * See take_in_hand(), hands_mark(), slot_recover().
 *
 * Two freers of two blocks of the dead one's page.  Stores wait in a buffer of
 * their processor, as on x86; the fence empties it.
 *
 *   C1  nobody writes to a page that has been given away
 *   C2  a page stays no longer than somebody has a block of it in hand
 *
 * BROKEN=1: no fence after the note.  =2: the recoverer looks before it says that it has begun.
 */
#ifndef BROKEN
#define BROKEN 0
#endif

#define FREERS 2
bool note[FREERS], buffered[FREERS], in_buffer[FREERS];
bool recovering, given_away;
byte writing;

proctype buffer(byte me)
{
end:
    do
    :: atomic { in_buffer[me] -> note[me] = buffered[me]; in_buffer[me] = false }
    od
}

proctype freer(byte me)
{
    atomic { buffered[me] = true; in_buffer[me] = true } /* the note */
#if BROKEN != 1
    (!in_buffer[me]);
#endif
    if
    :: recovering -> goto drop
    :: else
    fi;
    writing++;
    assert(!given_away);
    writing--;
drop:
    (!in_buffer[me]);
    atomic { buffered[me] = false; in_buffer[me] = true }
}

active proctype recoverer()
{
    bool stays;
    byte i;
#if BROKEN != 2
    recovering = true; /* by a CAS */
#endif
    i = 0;
    do
    :: i < FREERS -> if :: note[i] -> stays = true :: else fi; i++
    :: else -> break
    od;
#if BROKEN == 2
    recovering = true;
#endif
    if
    :: stays -> skip /* an orphan with the marks of those blocks */
    :: else -> given_away = true; assert(!writing)
    fi
}

init {
    atomic {
        byte i;
        for (i : 0 .. FREERS - 1) { run freer(i); run buffer(i) }
    }
}
