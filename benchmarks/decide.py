"""`decide()` in process: the rules of 10,000 hosts beside those of one, both with five more rules that every request is put to.

All requests differ, a quarter is denied, and nothing is prepared beyond what a door prepares. `64` and `4096` are how many: with
more, less of what they touch is still in the processor's cache.  Example:  python -m benchmarks.decide --seconds 10
"""

from functools import partial
from typing import Final

from benchmarks.measure import Call, arguments, report, settle, table, talk, time_in_turns
from benchmarks.workload import NOW, Case, cases, rule_set
from watchword_server.core.decide import decide
from watchword_server.core.snapshot import RuleSnapshot, compile_rules

HOSTS: Final = 10_000
_FEW: Final = 64
_MANY: Final = 4096


def main() -> None:
    parser = arguments(__doc__, seconds=4.0)
    parser.add_argument("--hosts", type=int, default=HOSTS, help="hosts of the larger set (default: %(default)s)")
    options = parser.parse_args()
    talk(f"compiling the rules of {options.hosts:,} hosts")
    sets = {"one": (1, compile_rules(rule_set(1))), "all": (options.hosts, compile_rules(rule_set(options.hosts)))}
    subjects: dict[str, list[Call]] = {}
    for name, (hosts, snapshot) in sets.items():
        for count in (_FEW, _MANY):
            subjects[f"{name} {count}"] = _calls(cases(count, hosts), snapshot)
        few = cases(_FEW, hosts)
        subjects[f"{name} allowed"] = _calls([case for case in few if case.allowed], snapshot)
        subjects[f"{name} denied"] = _calls([case for case in few if not case.allowed], snapshot)
    settle()
    talk(f"timing {len(subjects)} subjects in turns, {options.seconds:g} s each")
    timings = time_in_turns(subjects, seconds=options.seconds)
    figures = {
        name: {"median_us": timing.median, "p99_us": timing.p99, "batch_us": timing.batch} for name, timing in timings.items()
    }
    kinds = [name.removeprefix("one ") for name in subjects if name.startswith("one ")]
    ratios = {kind: timings[f"all {kind}"].median / timings[f"one {kind}"].median for kind in kinds}
    header = [
        "decide(), µs",
        "median, 1 host",
        "p99",
        f"median, {options.hosts:,} hosts",
        "p99",
        "mean in a batch",
        "ratio of medians",
    ]
    rows = [
        [f"{kind} requests", one.median, one.p99, every.median, every.p99, every.batch, f"{ratios[kind]:.2f}x"]
        for kind in kinds
        for one, every in [(timings[f"one {kind}"], timings[f"all {kind}"])]
    ]
    report(
        "decide", {"hosts": options.hosts, "figures": figures, "ratios": ratios}, as_json=options.json, text=table(header, rows)
    )


def _calls(asked: list[Case], snapshot: RuleSnapshot) -> list[Call]:
    """One call a case. Raises `SystemExit` where a decision is wrong: what is timed has to be right."""
    for case in asked:
        decision = decide(case.request, case.device, snapshot, now=NOW)
        if decision.allowed is not case.allowed or decision.errors:
            raise SystemExit(f"wrong decision `{decision.reason}` {decision.errors} for {case.request}")
    return [partial(decide, case.request, case.device, snapshot, now=NOW) for case in asked]


if __name__ == "__main__":
    main()
