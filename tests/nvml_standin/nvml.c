/* nvml.c — libnvidia-ml.so.1 for tests: the functions that the agent's child calls, answered out of the state file.
   What a unit has no line for is NOT_SUPPORTED; a function that is not here is absent, as in an older driver. */
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Ends the function unless the state lets it answer; then `unit` is the handle's. */
#define BEGIN(handle, function)                                       \
    nvmlReturn_t begun = answer_of(handle, function);                 \
    if (begun != NVML_SUCCESS) return begun;                          \
    const struct unit *unit = unit_of(state_now(), handle);           \
    if (unit == NULL) return NVML_ERROR_GPU_IS_LOST

/* Reads the unit's line of that key, or ends the function. */
#define SCAN(count, key, ...)                                                                          \
    do {                                                                                               \
        const char *line = text(unit, key);                                                            \
        if (line == NULL || sscanf(line, __VA_ARGS__) != (count)) return NVML_ERROR_NOT_SUPPORTED;     \
    } while (0)

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    while (state_now()->init_hangs) usleep(10 * 1000);
    return (nvmlReturn_t)state_now()->init;
}

nvmlReturn_t nvmlInit_v2(void) {
    return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlShutdown(void) {
    return NVML_SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t result) {
    (void)result;
    return "said by the stand-in";
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    snprintf(version, length, "570.172.08");
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    const struct state *state = state_now();
    *count = 0;
    for (int place = 0; place < state->unit_count; place++) *count += state->units[place].slot < 0;
    return (nvmlReturn_t)state->init;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    const struct state *state = state_now();
    for (int place = 0; place < state->unit_count; place++) {
        if (state->units[place].slot < 0 && index-- == 0) {
            *device = state->units[place].handle;
            return answer_of(*device, "HandleByIndex");
        }
    }
    return NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) {
    BEGIN(device, "UUID");
    snprintf(uuid, length, "%s", unit->handle->uuid);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) {
    BEGIN(device, "Name");
    if (text(unit, "name") == NULL) return NVML_ERROR_NOT_SUPPORTED;
    snprintf(name, length, "%s", text(unit, "name"));
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci) {
    BEGIN(device, "PciInfo");
    SCAN(1, "pci", "%31s", pci->busId);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    BEGIN(device, "MemoryInfo");
    SCAN(3, "memory", "%llu %llu %llu", &memory->total, &memory->reserved, &memory->used);
    memory->free = memory->total - memory->reserved - memory->used;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned int *minor) {
    BEGIN(device, "MinorNumber");
    SCAN(1, "minor", "%u", minor);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryAffinity(nvmlDevice_t device, unsigned int size, unsigned long *nodes, nvmlAffinityScope_t scope) {
    BEGIN(device, "MemoryAffinity");
    unsigned int node;
    SCAN(1, "numa", "%u", &node);
    if (size < 1 || scope != NVML_AFFINITY_SCOPE_NODE) return NVML_ERROR_INVALID_ARGUMENT;
    nodes[0] = 1UL << node;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending) {
    BEGIN(device, "MigMode");
    SCAN(1, "mig_mode", "%u", current);
    *pending = *current;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *count) {
    BEGIN(device, "MaxMigDeviceCount");
    SCAN(1, "slots", "%u", count);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index, nvmlDevice_t *instance) {
    BEGIN(device, "MigDeviceHandleByIndex");
    const struct state *state = state_now();
    for (int place = 0; place < state->unit_count; place++) {
        const struct unit *found = &state->units[place];
        if (found->slot == (int)index && found->whole->handle == unit->handle) {
            *instance = found->handle;
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t device, nvmlDeviceAttributes_t *has) {
    BEGIN(device, "Attributes");
    memset(has, 0, sizeof *has);
    SCAN(3, "attributes", "%u %u %llu", &has->gpuInstanceSliceCount, &has->computeInstanceSliceCount, &has->memorySizeMB);
    return NVML_SUCCESS;
}

static const struct link *link_between(nvmlDevice_t one, nvmlDevice_t other) {
    const struct state *state = state_now();
    for (int place = 0; place < state->link_count; place++) {
        const struct link *link = &state->links[place];
        if (strcmp(link->one, one->uuid) == 0 && strcmp(link->other, other->uuid) == 0) return link;
        if (strcmp(link->one, other->uuid) == 0 && strcmp(link->other, one->uuid) == 0) return link;
    }
    return NULL;
}

nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t one, nvmlDevice_t other, nvmlGpuTopologyLevel_t *level) {
    BEGIN(one, "TopologyCommonAncestor");
    if (link_between(one, other) == NULL) return NVML_ERROR_NOT_SUPPORTED;
    *level = (nvmlGpuTopologyLevel_t)link_between(one, other)->level;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetP2PStatus(nvmlDevice_t one, nvmlDevice_t other, nvmlGpuP2PCapsIndex_t index, nvmlGpuP2PStatus_t *status) {
    BEGIN(one, "P2PStatus");
    if (index != NVML_P2P_CAPS_INDEX_NVLINK) return NVML_ERROR_INVALID_ARGUMENT;
    if (link_between(one, other) == NULL) return NVML_ERROR_NOT_SUPPORTED;
    *status = (nvmlGpuP2PStatus_t)link_between(one, other)->nvlink_status;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t device, unsigned int link, nvmlEnableState_t *is_up) {
    BEGIN(device, "NvLinkState");
    const char *line = nth(unit, "nvlink", (int)link);
    if (line == NULL) return NVML_ERROR_NOT_SUPPORTED;
    *is_up = *line == '1' ? NVML_FEATURE_ENABLED : NVML_FEATURE_DISABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNvLinkRemotePciInfo_v2(nvmlDevice_t device, unsigned int link, nvmlPciInfo_t *pci) {
    BEGIN(device, "NvLinkRemotePciInfo");
    const char *line = nth(unit, "nvlink", (int)link);
    return line != NULL && sscanf(line, "%*d %31s", pci->busId) == 1 ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

static nvmlReturn_t running(const struct unit *unit, const char *key, unsigned int *count, nvmlProcessInfo_t *found) {
    unsigned int room = *count, n = 0;
    for (; nth(unit, key, (int)n) != NULL; n++) {
        if (n >= room || found == NULL) continue;
        memset(&found[n], 0, sizeof found[n]);
        sscanf(nth(unit, key, (int)n), "%u %llu", &found[n].pid, &found[n].usedGpuMemory);
    }
    *count = n;
    return n > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *found) {
    BEGIN(device, "ComputeRunningProcesses");
    return running(unit, "compute", count, found);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *found) {
    BEGIN(device, "GraphicsRunningProcesses");
    return running(unit, "graphics", count, found);
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, nvmlMemoryErrorType_t kind, nvmlEccCounterType_t since, unsigned long long *errors) {
    BEGIN(device, "TotalEccErrors");
    if (kind != NVML_MEMORY_ERROR_TYPE_UNCORRECTED || since != NVML_VOLATILE_ECC) return NVML_ERROR_INVALID_ARGUMENT;
    SCAN(1, "ecc", "%llu", errors);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t device, unsigned int *corrected, unsigned int *uncorrected, unsigned int *pending, unsigned int *failed) {
    BEGIN(device, "RemappedRows");
    SCAN(4, "rows", "%u %u %u %u", corrected, uncorrected, pending, failed);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetRetiredPagesPendingStatus(nvmlDevice_t device, nvmlEnableState_t *is_pending) {
    BEGIN(device, "RetiredPagesPendingStatus");
    unsigned int pending;
    SCAN(1, "retired", "%u", &pending);
    *is_pending = pending ? NVML_FEATURE_ENABLED : NVML_FEATURE_DISABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuFabricInfoV(nvmlDevice_t device, nvmlGpuFabricInfoV_t *fabric) {
    BEGIN(device, "GpuFabricInfoV");
    unsigned int state, status;
    SCAN(3, "fabric", "%u %u %u", &state, &status, &fabric->healthMask);
    fabric->state = (nvmlGpuFabricState_t)state;
    fabric->status = (nvmlReturn_t)status;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values) {
    BEGIN(device, "FieldValues");
    const char *action = text(unit, "recovery");
    for (int place = 0; place < count; place++) {
        int is_known = values[place].fieldId == NVML_FI_DEV_GET_GPU_RECOVERY_ACTION && action != NULL;
        values[place].nvmlReturn = is_known ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
        values[place].valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
        values[place].value.uiVal = is_known ? (unsigned int)atoi(action) : 0;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long *reasons) {
    BEGIN(device, "CurrentClocksEventReasons");
    SCAN(1, "reasons", "%llu", reasons);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    BEGIN(device, "UtilizationRates");
    SCAN(2, "utilisation", "%u %u", &rates->gpu, &rates->memory);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *milliwatts) {
    BEGIN(device, "PowerUsage");
    SCAN(1, "power", "%u", milliwatts);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, nvmlTemperatureSensors_t sensor, unsigned int *celsius) {
    BEGIN(device, "Temperature");
    (void)sensor;
    SCAN(1, "temperature", "%u", celsius);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *millijoules) {
    BEGIN(device, "TotalEnergyConsumption");
    SCAN(1, "energy", "%llu", millijoules);
    return NVML_SUCCESS;
}
