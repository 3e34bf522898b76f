"""Removes each numbered step of verification in turn, and expects the tests to notice.

The server package is copied, one step is removed from the copy, and the tests about it run against the copy, which their own
process and the `watchword serve` they start find first on PYTHONPATH. A mutant counts as noticed if an assertion failed, and not
if the tests crashed or the mutant was not loaded. The copy without a change has to be green.

    tools/mutate_verify.py              all of them
    tools/mutate_verify.py "step 4"     those whose name holds this

Exit code 0: the unchanged copy is green and every mutant was noticed.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tokenize
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGE: Final = ROOT / "server" / "watchword_server"
VERIFY: Final = "core/verify.py"
CERTIFICATE: Final = "core/kinds/client_certificate.py"
ENROLLMENT: Final = "core/enrollment.py"
ENROLLING: Final = "services/enrollment.py"
CODEC: Final = "doors/codec.py"
KEYS: Final = "core/keys.py"
DECIDE: Final = "core/decide.py"
ACCESS: Final = "core/access.py"
POSTURE: Final = "core/posture.py"
SCENE: Final = "core/scene.py"
SESSION: Final = "core/session.py"
KEYS_STORE: Final = "adapters/store_sql/device_keys.py"
BOOTS: Final = "core/boots.py"
JUDGING: Final = "services/judging.py"
VERIFIER: Final = "services/verifier.py"
RESOLVING: Final = "services/resolving.py"

_STEP: Final = re.compile(r"# (?:step (\d+):|\((\d+)\))")
_NUMBERED: Final = re.compile(r"step \d+")  # a mutant of a whole step
_RUN_SECONDS: Final = 150
_LOADED: Final = "loaded"  # the copy writes here who imported it
_PROGRAMS: Final = {"tests/server/": "watchword serve", "tests/core/": "pytest"}  # what has to import it for these tests

# What stands in for step 8: any certificate that can be parsed, valid for a while.
_NO_VERDICT: Final = (
    "verified = VerifiedCertificate(type('AnyPath', (), {'leaf': parse(leaf)})(), type(context.now)(context.now + 3600))"
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of one file of the server, and the tests (arguments of pytest) that have to notice it."""

    name: str
    file: str
    change: Callable[[str], str]
    tests: tuple[str, ...]


# ---- The mutants --------------------------------------------------------------------------------------------------------

_LIES: Final = "tests/server/test_rejections.py::test_a_lie_is_rejected_with_its_reason_and_changes_nothing"
_CERTIFICATES: Final = "tests/server/test_certificate_failures.py::test_a_wrong_certificate_fails_its_check_with_the_reason"
_PROOFS: Final = "tests/server/test_possession_failures.py::test_a_certificate_without_a_proof_fails_with_the_reason"
_INACTIVE: Final = "tests/server/test_inactive_devices.py"
_CORE: Final = "tests/core/test_verify.py"
_FOREIGN: Final = f"{_CORE}::test_evidence_that_names_one_thing_wrong_is_foreign"
_LIMITS: Final = "tests/core/test_codec.py::test_up_to_its_limit_a_payload_is_evidence_and_beyond_it_malformed"
_PLANS: Final = "tests/core/test_enrollment.py"
_ENROLLMENT_LIES: Final = "tests/server/test_enrollment_lies.py::test_a_lie_is_refused_like_any_other_and_uses_nothing_up"


def mutants() -> Iterator[Mutant]:
    """All of them. Raises `LookupError` if the code does not have the steps that are listed here, each once."""
    yield from _steps()
    yield from _parts_of_steps()
    yield from _leaving_and_rotating()
    yield from _enrollment()
    yield from _deciding()
    yield from _clones()


