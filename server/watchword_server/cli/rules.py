"""`watchword rules`: a rule file looked at before it is applied."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from watchword_server.cli.client import call
from watchword_server.cli.json_lines import json_lines
from watchword_server.cli.options import DATA, JSON
from watchword_server.cli.refusals import RefusedFile, UnusableFile
from watchword_server.cli.rule_files import FILE_OR_DIRECTORY, files_of
from watchword_server.cli.settings_file import CONFIG, language_of
from watchword_server.cli.trees import print_readings
from watchword_server.cli.words import counted
from watchword_server.errors import ConfigurationError
from watchword_server.rehearsal.checking import findings_in
from watchword_server.rehearsal.diffing import Differ, Difference
from watchword_server.rehearsal.findings import Finding, Weight
from watchword_server.rehearsal.running import Ran, outcome_in_words, readings_of, run
from watchword_server.rehearsal.scenarios import load_scenarios
from watchword_server.rehearsal.snapshots import LoadedRules, RefusedFileError, load_rules, statistics_record

_WORTH_A_BAR: Final = 4 << 20  # bytes of a log; reading them takes about a second
_SHOWN_LINES: Final = 10  # of one group of changed decisions


@click.group()
def rules() -> None:
    """Check, test and compare rule files before they are applied."""


# ---- check ----------------------------------------------------------------------------------------------------------------


@rules.command()
@click.argument("files", nargs=-1, required=True, type=FILE_OR_DIRECTORY, metavar="FILE|DIR...")
@click.option("--strict", is_flag=True, help="Exit code 1 for warnings too.")
@CONFIG
@JSON
def check(files: Sequence[Path], *, strict: bool, config: Path | None, as_json: bool) -> None:
    """Tell all that is wrong in each FILE, and all that may be.

    Several, and all `*.yaml` and `*.yml` below a directory, are checked together, as one file with the entries of all: write
    those that refer to one another.

    First the errors, as `watchword apply` tells them; if there are none, what is valid and may not be what you meant. Every rule
    in which an absent fact could widen access is told, with why and what to write instead. Exit code 1 for an error, with
    --strict for a warning; notes are never a fault.

    \b
    Example:  watchword rules check rules.yaml --strict
    """
    try:
        loaded = load_rules(*files_of(files, refusal=RefusedFile), language=language_of(config))
    except RefusedFileError as error:
        if as_json:
            click.echo(json.dumps({"errors": list(error.lines), "findings": []}))
            _exit(1)
        raise RefusedFile(str(error)) from None
    findings = findings_in(loaded)
    if as_json:
        click.echo(json.dumps({"errors": [], "findings": [_finding_record(finding, loaded) for finding in findings]}))
    for finding in [] if as_json else findings:
        first, *excerpt = loaded.files.explain(ConfigurationError([finding.problem]))[0].split("\n")
        click.echo("\n".join([f"{first} [{finding.weight}: {finding.code}]", *excerpt]))
    warnings = sum(finding.weight is Weight.WARNING for finding in findings)
    what = str(files[0]) if len(files) == 1 else f"{len(files)} files"
    click.echo(f"{what}: no errors, {counted(warnings, 'warning')}, {counted(len(findings) - warnings, 'note')}", err=True)
    if strict and warnings:
        _exit(1)


def _finding_record(finding: Finding, loaded: LoadedRules) -> dict[str, object]:
    name, position = loaded.files.position(finding.problem.path)
    return {
        "code": finding.code.value,
        "weight": finding.weight.value,
        "file": name,
        "line": None if position is None else position.line,
        "column": None if position is None else position.column,
        "path": list(loaded.files.place(finding.problem.path)[1]),
        "message": finding.problem.message,
        "excerpt": list(finding.problem.excerpt),
    }


# ---- test -----------------------------------------------------------------------------------------------------------------


@rules.command()
@click.argument("files", nargs=-1, required=True, type=FILE_OR_DIRECTORY, metavar="FILE|DIR...")
@click.option("--rules", "rule_file", type=FILE_OR_DIRECTORY, help="Test these rules instead of those that each FILE names.")
@click.option("--explain", "explaining", is_flag=True, help="Print how each failed scenario was decided.")
@CONFIG
@JSON
def test(files: Sequence[Path], rule_file: Path | None, *, explaining: bool, config: Path | None, as_json: bool) -> None:
    """Run the scenarios of each FILE.

    A scenario is a device, a request, and the decision that has to come of it; one line for each on stdout. Of a directory, the
    scenarios of all `*.yaml` and `*.yml` below it. Exit code 0 if all
    are as expected, 1 if one is not, 2 if a file cannot be used.

    \b
    Example:  watchword rules test scenarios/*.yaml --explain
    """
    language = language_of(config)
    records: list[dict[str, object]] = []
    failed = 0
    with _unusable_files():
        rules = None if rule_file is None else files_of([rule_file])
        loaded = [load_scenarios(file, rules=rules, language=language) for file in files_of(files)]
    for file in loaded:
        for ran in run(file):
            failed += not ran.passed
            readings = readings_of(ran, file.rules.snapshot) if explaining and not ran.passed else None
            if as_json:
                records.append(_ran_record(file.name, ran, readings))
                continue
            click.echo(f"ok   {ran.scenario.name}" if ran.passed else f"FAIL {ran.scenario.name}: {'; '.join(ran.differences)}")
            if readings is not None:
                print_readings(readings, indent="       ")
    total = sum(len(file.scenarios) for file in loaded)
    if as_json:
        click.echo(json.dumps({"passed": total - failed, "failed": failed, "scenarios": records}))
    click.echo(f"{counted(total, 'scenario')}, {failed} failed", err=True)
    if failed:
        _exit(1)


def _ran_record(file: str, ran: Ran, readings: Sequence[Mapping[str, object]] | None) -> dict[str, object]:
    decision = ran.decision
    record: dict[str, object] = {
        "file": file,
        "name": ran.scenario.name,
        "passed": ran.passed,
        "differences": list(ran.differences),
        "decision": decision.outcome.value,
        "reason": decision.reason,
        "rules": [{"kind": rule.kind, "name": rule.name} for rule in decision.rules],
        "reported": [{"kind": rule.kind, "name": rule.name} for rule in decision.reported],
        "checks": [{"name": check.name, "standing": check.standing.value} for check in decision.checks],
        "in_words": outcome_in_words(decision),
    }
    return record if readings is None else {**record, "readings": list(readings)}


# ---- diff -----------------------------------------------------------------------------------------------------------------


@rules.command()
@click.argument("old", type=FILE_OR_DIRECTORY)
@click.argument("new", type=FILE_OR_DIRECTORY)
@click.option(
    "--decisions",
    "log",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="A decision log: JSON lines, also as .gz; `-` for stdin.",
)
@click.option("--all", "all_changes", is_flag=True, help="Also tell where only the deciding rule or the reason differs.")
@CONFIG
@JSON
def diff(old: Path, new: Path, log: Path, *, all_changes: bool, config: Path | None, as_json: bool) -> None:
    """Tell what NEW would change, by recorded requests.

    Each is decided again by the rules of OLD and by those of NEW. Checks, policies and service tokens are told apart by name;
    which device a request came from and what its caller could assert is taken from the log. Exit code 0 if nothing changes, 1 if
    something does, 2 if a file cannot be used, 3 if nothing that can be told changes, and of some decisions it cannot be told, or
    the log has none.

    \b
    Example:  watchword rules diff rules.yaml new-rules.yaml --decisions /var/lib/watchword/log/decisions.jsonl
    """
    language = language_of(config)
    with _unusable_files():
        before, after = (load_rules(*files_of([path]), language=language) for path in (old, new))
    differ = Differ(before.snapshot, after.snapshot, all_changes=all_changes)
    try:
        for record in json_lines(log, progress=_progress):
            differ.take(record)
    except OSError as error:
        raise click.UsageError(f"`{log}` cannot be read: {(error.strerror or str(error)).lower()}") from None
    difference = differ.difference
    if as_json:
        click.echo(json.dumps(_difference_record(difference)))
    else:
        _print_difference(difference)
    for line in _summary(difference):
        click.echo(line, err=True)
    if difference.changed:
        _exit(1)
    if not difference.decided:
        click.echo("the log has no decision to compare by: name one with `event` `decision` in its lines", err=True)
    if difference.not_told or not difference.decided:
        _exit(3)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], object]]:
    """A bar, where somebody looks and it takes a while."""
    hidden = not sys.stderr.isatty() or total < _WORTH_A_BAR
    with click.progressbar(length=total, file=sys.stderr, label="reading", hidden=hidden) as bar:
        yield bar.update


def _print_difference(difference: Difference) -> None:
    for kind, before, after, lines in difference.groups():
        click.echo(f"{kind}  {counted(lines.total(), 'decision')}  {before} → {after}")
        for line, count in lines.most_common(_SHOWN_LINES):
            click.echo(f"    {count:>6}  {line}")
        if len(lines) > _SHOWN_LINES:
            click.echo(f"    and {len(lines) - _SHOWN_LINES} more kinds of request")


def _summary(difference: Difference) -> Iterator[str]:
    yield f"{counted(difference.decided, 'decision')}: {len(difference.changed)} would change, {difference.unchanged} would not"
    for why, count in difference.not_told.most_common():
        yield f"{counted(count, 'decision')} cannot be told: {why}"
    if difference.skipped:
        yield f"{counted(difference.skipped, 'line')} skipped that are no decisions"
    if difference.unreadable:
        yield f"{counted(difference.unreadable, 'line')} could not be read"


def _difference_record(difference: Difference) -> dict[str, object]:
    return {
        "decided": difference.decided,
        "unchanged": difference.unchanged,
        "skipped": difference.skipped,
        "unreadable": difference.unreadable,
        "not_told": dict(difference.not_told),
        "changed": [
            {"id": one.id, "at": one.at, "request": one.line, "before": asdict(one.before), "after": asdict(one.after)}
            for one in difference.changed
        ],
    }


# ---- stats ----------------------------------------------------------------------------------------------------------------


@rules.command()
@click.argument("file", required=False, type=FILE_OR_DIRECTORY)
@DATA
@CONFIG
@JSON
def stats(file: Path | None, data: Path, *, config: Path | None, as_json: bool) -> None:
    """Count the rules, and tell which run for every request.

    Of FILE, or without it of the server's rules in force.

    \b
    Example:  watchword rules stats rules.yaml
    """
    if file is None:
        found = call(data, "GET", "/api/v1/rules/stats")
    else:
        try:
            found = statistics_record(load_rules(*files_of([file], refusal=RefusedFile), language=language_of(config)))
        except RefusedFileError as error:
            raise RefusedFile(str(error)) from None
    if as_json:
        click.echo(json.dumps(found))
        return
    for line in _statistics(found):
        click.echo(line)


def _statistics(found: Mapping[str, Any]) -> Iterator[str]:
    yield from _counts("entries", found["entries"])
    yield from _counts("hosts of applications", found["hosts"])
    for one in found["gateway"]:
        yield f"Gateway, {counted(one['rules'], one['filter'] + ' rule')}"
        yield from _counts("  found by", one["indexed"], indent="    ")
        yield f"  run for every request: {len(one['always'])}"
        for rule in one["always"]:
            yield f"    {rule['name']} ({rule['action']}): {rule['why']}"
    yield from _counts("lists", {f"{one['name']} ({one['type']})": one["values"] for one in found["lists"]})


def _counts(title: str, counts: Mapping[str, int], indent: str = "  ") -> Iterator[str]:
    if not counts:
        return
    yield title
    width = max(map(len, counts))
    for name, count in counts.items():
        yield f"{indent}{name.ljust(width)}  {count}"


# ---- Shared ---------------------------------------------------------------------------------------------------------------


@contextmanager
def _unusable_files() -> Iterator[None]:
    """Exit code 2: 1 says that the rules do what they should not."""
    try:
        yield
    except RefusedFileError as error:
        raise UnusableFile(str(error)) from None


def _exit(code: int) -> NoReturn:
    click.get_current_context().exit(code)
