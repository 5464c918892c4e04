/* The screen of `hshm top`. */
#ifdef WITH_NCURSES
#include "tool/top.h"

#include <locale.h>
#include <ncurses.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#undef OK /* ncurses' */

struct screen {
    struct top *t;
    double delay;
    char chosen[256]; /* id of the chosen row */
    size_t at, first; /* its index; that of the first on the screen */
    bool paused, help;
};

static const char *const help_lines[] = {
    "up, down, page up, page down   choose a row",
    "Enter                          look into the chosen segment",
    "left, Backspace                back to all segments",
    "< and >                        sort by another column",
    "r                              turn the order",
    "Tab                            members or size classes",
    "Space                          pause, go on",
    "+ and -                        look more or less often",
    "? or h                         this help",
    "q                              quit",
    NULL,
};

/* ---- drawing -------------------------------------------------------------------------------- */

static void draw_cell(const struct top_column *c, const char *text, int room)
{
    int width = c->width < 0 ? -c->width : c->width;
    if (width > room)
        width = room;
    if (width <= 0)
        return;
    if (c->width < 0)
        printw("%-*.*s", width, width, text);
    else
        printw("%*.*s", width, width, text);
}

static void draw_titles(const struct top *t)
{
    const struct top_column *columns = top_columns[t->page];
    for (int i = 0; i < TOP_COLUMNS && columns[i].width; i++) {
        attr_t sorted = i == t->sort[t->page] ? A_UNDERLINE : 0;
        int room = COLS - getcurx(stdscr);
        attron(A_BOLD | sorted);
        draw_cell(&columns[i], columns[i].title, room);
        attroff(A_BOLD | sorted);
        if (getcurx(stdscr) < COLS - 1)
            addch(' ');
    }
}

static void draw_row(const struct top *t, const struct top_row *row)
{
    const struct top_column *columns = top_columns[t->page];
    for (int i = 0; i < TOP_COLUMNS && columns[i].width; i++) {
        int room = COLS - getcurx(stdscr);
        struct top_column c = columns[i];
        if (c.width < 0 && (i + 1 == TOP_COLUMNS || !columns[i + 1].width))
            c.width = -room; /* the last takes what is left */
        draw_cell(&c, row->cells[i].at, room);
        if (getcurx(stdscr) < COLS - 1 && getcury(stdscr) < LINES)
            addch(' ');
        else
            return;
    }
}

static void keep_choice(struct screen *s)
{
    for (size_t i = 0; s->chosen[0] && i < s->t->count; i++)
        if (strcmp(s->t->rows[i].id, s->chosen) == 0)
            s->at = i;
    if (s->at >= s->t->count)
        s->at = s->t->count ? s->t->count - 1 : 0;
    if (s->t->count)
        snprintf(s->chosen, sizeof s->chosen, "%s", s->t->rows[s->at].id);
}

static void draw_rows(struct screen *s, int from)
{
    size_t room = LINES > from + 1 ? (size_t)(LINES - from - 1) : 1;
    if (s->at < s->first)
        s->first = s->at;
    if (s->at >= s->first + room)
        s->first = s->at - room + 1;
    for (size_t i = s->first; i < s->t->count && i < s->first + room; i++) {
        move(from + (int)(i - s->first), 0);
        if (i == s->at)
            attron(A_REVERSE);
        draw_row(s->t, &s->t->rows[i]);
        if (i == s->at)
            attroff(A_REVERSE);
    }
}

static void draw(struct screen *s)
{
    int y = 0;
    erase();
    for (unsigned i = 0; i < TOP_HEADING && s->t->heading[i][0]; i++)
        mvaddnstr(y++, 0, s->t->heading[i], COLS - 1);
    if (s->t->gone)
        mvprintw(y++, 0, "segment %.60s: %s", s->t->segment, s->t->gone);
    if (s->help) {
        for (unsigned i = 0; help_lines[i]; i++)
            mvaddnstr(y + 1 + (int)i, 2, help_lines[i], COLS - 3);
    } else {
        move(++y, 0);
        draw_titles(s->t);
        keep_choice(s);
        draw_rows(s, y + 1);
    }
    mvprintw(LINES - 1, 0, "%s  every %.2g s%s   ? help  q quit", "hshm top", s->delay,
             s->paused ? ", PAUSED" : "");
    refresh();
}

/* ---- keys ---------------------------------------------------------------------------------- */