def _steps() -> Iterator[Mutant]:
    found = sorted(step for file in (VERIFY, CERTIFICATE) for step in _numbers(_source(file)))
    if found != list(range(1, 10)):
        raise LookupError(f"{VERIFY} and {CERTIFICATE} have the steps {found} where 1 to 9 belong")
    unknown = f"{_INACTIVE}::test_an_unknown_device_is_challenged_like_any_other_and_then_rejected"
    yield Mutant("step 1", VERIFY, without(1), (unknown,))
    yield Mutant(
        "step 2", VERIFY, without(2, instead="key = key or device.key"), (f"{_LIES}[envelope_invalid: signed by another key]",)
    )
    yield Mutant(
        "step 3: unreadable bytes are an empty message",
        CODEC,
        _ignoring("parse_evidence", "DecodeError"),
        (f"{_LIES}[evidence_malformed: bytes that are no message]",),
    )
    yield Mutant("step 4", VERIFY, without(4), (f"{_LIES}[evidence_foreign: a nonce of its own making]",))
    yield Mutant(
        "step 5",
        VERIFY,
        without(5),
        ("tests/server/test_lateness.py::test_an_answer_to_an_old_challenge_is_rejected_and_a_fresh_one_comes_with_it",),
    )
    yield Mutant("step 6", VERIFY, without(6), (f"{_LIES}[out_of_sequence: sequence 2 where 1 is next]",))
    yield Mutant(
        "step 7",
        VERIFY,
        without(7),
        ("tests/server/test_claim_failures.py::test_a_claim_is_as_old_as_its_checks_schedule_at_most",),
    )
    yield Mutant(
        "step 8", CERTIFICATE, without(8, instead=_NO_VERDICT), (f"{_CERTIFICATES}[certificate_wrong_issuer: of another CA]",)
    )
    yield Mutant("step 9", CERTIFICATE, without(9), (f"{_PROOFS}[possession_invalid: another nonce]",))


def _parts_of_steps() -> Iterator[Mutant]:
    """Steps that ask several things: each of them."""
    state = f"{_CORE}::test_only_an_active_device_is_believed"
    yield Mutant("step 1: the state", VERIFY, _operand("_believed", 1, "False"), (state,))
    for index, name in enumerate(("device_id", "key_id", "audience", "session_id", "epoch", "nonce")):
        yield Mutant(f"step 4: {name}", VERIFY, _operand("_names", index, "True"), (f"{_FOREIGN}[{name}]",))
    for function in ("parse_evidence", "_claim", "_candidate"):
        for message, change in _guards(CODEC, function, "EvidenceMalformedError"):
            yield Mutant(f"step 3: {message}", CODEC, change, (_LIMITS,))
    empty = "return Claim(check_id, message.check_revision, age_seconds)"
    yield Mutant("step 3: a claim that says nothing", CODEC, _last_case("_claim", empty), (_LIMITS,))
    yield Mutant("step 3: the length of a text", CODEC, _operand("_text", 0, "False"), (_LIMITS,))
    yield Mutant("step 3: the characters of a text", CODEC, _operand("_text", 1, "False"), (_LIMITS,))


def _leaving_and_rotating() -> Iterator[Mutant]:
    """Goodbyes and key rotations: what they have beyond the steps that they share with evidence."""
    goodbye, rotation = "tests/server/test_goodbye.py::test_", "tests/server/test_key_rotation.py::test_"
    lie, pending = (
        f"{rotation}a_lie_is_rejected_with_its_reason_and_changes_nothing",
        f"{_CORE}::test_a_pending_key_signs_until_its_time_is_up_and_is_promoted_by_what_it_signs",
    )
    as_goodbye = f"{goodbye}a_device_without_results_may_leave_too"
    as_evidence = f"{_LIES}[envelope_invalid: signed as an enrollment]"
    states = "tests/core/test_session.py::test_a_key_rotation_needs_a_claimed_session"
    for name, file, text, instead, test in (
        ("the type is the goodbye's", VERIFY, "GOODBYE_TYPE, device", "EVIDENCE_TYPE, device", as_goodbye),
        ("the type is the evidence's", VERIFY, "EVIDENCE_TYPE, device", "envelope.payload_type, device", as_evidence),
        (
            "a goodbye is understood whole",
            CODEC,
            "if len(UnknownFieldSet(message)):",
            "if False:",
            f"{goodbye}a_lie_is_rejected_with_its_reason_and_changes_nothing",
        ),
        (
            "a goodbye keeps no claims",
            VERIFY,
            "error_code=DEVICE_SAID_GOODBYE)",
            ")",
            f"{goodbye}a_changed_check_revives_nobody_who_left",
        ),
        (
            "two signatures",
            CODEC,
            "expected = 2 if",
            "expected = len(message.signatures) if",
            f"{rotation}any_number_of_signatures_but_two_ends_the_stream",
        ),
        (
            "the new key signs",
            VERIFY,
            "if not keys.envelope_is_signed_by_new(",
            "if False and not keys.envelope_is_signed_by_new(",
            lie,
        ),
        (
            "the enrolled key proposes",
            VERIFY,
            "(device.key,), expected",
            "keys_of(device, _now), expected",
            f"{rotation}a_pending_key_proposes_no_other",
        ),
        ("the session is claimed", SESSION, "if self.state is not SessionState.CLAIMED:", "if False:", states),
        ("a pending key has its time", VERIFY, "now >= device.pending_until", "False", pending),
        ("only a pending key is promoted", VERIFY, "key == believed.pending_key)", "True)", pending),
        (
            "a key is one device's",
            KEYS_STORE,
            "if transaction.connection.execute(_IS_TAKEN, values).scalar_one():",
            "if False:",
            lie,
        ),
    ):
        yield Mutant(f"leaving and rotating: {name}", file, _rewritten(text, instead), (test,))


