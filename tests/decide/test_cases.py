"""Every scenario file of tests/cases: rules, standing and a request, and the decision that comes of it.

The doors answer the same: `tests/doors/test_scenarios.py`.
"""

from pathlib import Path

import pytest

from watchword_server.rehearsal.running import inputs_of, run
from watchword_server.rehearsal.scenarios import Scenario, ScenarioFile, load_scenarios

CASES = Path(__file__).resolve().parents[1] / "cases"
FILES = {path.parent.name: load_scenarios(path) for path in sorted(CASES.glob("*/scenarios.yaml"))}
SCENARIOS = [
    pytest.param(file, scenario, id=f"{name}: {scenario.name}") for name, file in FILES.items() for scenario in file.scenarios
]


@pytest.mark.parametrize("name", FILES)
def test_every_scenario_comes_out_as_expected(name: str) -> None:
    failed = [f"{ran.scenario.name}: {'; '.join(ran.differences)}" for ran in run(FILES[name]) if not ran.passed]
    assert failed == []


@pytest.mark.parametrize(("file", "scenario"), SCENARIOS)
def test_a_scenario_that_expects_the_opposite_fails(file: ScenarioFile, scenario: Scenario) -> None:
    """A runner that finds nothing would find nothing here either."""
    opposite = "deny" if scenario.expect.decision == "allow" else "allow"
    turned = scenario.model_copy(update={"expect": scenario.expect.model_copy(update={"decision": opposite})})
    (ran,) = run(ScenarioFile(file.name, file.rules, file.now, (turned,)))
    assert any(difference.startswith(f"expected {opposite}, got ") for difference in ran.differences)


def test_the_scenarios_of_a_caller_hold_only_what_it_may_assert() -> None:
    file = FILES["callers"]
    scenario = next(scenario for scenario in file.scenarios if scenario.caller == "observer")
    request, device = inputs_of(scenario, file.rules.snapshot.rules, now=file.now)  # type: ignore[arg-type]  # an instant is a float
    assert (request.identity, device.posture, device.certificate_possible) == (None, None, False)
    assert set(request.facts) == {"http.src_ip.geo.country"}
    assert request.source_ip is not None
