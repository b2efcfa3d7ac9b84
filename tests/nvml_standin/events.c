/* events.c — XID events of the stand-in: those appended to the file that NVML_STANDIN_XIDS names, and the state's storm.
   A wait is woken by the kernel when one of the files has changed: it costs as little as a driver's own. */
#include "state.h"

#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#define MOST_WATCHED 64

struct nvmlEventSet_st {
    long read_bytes;
    long long storm_due_us;
    int watched_count, changes;
    nvmlDevice_t watched[MOST_WATCHED];
};

/* Both files lie in folders that are watched as such: the state is renamed into place. */
static void watch_folder_of(int changes, const char *file) {
    if (file == NULL) return;
    char *path = strdup(file);
    if (inotify_add_watch(changes, dirname(path), IN_MODIFY | IN_MOVED_TO) < 0) abort();
    free(path);
}

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set) {
    *set = calloc(1, sizeof **set);
    (*set)->changes = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    watch_folder_of((*set)->changes, getenv("NVML_STANDIN_STATE"));
    watch_folder_of((*set)->changes, getenv("NVML_STANDIN_XIDS"));
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long kinds, nvmlEventSet_t set) {
    nvmlReturn_t answer = answer_of(device, "RegisterEvents");
    if (answer != NVML_SUCCESS) return answer;
    if (kinds != nvmlEventTypeXidCriticalError || set->watched_count == MOST_WATCHED) return NVML_ERROR_INVALID_ARGUMENT;
    set->watched[set->watched_count++] = device;
    return NVML_SUCCESS;
}

static int tell(nvmlEventSet_t set, const char *uuid, unsigned int xid, nvmlEventData_t *data) {
    for (int place = 0; place < set->watched_count; place++) {
        if (strcmp(set->watched[place]->uuid, uuid) != 0) continue;
        memset(data, 0, sizeof *data);
        data->device = set->watched[place];
        data->eventType = nvmlEventTypeXidCriticalError;
        data->eventData = xid;
        data->gpuInstanceId = data->computeInstanceId = 0xFFFFFFFF;
        return 1;
    }
    return 0;
}

/* The next line "UUID XID" of the file that is of a GPU that is watched. */
static int from_file(nvmlEventSet_t set, nvmlEventData_t *data) {
    char line[160], uuid[96];
    unsigned int xid;
    const char *path = getenv("NVML_STANDIN_XIDS");
    FILE *file = path == NULL ? NULL : fopen(path, "r");
    if (file == NULL) return 0;
    int is_told = 0;
    if (fseek(file, set->read_bytes, SEEK_SET) != 0) abort();
    while (!is_told && fgets(line, sizeof line, file) != NULL && strchr(line, '\n') != NULL) {
        set->read_bytes = ftell(file);
        is_told = sscanf(line, "%95s %u", uuid, &xid) == 2 && tell(set, uuid, xid, data);
    }
    fclose(file);
    return is_told;
}

static long long now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

/* Late ones come without a pause, so that the rate holds however coarse the timer is. */
static int from_storm(nvmlEventSet_t set, const struct state *state, nvmlEventData_t *data) {
    if (state->storm_per_second == 0) return 0;
    if (set->storm_due_us == 0) set->storm_due_us = now_us();
    set->storm_due_us += 1000000 / state->storm_per_second;
    if (set->storm_due_us > now_us()) usleep((useconds_t)(set->storm_due_us - now_us()));
    return tell(set, state->storm_uuid, state->storm_xid, data);
}

/* What changed before the look at the files is in them; what changes after it wakes the wait. */
static void wait_for_change(nvmlEventSet_t set, int timeout_ms) {
    char told[4096];
    struct pollfd changes = {.fd = set->changes, .events = POLLIN};
    if (poll(&changes, 1, timeout_ms) == 1 && read(set->changes, told, sizeof told) < 0) abort();
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms) {
    long long end = now_us() + timeout_ms * 1000LL;
    for (long long left = end - now_us(); left > 0; left = end - now_us()) {
        if (from_storm(set, state_now(), data) || from_file(set, data)) return NVML_SUCCESS;
        wait_for_change(set, (int)(left / 1000) + 1);
    }
    return NVML_ERROR_TIMEOUT;
}