def _enrollment() -> Iterator[Mutant]:
    numbers = _numbers(_source(ENROLLMENT))
    if numbers != list(range(1, 9)):
        raise LookupError(f"{ENROLLMENT} has the conditions {numbers} where 1 to 8 belong")
    for number in numbers:
        yield Mutant(f"enrollment ({number})", ENROLLMENT, without(number), (_PLANS,))
    yield Mutant("enrollment (3): not revoked", ENROLLMENT, _operand("plan_enrollment", 0, "True", which=1), (_PLANS,))
    yield Mutant("enrollment (3): by this token", ENROLLMENT, _operand("plan_enrollment", 1, "True", which=1), (_PLANS,))
    for reason, change in _guards(ENROLLMENT, "plan_enrollment", "EnrollmentRefusedError"):
        yield Mutant(f"enrollment: {reason}", ENROLLMENT, change, (_PLANS,))
    told = {
        (ENROLLING, "finish", "EnrollmentRefusedError", "proof_invalid"): "proof: signed by another key",
        (ENROLLING, "finish", "EnrollmentRefusedError", "proof_foreign"): "proof: another nonce",
        (KEYS, "load_device_key", "KeyRefusedError", "an Ed25519 point of small order"): f"key: the point 01{'00' * 31}",
    }
    for (file, function, error, message), lie in told.items():
        change = dict(_guards(file, function, error))[message]
        yield Mutant(f"enrollment: {message}", file, change, (f"{_ENROLLMENT_LIES}[{lie}]",))


_ACCESS_TESTS: Final = "tests/decide/test_access.py::test_"
_GATEWAY_TESTS: Final = "tests/decide/test_gateway.py::test_"
_SELECTORS: Final = f"{_ACCESS_TESTS}a_selector_is_true_false_or_unknown"
_DEMANDS: Final = f"{_ACCESS_TESTS}evidence_can_be_demanded"
_STANDINGS: Final = f"{_GATEWAY_TESTS}a_block_treats_what_is_not_known_to_pass_as_failed"
_FAILING: Final = f"{_GATEWAY_TESTS}a_rule_that_cannot_be_evaluated_blocks_or_grants_nothing"
_UNKNOWN_IN_EXCLUDE: Final = "                if value is None:\n                    result = None\n            return result"


def _deciding() -> Iterator[Mutant]:
    """What keeps a decision from being wider than its rules."""
    for name, file, text, instead, test in (
        (
            "an invalid link denies",
            DECIDE,
            "if device.outcome is _INVALID:",
            "if False:",
            f"{_ACCESS_TESTS}an_invalid_link_denies",
        ),
        (
            "a block ends it",
            DECIDE,
            "if rule.blocks:",
            "if False:",
            f"{_GATEWAY_TESTS}a_rule_without_conditions_matches_everything",
        ),
        ("an allow has to be true", DECIDE, "(truth is None and not policy.denies)", "False", _SELECTORS),
        ("a deny applies unless false", DECIDE, "(truth is None and not policy.denies)", "truth is None", _SELECTORS),
        (
            "a report is not enforced",
            DECIDE,
            "elif policy.policy.report_only:",
            "elif False:",
            f"{_ACCESS_TESTS}a_report_grants_nothing",
        ),
        (
            "each reading of a path",
            DECIDE,
            "if is_plain(request.path):",
            "if True:",
            f"{_ACCESS_TESTS}each_reading_has_to_be_allowed",
        ),
        ("a failing rule blocks", DECIDE, "applies = rule.blocks", "applies = False", _FAILING),
        ("a result expires", POSTURE, "now >= result.expires_at", "False", _STANDINGS),
        (
            "another revision is no result",
            POSTURE,
            "result.check_revision != check.revision",
            "False",
            f"{_ACCESS_TESTS}a_selector_on_the_device",
        ),
        ("a pass needs a proven link", POSTURE, "if not device.proven:", "if False:", _STANDINGS),
        ("a device is active", POSTURE, "posture.device.state is not _ACTIVE", "False", _STANDINGS),
        ("evidence can be too weak", POSTURE, "_WORTH[result.level] < _WORTH[demand.level]", "False", _DEMANDS),
        ("a key can be out of hardware", POSTURE, "protection is None or not protection.in_hardware", "False", _DEMANDS),
        ("evidence can be too old", POSTURE, "now - result.evidence_at > demand.max_age_seconds", "False", _DEMANDS),
        ("unknown fails in a block", SCENE, "opposite = self.unknown_fails", "opposite = False", _STANDINGS),
        (
            "exclude carries the unknown",
            ACCESS,
            _UNKNOWN_IN_EXCLUDE,
            "            return result",
            f"{_ACCESS_TESTS}an_unknown_exclude_grants_nothing",
        ),
    ):
        yield Mutant(f"deciding: {name}", file, _rewritten(text, instead), (test,))


