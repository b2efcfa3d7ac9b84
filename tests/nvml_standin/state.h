/* state.h — the stand-in's world: units (GPUs and MIG instances) read from a file of lines. See profiles.py for the lines. */
#ifndef STANDIN_STATE_H
#define STANDIN_STATE_H

#include <nvml.h>

#define MOST_UNITS 256
#define MOST_LINES 96
#define MOST_LINKS 512

/* A handle outlives the state: a GPU that vanished keeps its handle, and comes back with it. */
struct nvmlDevice_st {
    char uuid[96];
};

struct unit {
    struct nvmlDevice_st *handle;
    struct unit *whole; /* of a MIG instance; itself of a GPU */
    int slot;           /* of a MIG instance; -1 of a GPU */
    int line_count;
    char *lines[MOST_LINES];
};

struct link {
    char one[96], other[96];
    int level, nvlink_status;
};

struct state {
    int init, unit_count, link_count;
    char init_hangs, storm_uuid[96];
    unsigned storm_xid, storm_per_second;
    struct unit units[MOST_UNITS];
    struct link links[MOST_LINKS];
};

/* The newest state. It is never changed nor freed, so threads may read on while another reads a newer one. */
const struct state *state_now(void);

/* NULL: the GPU is gone. */
const struct unit *unit_of(const struct state *state, nvmlDevice_t handle);
const struct unit *unit_by_uuid(const struct state *state, const char *uuid);

/* What follows `key` in its n-th line (from 0) of the unit, or NULL. */
const char *nth(const struct unit *unit, const char *key, int n);
const char *text(const struct unit *unit, const char *key);

/* Waits while the state says that `function` hangs on the unit; then the code that the state has for it. */
nvmlReturn_t answer_of(nvmlDevice_t handle, const char *function);

#endif
