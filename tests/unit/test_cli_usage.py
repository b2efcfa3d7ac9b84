"""What GPUs did, as people read it: no figure is passed off as one of more time than it is known for."""

from typing import Any

from agent.cli.show.usage import energy_text, usage_facts

HOUR = 3600.0
USAGE: dict[str, Any] = {
    "gpu_seconds": 2 * HOUR,
    "peak_memory": 20 * 2**30,
    "utilisation": 79.6,
    "utilisation_seconds": 2 * HOUR,
    "energy": 1.8e6,
    "energy_seconds": 1.99 * HOUR,
    "slowdown_seconds": 0,
    "gpus": [],
}


def test_the_figures_of_a_job_are_told_each_in_its_row() -> None:
    facts = dict(usage_facts(USAGE))
    assert facts == {
        "gpu time": "2h00m",
        "gpu busy": "80 %",
        "gpu memory": "20.0 GiB at most",
        "gpu energy": "500 Wh",
        "slowed down": None,
    }
    assert (
        dict(usage_facts({**USAGE, "slowdown_seconds": 90.0}))["slowed down"] == "1m of it, by heat or power"
    )


def test_what_is_known_for_a_part_of_the_time_says_so() -> None:
    facts = dict(usage_facts({**USAGE, "utilisation_seconds": HOUR, "energy_seconds": 300.0}))
    assert facts["gpu busy"] == "80 % (known for 1h00m)"
    assert facts["gpu energy"] == "500 Wh (known for 5m)"


def test_what_is_not_known_has_no_row() -> None:
    nothing = dict.fromkeys(USAGE) | {"utilisation_seconds": 0.0, "energy_seconds": 0.0}
    assert [value for _, value in usage_facts(nothing) if value] == []
    assert usage_facts(None) == []


def test_energy_is_told_in_watt_hours() -> None:
    assert [energy_text(joules) for joules in (0.0, 1800.0, 3.6e6, 9e7)] == [
        "0 Wh",
        "0.5 Wh",
        "1.00 kWh",
        "25.00 kWh",
    ]