_CLONES: Final = "tests/services/test_clones.py::test_"
_BY_KEY: Final = f"{_CLONES}a_key_is_cloned_whatever_certificate_it_comes_with[another certificate of the key]"
_BEFORE: Final = f"{_CLONES}the_first_device_is_denied_before_evidence_with_another_certificate_of_its_key_is_committed"
_OTHER_RESULTS: Final = (
    "tests/services/test_key_clones.py"
    "::test_results_that_the_telling_evidence_is_not_about_fail_as_well_and_before_it_is_committed"
)
_BOOTS: Final = "tests/core/test_boots.py::test_"


def _clones() -> Iterator[Mutant]:
    """What notices a key that is alive twice."""
    for name, file, text, instead, test in (
        (
            "by key",
            VERIFY,
            "KeyFingerprint(verdict.key_sha256)",
            "KeyFingerprint(verdict.fingerprint)",
            "tests/server/test_clones.py::test_a_key_is_cloned_whatever_certificate_it_comes_with",
        ),
        (
            "other holders fail a claim",
            JUDGING,
            "if judged.proven_key is None or not others:",
            "if True:",
            f"{_CLONES}the_second_device_to_prove_a_certificate_fails_and_so_does_the_first",
        ),
        (
            "the other fails before the commit",
            VERIFIER,
            "narrowed_others += [self.memory.narrow(other, results) for other, results in clones]",
            "pass",
            f"{_BEFORE}[another certificate of the key]",
        ),
        ("at a proxy, by key", RESOLVING, "if len(holders) > 1:", "if len(live) > 1:", _BY_KEY),
        (
            "a superseded boot",
            BOOTS,
            "superseded or within_a_session",
            "within_a_session",
            f"{_BOOTS}only_a_superseded_boot_that_comes_back_is_another_machines",
        ),
        (
            "one session is one boot's",
            BOOTS,
            "superseded or within_a_session",
            "superseded",
            f"{_BOOTS}one_session_is_one_boots",
        ),
        (
            "a device key on two machines",
            VERIFY,
            "if device.key_cloned_at is not None and check.config.on_clone is OnClone.FAIL:",
            "if False:",
            f"{_CORE}::test_a_key_on_two_machines_fails_what_would_pass_and_the_proof_stays_on_record",
        ),
        (
            "its other results fail before the commit",
            VERIFIER,
            "[self.memory.narrow(device.id, key_cloned)] if key_cloned else []",
            "[]",
            _OTHER_RESULTS,
        ),
    ):
        yield Mutant(f"clones: {name}", file, _rewritten(text, instead), (test,))


# ---- Changes of source --------------------------------------------------------------------------------------------------


def without(number: int, *, instead: str = "pass") -> Callable[[str], str]:
    """Replaces the statement whose first line has the comment of that step."""

    def change(source: str) -> str:
        line = _numbered_lines(source)[number]
        statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt) and node.lineno == line]
        return _replaced(source, max(statements, key=_size), instead)

    return change


def _guards(file: str, function: str, error: str) -> Iterator[tuple[str, Callable[[str], str]]]:
    """Each `if ...: raise error(message)` of a function that has no number: its message, and the change that removes it."""
    source = _source(file)
    numbered = set(_numbered_lines(source).values())
    for node in ast.walk(_function(source, function)):
        match node:
            case ast.If(body=[ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[message]))], orelse=[]):
                if name == error and node.lineno not in numbered:
                    yield _text(message), _removing(node)


