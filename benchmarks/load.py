"""Loading and changing 10,000 rules: seconds, bytes a rule, and what decisions notice of it.

`rules` are half Access applications, each with a policy of its own, half Gateway rules, as a store holds them. Bytes a rule are
measured for each kind alone, each in a process of its own.  Example:  python -m benchmarks.load --part decisions
"""

import argparse
import asyncio
import contextlib
import gc
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from benchmarks import entries, load_decisions, workload
from benchmarks.measure import REPEATS, arguments, quantile, report, settle, table, talk
from watchword_server.configuration.book import RuleBook
from watchword_server.configuration.consistency import page_of, read_objects
from watchword_server.configuration.document.base import Section
from watchword_server.core.decide import decide
from watchword_server.core.snapshot import RuleSnapshot, compile_rules
from watchword_server.ports.rules import StoredObject
from watchword_server.services.collecting import uncollected

RULES: Final = 10_000
_KINDS: Final = ("applications", "gateway_rules")


def main() -> None:
    parser = arguments(__doc__, seconds=5.0)
    parser.add_argument("--rules", type=int, default=RULES, help="(default: %(default)s)")
    parser.add_argument("--part", choices=list(_PARTS), action="append", help="only this; repeatable")
    parser.add_argument("--memory-of", type=Path, help="measure the entries of this file in this process, as JSON")
    parser.add_argument("--trace", action="store_true", help="with --memory-of: by tracemalloc, else by the process's size")
    options = parser.parse_args()
    if options.memory_of:
        print(json.dumps(_bytes_a_rule(options.memory_of, options.rules, trace=options.trace)))
        return
    figures: dict[str, Any] = {}
    texts = []
    for part in options.part or _PARTS:
        figures[part], text = _PARTS[part](options)
        texts.append(text)
    report("load", {"rules": options.rules, **figures}, as_json=options.json, text="\n\n".join(texts))


# ---- Loading --------------------------------------------------------------------------------------------------------------


