"""Helper processes: what they may import, and what becomes of those that hang, crash or babble."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from watchword import possession
from watchword_agent import helper_process, native
from watchword_agent.errors import CollectionFailedError
from watchword_agent.helper_process import HelperProcess, Helpers
from watchword_agent.native import serving

STATEMENT = possession.statement(
    nonce=b"n" * 32, audience="audience_1", device_id="dev_1", session_id=b"s" * 16, check_id="check_1", certificate_der=b"x"
)


def helpers(tmp_path: Path, code: str, *, answer_seconds: float = 10) -> Helpers:
    """Helpers whose program is this code."""
    program = tmp_path / "helper.py"
    program.write_text(code)
    return Helpers(command=(sys.executable, "-I", "-S", str(program)), answer_seconds=answer_seconds)


def failure(process: HelperProcess, request: dict[str, object] | None = None) -> CollectionFailedError:
    with process, pytest.raises(CollectionFailedError) as caught:
        process.ask(request or {"op": "find"})
    return caught.value


def ends(pid: int) -> bool:
    """Whether a process has ended, or does within ten seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 10)[0])
    finally:
        os.close(descriptor)


@pytest.fixture
def echoing(tmp_path: Path) -> Iterator[HelperProcess]:
    code = "import sys\nfor line in sys.stdin: print('{\"ok\": ' + line.strip() + '}', flush=True)"
    with helpers(tmp_path, code).start("echo") as process:
        yield process


def test_each_request_has_its_answer(echoing: HelperProcess) -> None:
    assert [echoing.ask({"number": number}) for number in range(3)] == [{"number": number} for number in range(3)]


def test_an_error_is_told_and_the_helper_goes_on(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for line in sys.stdin:\n"
        "    good = 'good' in line\n"
        '    print(\'{"ok": {}}\' if good else \'{"error": {"code": "store_locked", "detail": "`/x`"}}\', flush=True)'
    )
    with helpers(tmp_path, code).start("bad") as process:
        with pytest.raises(CollectionFailedError) as caught:
            process.ask({"op": "bad"})
        assert (caught.value.code, caught.value.detail) == ("store_locked", "`/x`")
        assert process.ask({"op": "good"}) == {}


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit(3)",
        "import os; os.abort()",
        "print('nonsense', flush=True); import time; time.sleep(60)",
        "print('[]', flush=True); import time; time.sleep(60)",
        "print('{}', flush=True); import time; time.sleep(60)",
        "print('{\"ok\": 1}', flush=True); import time; time.sleep(60)",
        "print('{\"error\": 1}', flush=True); import time; time.sleep(60)",
    ],
)
def test_one_that_crashes_or_babbles_is_ended(tmp_path: Path, code: str) -> None:
    process = helpers(tmp_path, code).start("bad")
    assert failure(process).code == "helper_crashed"
    assert process._process.returncode is not None


def test_one_that_does_not_answer_is_ended_with_what_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, pathlib, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid))\n"
        "time.sleep(600)"
    )
    process = helpers(tmp_path, code, answer_seconds=1.5).start("slow")
    assert failure(process).code == "helper_timeout"
    assert process._process.returncode is not None
    assert ends(int((tmp_path / "child").read_text()))


def test_one_that_cannot_be_started_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(CollectionFailedError) as caught:
        Helpers(command=(str(tmp_path / "missing"),)).start("nss")
    assert caught.value.code == "helper_unavailable"


def test_it_ends_when_nobody_asks_any_more(echoing: HelperProcess) -> None:
    echoing.end()
    assert echoing._process.returncode == 0


def test_what_is_said_unasked_is_heard(tmp_path: Path) -> None:
    with helpers(tmp_path, 'import time; print(\'{"ok": {"changed": "system"}}\', flush=True); time.sleep(60)').start("w") as one:
        assert one.next(seconds=10) == {"changed": "system"}
        assert one.next(seconds=0.01) is None


# ---- The programs themselves --------------------------------------------------------------------------------------------

NATIVE = sorted(path.stem for path in Path(native.__file__).parent.glob("*.py") if path.stem not in ("__init__", "__main__"))


@pytest.mark.parametrize("name", NATIVE)
def test_a_helper_needs_the_standard_library_and_the_possession_statement_alone(name: str) -> None:
    """So it starts under any interpreter of the platform, and carries nobody else's code into a privileged process."""
    code = (
        f"import sys; sys.path[:0] = {helper_process._ROOTS!r}; before = set(sys.modules)\n"
        f"import watchword_agent.native.{name}\n"
        "print('\\n'.join(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    roots = {module.split(".")[0] for module in done.stdout.split()} - set(sys.stdlib_module_names)
    assert roots <= {"watchword", "watchword_agent"}
    ours = {module for module in done.stdout.split() if module.startswith("watchword")}
    assert ours <= {"watchword", "watchword.possession", "watchword_agent", "watchword_agent.native"} | {
        f"watchword_agent.native.{each}" for each in NATIVE
    }


def test_a_helper_signs_statements_only() -> None:
    assert serving.statement_of({"statement": serving.base64_of(STATEMENT)}) == STATEMENT
    for other in (b"", b"x" * 200, b" " * 64 + b"TLS 1.3, client CertificateVerify\0" + b"h" * 32, STATEMENT[1:]):
        with pytest.raises(serving.HelperError):
            serving.statement_of({"statement": serving.base64_of(other)})


def test_what_a_library_prints_is_no_answer(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path[:0] = {helper_process._ROOTS!r}\n"
        "import os\n"
        "from watchword_agent.native.serving import serve\n"
        "def find(request):\n"
        "    os.write(1, b'loading modules...\\n')\n"
        "    return {}\n"
        "serve({'find': find})"
    )
    with helpers(tmp_path, code).start("loud") as process:
        assert process.ask({"op": "find"}) == {}