def _removing(node: ast.stmt) -> Callable[[str], str]:
    return lambda source: _replaced(source, node, "pass")


def _text(message: ast.expr) -> str:
    """What a message says, without what is filled in."""
    parts = [part.value for part in ast.walk(message) if isinstance(part, ast.Constant)]
    return " ".join(part.strip(" ;") for part in parts if isinstance(part, str))


def _operand(function: str, index: int, value: str, *, which: int = 0) -> Callable[[str], str]:
    """Replaces an operand of the `which`-th `and` or `or` of a function."""

    def change(source: str) -> str:
        conditions = [node for node in ast.walk(_function(source, function)) if isinstance(node, ast.BoolOp)]
        return _replaced(source, sorted(conditions, key=lambda node: node.lineno)[which].values[index], value)

    return change


def _ignoring(function: str, error: str) -> Callable[[str], str]:
    """Goes on where a function catches this error."""

    def change(source: str) -> str:
        for node in ast.walk(_function(source, function)):
            match node:
                case ast.ExceptHandler(type=ast.Name(id=name), body=[statement]) if name == error:
                    return _replaced(source, statement, "pass")
        raise LookupError(f"`{function}` does not catch `{error}`")

    return change


def _rewritten(text: str, instead: str) -> Callable[[str], str]:
    """A change of exactly this text, which has to stand there once."""

    def change(source: str) -> str:
        if source.count(text) != 1:
            raise LookupError(f"`{text}` stands {source.count(text)} times where it belongs once")
        return source.replace(text, instead)

    return change


def _last_case(function: str, instead: str) -> Callable[[str], str]:
    """Replaces what the last case of a function's `match` does."""

    def change(source: str) -> str:
        [found] = [node for node in ast.walk(_function(source, function)) if isinstance(node, ast.Match)]
        [statement] = found.cases[-1].body
        return _replaced(source, statement, instead)

    return change


def _source(file: str) -> str:
    return (PACKAGE / file).read_text(encoding="utf-8")


def _numbered_lines(source: str) -> dict[int, int]:
    """The lines of the numbered comments. Raises `LookupError` for a number that is there twice."""
    lines: dict[int, int] = {}
    for token in tokenize.generate_tokens(iter(source.splitlines(keepends=True)).__next__):
        matched = _STEP.match(token.string) if token.type == tokenize.COMMENT else None
        if matched is not None:
            number = int(matched[1] or matched[2])
            if number in lines:
                raise LookupError(f"step {number} is there twice")
            lines[number] = token.start[0]
    return lines


def _numbers(source: str) -> list[int]:
    return sorted(_numbered_lines(source))


