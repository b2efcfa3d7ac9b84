"""jobs/host_limits — what a host refuses of a spec that is sound in itself: limits, images, network, URLs. Pure; stores nothing."""

from collections.abc import Iterator

from agent.core.notify import TROUBLES
from agent.core.outgoing import OutgoingRules, find_url_trouble
from agent.core.policy import Policy, image_refusal, least
from agent.core.upload_troubles import UPLOAD_TROUBLES
from agent.spec import Fault, JobSpec, Network, Upload, fill_template, parse_reference, read_url

# The path of the kit, and what is wrong with it, is for the host's owner, who finds it in the log.
KIT_FAULT = Fault(
    "ssh",
    "ssh_kit_missing",
    "can't be had on this host: it has no SSH kit that can be used",
    "Leave ssh out, or use another host; its owner should run `gpu-agent kit build`.",
)
RAISE_LIMIT = "Ask for less, or let the operator raise it under [limits]."


def find_host_faults(spec: JobSpec, policy: Policy) -> list[Fault]:
    """Every way in which the spec asks for more than this host gives."""
    return [
        *find_limit_faults(spec, policy),
        *find_disk_fault(spec, policy),
        *find_image_faults(spec.image, policy),
        *find_network_faults(spec, policy),
        *find_notify_faults(spec, policy.outgoing),
        *find_upload_faults(spec.outputs.upload, policy.outgoing),
    ]


def find_limit_faults(spec: JobSpec, policy: Policy) -> Iterator[Fault]:
    """The operator's limits, and of CPUs and memory what the host has at all: the engine refuses the one, and bounds nobody by the other."""
    limits = policy.limits
    asked: tuple[tuple[str, float | None, float | None, float | None, str], ...] = (
        ("cpus", spec.cpus, limits.cpus, policy.host_cpus, "CPUs"),
        ("memory", spec.memory, limits.memory_bytes, policy.host_memory_bytes, "bytes"),
        ("shm", spec.shm, limits.shm_bytes, None, "bytes"),
        ("pids", spec.pids, limits.pids, None, "processes"),
        ("ports", len(spec.published), limits.job_ports, None, "ports"),
    )
    for field, wanted, most, has, unit in asked:
        bound = least(most, has)
        if wanted is None or bound is None or wanted <= bound:
            continue
        if bound == has:
            words, remedy = f"this host has {bound:.15g}", "Ask for less, or use another host."
        else:
            words, remedy = f"this host gives a job at most {bound:.15g}", RAISE_LIMIT
        yield Fault(field, "over_host_limit", f"{wanted:.15g} {unit} asked for, {words}", remedy)


def find_disk_fault(spec: JobSpec, policy: Policy) -> Iterator[Fault]:
    """The operator's limit, or where he set none, or a larger one, what the disk could hold at all."""
    bounds = [most for most in (policy.limits.disk_bytes, policy.most_disk_bytes) if most is not None]
    if spec.disk is not None and bounds and spec.disk > min(bounds):
        message = f"{spec.disk} bytes asked for, this host gives the outputs of a job at most {min(bounds)}"
        yield Fault("disk", "over_host_limit", message, RAISE_LIMIT)


def find_image_faults(image: str, policy: Policy) -> Iterator[Fault]:
    refusal = image_refusal(parse_reference(image), policy.images)
    if refusal is not None:
        yield Fault("image", "image_not_allowed", refusal, "Use an image that this host allows ([images]).")


def find_network_faults(spec: JobSpec, policy: Policy) -> Iterator[Fault]:
    if spec.network is Network.EGRESS and not policy.dns:
        yield Fault(
            "network",
            "no_dns",
            "this host has no DNS server that a job could reach",
            'Set `network` to "none", or let the operator set dns under [network].',
        )
    if spec.network is Network.EGRESS and policy.network_refusal is not None:
        refusal = policy.network_refusal
        yield Fault(
            "network",
            "network_unprotected",
            f"this host can't hold jobs to its rules of the network: {refusal.message}",
            f'Set `network` to "none", or let the operator mend it: {refusal.remedy}',
        )
    if spec.network is Network.NONE and spec.ports:
        yield Fault(
            "ports",
            "ports_without_network",
            "a job without a network publishes no ports",
            'Leave the ports out, or set `network` to "egress".',
        )


def find_notify_faults(spec: JobSpec, rules: OutgoingRules) -> Iterator[Fault]:
    """What the URL itself tells. Where its name leads is seen each time it is connected to."""
    if spec.notify is None:
        return
    trouble = find_url_trouble(read_url(spec.notify.url), rules)
    if trouble is not None:
        words = TROUBLES[trouble]
        yield Fault("notify.url", trouble.value, words.message, words.remedy)


def find_upload_faults(upload: Upload, rules: OutgoingRules) -> Iterator[Fault]:
    """As of `notify`. The host of a URL with `{path}` is the same for every path."""
    for name, url in upload.urls.items():
        filled = fill_template(url, job="job", attempt=1, path="path") if name == "url" else url
        trouble = find_url_trouble(read_url(filled), rules)
        if trouble is not None:
            words = UPLOAD_TROUBLES[trouble]
            yield Fault(f"outputs.upload.{name}", trouble.value, words.message, words.remedy)