static void choose(struct screen *s, long by)
{
    long to = (long)s->at + by, most = (long)s->t->count - 1;
    s->at = to < 0 ? 0 : to > most ? (most < 0 ? 0 : (size_t)most) : (size_t)to;
    if (s->t->count)
        snprintf(s->chosen, sizeof s->chosen, "%s", s->t->rows[s->at].id);
}

static void sort_by(struct top *t, int by)
{
    int to = t->sort[t->page] + by;
    if (to >= 0 && to < TOP_COLUMNS && top_columns[t->page][to].width)
        t->sort[t->page] = to;
    top_sort(t);
}

static void go_to(struct screen *s, enum top_page page)
{
    if (page == TOP_MEMBERS && s->t->page == TOP_SEGMENTS) {
        if (!s->t->count)
            return;
        snprintf(s->t->segment, sizeof s->t->segment, "%s", s->chosen);
    }
    snprintf(s->chosen, sizeof s->chosen, "%s", page == TOP_SEGMENTS ? s->t->segment : "");
    s->t->page = page;
    s->at = s->first = 0;
    top_look(s->t);
}

/* False: the user quits. */
static bool obey(struct screen *s, int key)
{
    enum top_page page = s->t->page;
    switch (key) {
    case 'q':
    case 3: return false;
    case '?':
    case 'h': s->help = !s->help; break;
    case 12: clearok(curscr, TRUE); break; /* Ctrl-L */
    case ' ': s->paused = !s->paused; break;
    case 'r': s->t->turned[page] = !s->t->turned[page], top_sort(s->t); break;
    case '<': sort_by(s->t, -1); break;
    case '>': sort_by(s->t, 1); break;
    case '+': s->delay = s->delay > 0.1 ? s->delay / 2 : s->delay; break;
    case '-': s->delay = s->delay < 3600 ? s->delay * 2 : s->delay; break;
    case KEY_UP: choose(s, -1); break;
    case KEY_DOWN: choose(s, 1); break;
    case KEY_PPAGE: choose(s, -10); break;
    case KEY_NPAGE: choose(s, 10); break;
    case '\n':
    case KEY_ENTER:
    case KEY_RIGHT:
        if (page == TOP_SEGMENTS)
            go_to(s, TOP_MEMBERS);
        break;
    case '\t':
        if (page != TOP_SEGMENTS)
            go_to(s, page == TOP_MEMBERS ? TOP_CLASSES : TOP_MEMBERS);
        break;
    case KEY_LEFT:
    case KEY_BACKSPACE:
    case 127:
        if (page != TOP_SEGMENTS)
            go_to(s, TOP_SEGMENTS);
        break;
    default: break;
    }
    return true;
}

/* A terminal that was made small and large again at once has forgotten what it showed. */
static volatile sig_atomic_t resized;
static struct sigaction ncurses_resize;

static void on_resize(int signal)
{
    resized = 1;
    if (ncurses_resize.sa_handler != SIG_DFL && ncurses_resize.sa_handler != SIG_IGN)
        ncurses_resize.sa_handler(signal);
}

int top_screen(struct top *t, double delay, long count)
{
    struct screen s = { .t = t, .delay = delay };
    setlocale(LC_CTYPE, "");
    if (!newterm(NULL, stdout, stdin))
        return fail(EXIT_NO, "this terminal is unknown: TERM=%s; -b prints instead",
                    getenv("TERM") ? getenv("TERM") : "");
    cbreak();
    noecho();
    keypad(stdscr, TRUE);
    curs_set(0);
    sigaction(SIGWINCH, &(struct sigaction){ .sa_handler = on_resize }, &ncurses_resize);
    top_look(t);
    uint64_t next = os_boot_ns() + (uint64_t)(s.delay * 1e9);
    for (long looks = 1;;) {
        uint64_t now = os_boot_ns();
        if (now >= next) {
            if (count && looks++ >= count)
                break;
            if (!s.paused)
                top_look(t);
            next = now + (uint64_t)(s.delay * 1e9);
        }
        if (resized)
            clearok(curscr, TRUE);
        resized = 0;
        draw(&s);
        timeout(next > now ? (int)((next - now) / 1000000) + 1 : 1);
        int key = getch();
        if (key != ERR && !obey(&s, key))
            break;
    }
    endwin();
    return EXIT_OK;
}
#endif