def _function(source: str, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
            return node
    raise LookupError(f"there is no function `{name}`")


def _replaced(source: str, node: ast.stmt | ast.expr, instead: str) -> str:
    """The source with a node's text replaced; the rest stays as it is, comments and all."""
    lines = source.encode().splitlines(keepends=True)  # columns of the AST count bytes
    if node.end_lineno is None or node.end_col_offset is None:
        raise LookupError("a node without an end")
    before = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    after = lines[node.end_lineno - 1][node.end_col_offset :] + b"".join(lines[node.end_lineno :])
    changed = (before + instead.encode() + after).decode()
    ast.parse(changed)
    return changed


def _size(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno


# ---- Running ------------------------------------------------------------------------------------------------------------


class Outcome(StrEnum):
    """What became of a run of tests."""

    PASSED = "passed"
    FAILED = "failed"  # by an assertion
    BROKEN = "broken"  # otherwise: nothing is proven


@dataclass(frozen=True, slots=True)
class Run:
    """A run of tests against a copy of the server."""

    outcome: Outcome
    by: str  # the first test that did not pass, or what went wrong
    seconds: float


def run(change: tuple[str, Callable[[str], str]] | None, tests: Sequence[str], *, cache: Path) -> Run:
    """Runs tests against a copy, with one file changed. `cache` is a folder for bytecode that may not lie beside its source."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        directory = Path(name)
        copy = directory / PACKAGE.name
        shutil.copytree(PACKAGE, copy)
        if change is not None:
            file, make = change
            source = (copy / file).read_text(encoding="utf-8")
            changed = make(source)
            if changed == source:
                raise LookupError(f"{file} was not changed")
            (copy / file).write_text(changed, encoding="utf-8")
        _sign_in(copy, directory / _LOADED)
        return _run_tests(directory, tests, cache)


def _sign_in(copy: Path, book: Path) -> None:
    """Lets the copy write down which program imports it: the proof that it was the copy that was tested."""
    with (copy / "__init__.py").open("a", encoding="utf-8") as init:
        init.write(
            "import pathlib as _pathlib, sys as _sys\n"
            f"with _pathlib.Path({str(book)!r}).open('a') as _book:\n"
            "    _book.write(' '.join(_sys.argv[:2]) + '\\n')\n"
        )


def _run_tests(directory: Path, tests: Sequence[str], cache: Path) -> Run:
    report, started = directory / "report.xml", time.monotonic()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON"))}
    environment |= {
        "PYTHONPATH": str(directory),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(directory / "hypothesis"),
    }
    if sys.dont_write_bytecode:  # then not beside the sources; without any, each run would compile the libraries once more
        environment["PYTHONPYCACHEPREFIX"] = str(cache)
    options = ["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={directory / 't'}", f"--junitxml={report}"]
    try:
        finished = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_RUN_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Run(Outcome.BROKEN, f"no end within {_RUN_SECONDS} s", time.monotonic() - started)
    outcome, by = _judged(finished, report)
    loaded = (directory / _LOADED).read_text() if (directory / _LOADED).exists() else ""
    for folder, program in _PROGRAMS.items():
        if any(test.startswith(folder) for test in tests) and program not in loaded:
            outcome, by = Outcome.BROKEN, f"`{program}` did not load the copy\n{finished.stdout}{finished.stderr}"
    return Run(outcome, by, time.monotonic() - started)


def _judged(finished: "subprocess.CompletedProcess[str]", report: Path) -> tuple[Outcome, str]:
    if finished.returncode == 0:
        return Outcome.PASSED, ""
    if finished.returncode == 1 and report.exists():
        for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - pytest wrote it just now
            failure = case.find("failure")
            if failure is not None and failure.get("message", "").startswith(("assert ", "AssertionError", "Failed: DID NOT")):
                return Outcome.FAILED, f"{case.get('classname', '')}: {case.get('name', '')}"
    return Outcome.BROKEN, f"pytest ended with {finished.returncode}\n{finished.stdout}{finished.stderr}"


def _noticed(mutant: Mutant, cache: Path) -> Run:
    change = (mutant.file, mutant.change)
    done = run(change, mutant.tests, cache=cache)
    # What is broken may be the machine's fault, a port that was taken meanwhile; what passed never is.
    return run(change, mutant.tests, cache=cache) if done.outcome is Outcome.BROKEN else done


def main() -> int:
    """The exit code: 1 if a mutant was not noticed, or if the tests fail without one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only mutants whose name holds one of these")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at once (default: %(default)s)")
    parser.add_argument("--every", type=int, default=1, help="of those without a step of their own only every so many")
    arguments = parser.parse_args()
    chosen = [mutant for mutant in mutants() if not arguments.names or any(name in mutant.name for name in arguments.names)]
    if not chosen:
        parser.error("no mutant has such a name")
    for mutant in chosen:  # all of them, also those that are not tried now: a change that fits nowhere any more is told
        mutant.change(_source(mutant.file))
    chosen = [mutant for number, mutant in enumerate(chosen) if number % arguments.every == 0 or _NUMBERED.fullmatch(mutant.name)]
    tests = tuple(dict.fromkeys(test for mutant in chosen for test in mutant.tests))
    escaped = 0
    with tempfile.TemporaryDirectory(prefix="bytecode-") as cache, ThreadPoolExecutor(arguments.jobs) as pool:
        unchanged = pool.submit(run, None, tests, cache=Path(cache))
        runs = [pool.submit(_noticed, mutant, Path(cache)) for mutant in chosen]
        for mutant, done in zip(chosen, (future.result() for future in runs), strict=True):
            noticed = done.outcome is Outcome.FAILED
            escaped += not noticed
            print(f"{'noticed' if noticed else 'ESCAPED':<8} {mutant.name:<56} {done.seconds:5.1f} s  {done.by}", flush=True)
        green = unchanged.result()
    print(
        f"{len(chosen) - escaped} of {len(chosen)} noticed; without a change the tests {green.outcome} in {green.seconds:.1f} s"
    )
    if green.outcome is not Outcome.PASSED:
        print(green.by, file=sys.stderr)
    return int(escaped > 0 or green.outcome is not Outcome.PASSED)


if __name__ == "__main__":
    sys.exit(main())
