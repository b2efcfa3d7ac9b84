"""api/gpu_schemas — what answers say of GPUs, as JSON schema for openapi.json. Checks nothing."""

from agent.api.schema_words import (
    NUMBER_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    TIME_OR_NULL,
    WHOLE,
    WHOLE_OR_NULL,
    array_of,
    everything,
    one_of,
    or_null,
    ref,
)
from agent.api.views import Json
from agent.core.gpu_findings import GpuState, Need
from agent.core.topology import LinkClass


def gpu_schemas() -> dict[str, Json]:
    return {
        "Gpu": gpu_schema(),
        "GpuList": everything(
            items=array_of(ref("Gpu")),
            links=array_of(everything(gpus=TEXTS, link=one_of(link.name.lower() for link in LinkClass))),
            condition=TEXT_OR_NULL,
        ),
        "GpuRequest": {"type": "object", "properties": {"words": TEXT}},
    }


def gpu_schema() -> Json:
    return everything(
        uuid=TEXT,
        model=TEXT,
        memory=WHOLE,
        pci=TEXT_OR_NULL,
        numa_node=WHOLE_OR_NULL,
        mig=TEXT_OR_NULL,
        used={"type": "boolean"},
        leased={"type": "boolean"},
        job=TEXT_OR_NULL,
        state=or_null(one_of(GpuState)),
        reason=TEXT_OR_NULL,
        words=TEXT_OR_NULL,
        since=TIME_OR_NULL,
        needs=array_of(one_of(Need)),
        probation_left=NUMBER_OR_NULL,
        sample=or_null(everything(**sample_properties())),
    )


def gpu_usage_schema() -> Json:
    figures: dict[str, Json] = {
        "peak_memory": WHOLE_OR_NULL,
        "utilisation": NUMBER_OR_NULL,
        "utilisation_seconds": {"type": "number"},
        "energy": NUMBER_OR_NULL,
        "energy_seconds": {"type": "number"},
        "slowdown_seconds": NUMBER_OR_NULL,
    }
    return everything(gpu_seconds=NUMBER_OR_NULL, **figures, gpus=array_of(everything(uuid=TEXT, **figures)))


def sample_properties() -> dict[str, Json]:
    return {
        "utilisation": NUMBER_OR_NULL,
        "memory_used": WHOLE_OR_NULL,
        "power": NUMBER_OR_NULL,
        "temperature": NUMBER_OR_NULL,
        "slowdowns": {"type": ["array", "null"], "items": TEXT},
    }
