/* state.c — reads the file that NVML_STANDIN_STATE names, again whenever a test has replaced it. Answers nothing itself. */
#define _GNU_SOURCE
#include "state.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static struct nvmlDevice_st *handles[MOST_UNITS];
static const struct state *newest;
static struct stat read_at;

static struct nvmlDevice_st *handle_for(const char *uuid) {
    int place = 0;
    for (; place < MOST_UNITS && handles[place] != NULL; place++) {
        if (strcmp(handles[place]->uuid, uuid) == 0) return handles[place];
    }
    if (place == MOST_UNITS) abort();
    handles[place] = calloc(1, sizeof **handles);
    snprintf(handles[place]->uuid, sizeof handles[place]->uuid, "%s", uuid);
    return handles[place];
}

static void add_unit(struct state *state, struct unit *whole, int slot, const char *uuid) {
    if (state->unit_count == MOST_UNITS) abort();
    struct unit *unit = &state->units[state->unit_count++];
    unit->handle = handle_for(uuid);
    unit->whole = whole == NULL ? unit : whole;
    unit->slot = slot;
}

static void take_line(struct state *state, char *line, struct unit **whole) {
    struct unit *last = state->unit_count > 0 ? &state->units[state->unit_count - 1] : NULL;
    char uuid[96];
    int slot;
    struct link link;
    if (sscanf(line, "gpu %95s", uuid) == 1) {
        add_unit(state, NULL, -1, uuid);
        *whole = &state->units[state->unit_count - 1];
    } else if (sscanf(line, "mig %d %95s", &slot, uuid) == 2) {
        add_unit(state, *whole, slot, uuid);
    } else if (sscanf(line, "link %95s %95s %d %d", link.one, link.other, &link.level, &link.nvlink_status) == 4) {
        if (state->link_count == MOST_LINKS) abort();
        state->links[state->link_count++] = link;
    } else if (strcmp(line, "init hang") == 0) {
        state->init_hangs = 1;
    } else if (sscanf(line, "init %d", &state->init) == 1) {
    } else if (sscanf(line, "storm %95s %u %u", state->storm_uuid, &state->storm_xid, &state->storm_per_second) == 3) {
    } else if (last != NULL && *line != '\0') {
        if (last->line_count == MOST_LINES) abort();
        last->lines[last->line_count++] = strdup(line);
    }
}

static const struct state *read_state(const char *path) {
    struct state *state = calloc(1, sizeof *state);
    struct unit *whole = NULL;
    FILE *file = fopen(path, "r");
    char line[512];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        take_line(state, line, &whole);
    }
    if (file != NULL) fclose(file);
    return state;
}

const struct state *state_now(void) {
    const char *path = getenv("NVML_STANDIN_STATE");
    struct stat now;
    if (path == NULL || stat(path, &now) != 0) abort();
    pthread_mutex_lock(&turn);
    /* Tests rename a new file into place, so its inode tells; the time tells where inodes are used again. */
    if (newest == NULL || now.st_ino != read_at.st_ino || now.st_mtim.tv_nsec != read_at.st_mtim.tv_nsec) {
        newest = read_state(path);
        read_at = now;
    }
    pthread_mutex_unlock(&turn);
    return newest;
}

const struct unit *unit_of(const struct state *state, nvmlDevice_t handle) {
    return handle == NULL ? NULL : unit_by_uuid(state, handle->uuid);
}

const struct unit *unit_by_uuid(const struct state *state, const char *uuid) {
    for (int place = 0; place < state->unit_count; place++) {
        if (strcmp(state->units[place].handle->uuid, uuid) == 0) return &state->units[place];
    }
    return NULL;
}

const char *nth(const struct unit *unit, const char *key, int n) {
    size_t length = strlen(key);
    for (int place = 0; place < unit->line_count; place++) {
        const char *line = unit->lines[place];
        if (strncmp(line, key, length) == 0 && line[length] == ' ' && n-- == 0) return line + length + 1;
    }
    return NULL;
}

const char *text(const struct unit *unit, const char *key) {
    return nth(unit, key, 0);
}

static int hangs(const struct unit *unit, const char *function) {
    const char *name;
    for (int n = 0; (name = nth(unit, "hang", n)) != NULL; n++) {
        if (strcmp(name, function) == 0 || strcmp(name, "*") == 0) return 1;
    }
    return 0;
}

nvmlReturn_t answer_of(nvmlDevice_t handle, const char *function) {
    const struct unit *unit = unit_of(state_now(), handle);
    for (; unit != NULL && hangs(unit, function); unit = unit_of(state_now(), handle)) usleep(10 * 1000);
    if (unit == NULL) return NVML_ERROR_GPU_IS_LOST;
    const char *failure;
    for (int n = 0; (failure = nth(unit, "fail", n)) != NULL; n++) {
        char name[64];
        int code;
        if (sscanf(failure, "%63s %d", name, &code) != 2) abort();
        if (strcmp(name, function) == 0 || strcmp(name, "*") == 0) return (nvmlReturn_t)code;
    }
    return NVML_SUCCESS;
}