def _loading(options: argparse.Namespace) -> tuple[dict[str, float], str]:
    """From stored entries to a snapshot; beside the floor, which is to read the entries' JSON and nothing else."""
    talk(f"loading {options.rules:,} rules, {REPEATS} times")
    objects, revision = entries.stored(entries.half_and_half(options.rules))
    texts = [json.dumps(dict(stored.body)) for stored in objects]
    steps: dict[str, list[float]] = {}

    @contextlib.contextmanager
    def timed(step: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        steps.setdefault(step, []).append(time.perf_counter() - begun)

    for _ in range(REPEATS):
        gc.collect()
        with timed("read the JSON (the floor)"):
            for text in texts:
                json.loads(text)
        with uncollected(many=True):  # as `Rules` does it
            with timed("validate and build"):
                book = RuleBook.read(objects, revision)
            with timed("compile"):
                snapshot = compile_rules(book.rules)
        rule = next(page.stored for page in book.pages[Section.GATEWAY_RULES].values())
        with timed("one changed: validate and build"):
            [placed] = read_objects([replace(rule, body={**rule.body, "action": "allow"})])
            changed, problems = book.changed([page_of(placed)])
        if problems:
            raise SystemExit(f"the change is refused: {problems}")
        with timed("one changed: compile"):
            compile_rules(changed.rules, snapshot)
    medians = {step: quantile(sorted(times), 0.5) for step, times in steps.items()}
    floor = medians["read the JSON (the floor)"]
    medians["load"] = medians["validate and build"] + medians["compile"]
    rows = [[step, seconds * 1e3, f"{seconds / floor:.1f}x"] for step, seconds in medians.items()]
    return medians, table([f"{options.rules:,} rules", "ms", "to the floor"], rows)


# ---- Memory ---------------------------------------------------------------------------------------------------------------


def _memory(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """What a loaded rule keeps, the entries it was made of let go: as Python counts it, and as the process grew."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        for kind in _KINDS:
            talk(f"memory of {options.rules:,} {kind}")
            objects, _ = entries.stored(entries.document(**{name: options.rules if name == kind else 0 for name in _KINDS}))
            path = Path(directory) / kind
            path.write_text("".join(json.dumps(_as_json(stored)) + "\n" for stored in objects))
            bodies = [json.dumps(dict(stored.body)) for stored in objects if stored.kind == kind]
            figures[kind] = {"its JSON": sum(map(len, bodies)) / len(bodies)}  # the floor
            for flags in (["--trace"], []):
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.load",
                    "--memory-of",
                    str(path),
                    "--rules",
                    str(options.rules),
                    *flags,
                ]
                figures[kind] |= json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    keys = list(figures[_KINDS[0]])
    return figures, table(["bytes a rule", *keys], [[kind, *(figures[kind][key] for key in keys)] for kind in _KINDS])


def _bytes_a_rule(path: Path, rules: int, *, trace: bool) -> dict[str, float]:
    few = _loaded(_entries(path, at_most=10))  # what is there once, however many rules: imports, caches
    gc.collect()
    if trace:
        tracemalloc.start()
    before = _resident()
    book, snapshot = _loaded(_entries(path, at_most=rules))
    gc.collect()
    if not trace:
        return {"resident": (_resident() - before) / rules}
    loaded, _ = tracemalloc.get_traced_memory()
    for case in workload.cases(rules, rules):  # each host once: what is worked out when it is first needed counts, too
        decide(case.request, case.device, snapshot, now=workload.NOW)
    del case, few
    gc.collect()
    asked, _ = tracemalloc.get_traced_memory()
    del book
    gc.collect()
    deciding, _ = tracemalloc.get_traced_memory()
    return {"traced": loaded / rules, "each host asked": asked / rules, "of that to decide": deciding / rules}


def _loaded(objects: Sequence[StoredObject]) -> tuple[RuleBook, RuleSnapshot]:
    """What `Rules` keeps."""
    book = RuleBook.read(objects, 1)
    return book, compile_rules(book.rules)


def _as_json(stored: StoredObject) -> dict[str, Any]:
    return {field.name: getattr(stored, field.name) for field in fields(stored)} | {"body": dict(stored.body)}


def _entries(path: Path, *, at_most: int) -> list[StoredObject]:
    """Entries as a store reads them: those that others refer to, and so many of those that are counted."""
    found: list[StoredObject] = []
    counted = 0
    with path.open() as lines:
        for stored in (StoredObject(**json.loads(line)) for line in lines):
            counted += stored.kind in _KINDS
            if stored.kind not in _KINDS or counted <= at_most:
                found.append(stored)
    return found


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


# ---- Changing one -----------------------------------------------------------------------------------------------------------


def _changing(options: argparse.Namespace) -> tuple[dict[str, float], str]:
    """One rule changed, and all loaded again, on a real store until in force; beside the same with ten rules, the floor."""

    async def medians() -> dict[str, float]:
        found: dict[str, float] = {}
        for rules in (10, options.rules):
            talk(f"changing one rule of {rules:,}")
            async with entries.house(entries.half_and_half(rules)) as house:
                settle()
                times = []
                for turn in range(REPEATS):
                    change = entries.gateway_rule(0, action=("allow", "block")[turn % 2])
                    begun = time.perf_counter()
                    await house.rules.apply({"gateway_rules": [change]}, prune=False, dry_run=False)
                    times.append(time.perf_counter() - begun)
                found[f"one of {rules}"] = quantile(sorted(times), 0.5)
                begun = time.perf_counter()
                await house.rules.load()
                found[f"load {rules}"] = time.perf_counter() - begun
        return found

    figures = asyncio.run(medians())
    rows = [
        [name, few * 1e3, many * 1e3, f"{many / few:.1f}x"]
        for name, few, many in (
            ("Rules.apply, one changed", figures["one of 10"], figures[f"one of {options.rules}"]),
            ("Rules.load, from the store", figures["load 10"], figures[f"load {options.rules}"]),
        )
    ]
    return figures, table(["until in force, ms", "among 10", f"among {options.rules:,}", "ratio"], rows)


def _decisions(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """What decisions notice meanwhile."""
    return load_decisions.measure(options.rules, options.seconds)


_PARTS: Final[dict[str, Callable[[argparse.Namespace], tuple[dict[str, Any], str]]]] = {
    "loading": _loading,
    "memory": _memory,
    "changing": _changing,
    "decisions": _decisions,
}


if __name__ == "__main__":
    main()
