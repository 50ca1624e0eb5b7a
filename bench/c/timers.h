/* A heap of what is due, the earliest first; each timer knows its place, so it can be taken out. */
#ifndef BENCH_TIMERS_H
#define BENCH_TIMERS_H

#include "common.h"

enum { NOWHERE = -1 };

typedef struct {
    int64_t due_ns;
    int place; /* in the heap, or NOWHERE */
    void *whose;
} timer;

static timer **timers;
static int n_timers, timers_room;

static void put_timer(timer *t, int place)
{
    timers[place] = t;
    t->place = place;
}

static void rise(int i)
{
    while (i > 0 && timers[(i - 1) / 2]->due_ns > timers[i]->due_ns) {
        timer *parent = timers[(i - 1) / 2];
        put_timer(timers[i], (i - 1) / 2);
        put_timer(parent, i);
        i = (i - 1) / 2;
    }
}

static void sink(int i)
{
    for (;;) {
        int earliest = i;
        for (int child = 2 * i + 1; child <= 2 * i + 2 && child < n_timers; child++)
            if (timers[child]->due_ns < timers[earliest]->due_ns)
                earliest = child;
        if (earliest == i)
            return;
        timer *moved = timers[i];
        put_timer(timers[earliest], i);
        put_timer(moved, earliest);
        i = earliest;
    }
}

static void start_timer(timer *t, int64_t due_ns)
{
    if (n_timers == timers_room) {
        timers_room = timers_room ? timers_room * 2 : 1024;
        timers = sure(realloc(timers, sizeof *timers * timers_room));
    }
    t->due_ns = due_ns;
    put_timer(t, n_timers++);
    rise(t->place);
}

static void stop_timer(timer *t)
{
    int place = t->place;
    if (place == NOWHERE)
        return;
    t->place = NOWHERE;
    n_timers--;
    if (place == n_timers)
        return;
    put_timer(timers[n_timers], place);
    rise(place);
    sink(place);
}

#endif
