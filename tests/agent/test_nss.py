"""NSS databases: what lies in them, whose key signs, and in how many ways they disappoint."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from agent.nss_databases import NssDatabase
from agent.proofs import verify_possession
from support.pki import Credential, KeyKind, Pki
from watchword import possession
from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError, SigningFailedError
from watchword_agent.helper_process import Helpers
from watchword_agent.identity import Identity
from watchword_agent.kinds.client_certificate import look
from watchword_agent.stores import nss
from watchword_agent.stores.base import Access, Contents, Found, Visit
from watchword_agent.stores.nss import NssStore

pytestmark = [pytest.mark.needs_program("certutil"), pytest.mark.needs_program("pk12util")]

ABSENT, USABLE = pb.PRIVATE_KEY_STATE_ABSENT, pb.PRIVATE_KEY_STATE_USABLE
STATEMENT = possession.statement(
    nonce=b"n" * 32, audience="audience_1", device_id="dev_1", session_id=b"s" * 16, check_id="check_1", certificate_der=b"x"
)

# By an interpreter that other users may start, too, as an installed agent's is: the tests' own may lie in somebody's home.
_PYTHON = next((path for path in ("/usr/bin/python3",) if os.access(path, os.X_OK)), sys.executable)
HELPERS = Helpers(command=(_PYTHON, *Helpers().command[1:]))


@pytest.fixture
def exits() -> Iterator[ExitStack]:
    with ExitStack() as exits:
        yield exits


@pytest.fixture
def database(tmp_path: Path) -> NssDatabase:
    return NssDatabase(tmp_path / "nssdb")


def contents(exits: ExitStack, *places: str, store: NssStore | None = None, **access: object) -> Contents:
    allowed = Access(HELPERS, **access)  # type: ignore[arg-type]
    return (store or NssStore()).look(places, Visit({"hostname": "laptop-1", "serial_number": None}, allowed, exits))


def failure(place: str | Path, store: NssStore | None = None) -> str:
    with ExitStack() as exits, pytest.raises(CollectionFailedError) as caught:
        contents(exits, str(place), store=store)
    assert caught.value.detail
    return caught.value.code


def proves(found: Found) -> bool:
    assert found.sign is not None
    proof = found.sign(STATEMENT)
    verify_possession(found.der, scheme=proof.scheme, signature=proof.signature, statement=STATEMENT)
    return True


def refusal(found: Found) -> pb.PrivateKeyState:
    assert found.sign is not None
    with pytest.raises(SigningFailedError) as caught:
        found.sign(STATEMENT)
    return caught.value.state


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384"])
def test_a_key_signs_and_never_leaves(database: NssDatabase, pki: Pki, exits: ExitStack, kind: KeyKind) -> None:
    client = pki.issuing.issue(key=kind)
    database.add(client, "laptop")
    (found,) = contents(exits, f"sql:{database.directory}").found
    assert (found.der, found.private_key) == (client.der, USABLE)
    assert found.location == f"sql:{database.directory}: laptop"
    assert proves(found)
    assert proves(found)  # by the helper that runs already


def test_the_directory_of_a_database_is_one_without_a_prefix(database: NssDatabase, pki: Pki) -> None:
    client = pki.issuing.issue()
    database.add(client, "laptop")
    wanted = pb.ClientCertificateCheck(paths=[str(database.directory)], check_private_key=True)
    with ExitStack() as exits:
        found = look(wanted, Identity("linux", "laptop-1", None), Visit({}, Access(Helpers()), exits))
        (candidate,) = found.candidates()
        assert candidate.chain == (client.der,)


def test_a_certificate_without_a_key_and_one_with_are_told_apart(database: NssDatabase, pki: Pki, exits: ExitStack) -> None:
    with_key, without = pki.issuing.issue(), pki.issuing.issue("other")
    database.add(with_key, "mine")
    database.add_certificate(without, "theirs")
    states = {found.der: found.private_key for found in contents(exits, f"sql:{database.directory}").found}
    assert states == {with_key.der: USABLE, without.der: ABSENT}


def test_a_renewed_certificate_of_the_same_key_signs_too(database: NssDatabase, pki: Pki, exits: ExitStack) -> None:
    first = pki.issuing.issue()
    renewed = pki.issuing.issue(key=first.key)
    database.add(first, "laptop")
    database.add_certificate(renewed, "laptop")
    found = contents(exits, f"sql:{database.directory}").found
    assert {each.der for each in found if proves(each)} == {first.der, renewed.der}


def test_a_password_is_given_by_a_file_of_this_device(tmp_path: Path, pki: Pki, exits: ExitStack) -> None:
    locked = NssDatabase(tmp_path / "locked", password="correct horse")
    locked.add(pki.issuing.issue(), "laptop")
    place, directory = f"sql:{locked.directory}", str(locked.directory)
    (found,) = contents(exits, place).found
    assert refusal(found) == pb.PRIVATE_KEY_STATE_LOCKED
    (found,) = contents(exits, place, password_files={directory: locked.password_file}).found
    assert proves(found)
    wrong = tmp_path / "wrong"
    wrong.write_text("battery staple\n")
    wrong.chmod(0o600)
    (found,) = contents(exits, place, password_files={directory: wrong}).found
    assert refusal(found) == pb.PRIVATE_KEY_STATE_WRONG_PASSWORD
    (found,) = contents(exits, place, password_files={directory: tmp_path / "missing"}).found
    assert refusal(found) == pb.PRIVATE_KEY_STATE_FAILED


def test_the_default_is_the_systems_database(database: NssDatabase, pki: Pki, exits: ExitStack) -> None:
    database.add(pki.issuing.issue(), "laptop")
    store = NssStore(system=str(database.directory))
    assert len(contents(exits, "system", store=store).found) == 1
    assert not contents(exits, "system", store=store).explicit
    watched = store.watched(["system"], Visit({}, Access(Helpers()), exits))
    assert f"{database.directory}/cert9.db" in watched.files
    assert failure("system", NssStore(system="/nonexistent")) == "store_missing"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks at the databases of others")
def test_users_are_those_who_are_signed_in(tmp_path: Path) -> None:
    assert failure("user", NssStore(sessions=str(tmp_path))) == "user_not_signed_in"
    (tmp_path / "0").mkdir()
    (tmp_path / "not-a-number").mkdir()
    assert failure("user", NssStore(sessions=str(tmp_path))) == "user_not_signed_in"
    (tmp_path / "1").mkdir()  # daemon, who has no database
    assert failure("user", NssStore(sessions=str(tmp_path))) == "store_missing"


def test_a_database_that_disappoints_says_how(database: NssDatabase, tmp_path: Path) -> None:
    place = database.directory
    assert failure(f"sql:{place}") == "store_empty"
    assert failure(f"dbm:{place}") == "store_legacy"
    assert failure(f"sql:{tmp_path}/missing") == "store_missing"
    assert failure("sql:relative") == "path_invalid"
    assert failure("sql:/var/${serial_number}") == "variable_unavailable"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert failure(f"sql:{empty}") == "store_missing"
    (empty / "key4.db").touch()
    assert failure(f"sql:{empty}") == "store_incomplete"
    (empty / "key4.db").unlink()
    (empty / "cert8.db").touch()
    assert failure(f"sql:{empty}") == "store_legacy"
    (empty / "cert9.db").touch()
    assert failure(f"sql:{empty}") == "store_corrupt"


def test_a_pipe_in_place_of_a_database_hangs_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cert9.db")
    assert failure(f"sql:{tmp_path}") == "store_corrupt"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks at the databases of others")
def test_one_users_damaged_database_is_nobody_elses(
    database: NssDatabase, pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exits: ExitStack
) -> None:
    database.add(pki.issuing.issue(), "laptop")
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "cert9.db").write_bytes(b"damaged")
    monkeypatch.setattr(NssStore, "_of_users", lambda _: [str(bad), str(database.directory)])
    found = contents(exits, "user")
    assert len(found.found) == 1
    assert [trouble.code for trouble in found.troubles] == ["store_corrupt"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_users_link_to_a_database_of_root_is_the_users(database: NssDatabase, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(database.directory)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    assert nss._owner(str(link)) == {"user": 65534, "group": 65534}
    assert nss._owner(str(database.directory)) == {}


def test_a_damaged_database_is_corrupt(database: NssDatabase, pki: Pki) -> None:
    database.add(pki.issuing.issue(), "laptop")
    path = database.directory / "cert9.db"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    assert failure(f"sql:{database.directory}") == "store_corrupt"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    assert failure(f"sql:{database.directory}") == "store_corrupt"


def test_without_its_keys_a_certificate_is_found_and_its_key_is_not(database: NssDatabase, pki: Pki, exits: ExitStack) -> None:
    database.add(pki.issuing.issue(), "laptop")
    (database.directory / "key4.db").write_bytes(b"damaged")
    (found,) = contents(exits, f"sql:{database.directory}").found
    assert found.private_key == pb.PRIVATE_KEY_STATE_UNREADABLE
    (database.directory / "key4.db").unlink()
    (found,) = contents(exits, f"sql:{database.directory}").found
    assert found.private_key == pb.PRIVATE_KEY_STATE_UNREADABLE


def test_another_program_that_holds_it_locks_it(database: NssDatabase, pki: Pki, exits: ExitStack) -> None:
    database.add(pki.issuing.issue(), "laptop")
    with closing(sqlite3.connect(database.directory / "cert9.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # in the middle of writing: it can be read
        assert len(contents(exits, f"sql:{database.directory}").found) == 1
        other.execute("COMMIT")
        other.execute("BEGIN EXCLUSIVE")
        assert failure(f"sql:{database.directory}") == "store_locked"
        other.execute("COMMIT")
    assert len(contents(exits, f"sql:{database.directory}").found) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_may_only_read_looks_and_signs_and_who_may_not_is_told(database: NssDatabase, pki: Pki, tmp_path: Path) -> None:
    """As another user, in a process of its own."""
    client = pki.issuing.issue()
    database.add(client, "laptop")
    for directory in (tmp_path, *list(tmp_path.parents)[:3]):
        directory.chmod(directory.stat().st_mode | 0o055)
    for file in database.directory.iterdir():
        file.chmod(0o444)
    database.directory.chmod(0o555)
    before = sorted(database.directory.iterdir())
    assert _as_nobody(database.directory) == "USABLE signed"
    assert sorted(database.directory.iterdir()) == before
    (database.directory / "cert9.db").chmod(0o400)
    assert _as_nobody(database.directory) == "store_unreadable"


def _as_nobody(directory: Path) -> str:
    code = (
        "import os, sys; from contextlib import ExitStack\n"
        "from agent.test_nss import STATEMENT, contents\n"
        "from watchword.v1 import posture_pb2 as pb\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "from watchword_agent.errors import CollectionFailedError\n"
        "try:\n"
        "    with ExitStack() as exits:\n"
        f"        (found,) = contents(exits, 'sql:{directory}').found\n"
        "        print('USABLE signed' if found.sign(STATEMENT).signature else 'nothing')\n"
        "except CollectionFailedError as failure:\n"
        "    print(failure.code)\n"
    )
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    return done.stdout.strip() or done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_helper_has_the_rights_of_the_databases_owner(database: NssDatabase, pki: Pki, exits: ExitStack) -> None:
    database.add(pki.issuing.issue(), "laptop")
    for path in (database.directory, *database.directory.iterdir()):
        os.chown(path, 65534, 65534)
    for directory in list(database.directory.parents)[:4]:
        directory.chmod(directory.stat().st_mode | 0o055)
    (found,) = contents(exits, f"sql:{database.directory}").found
    assert proves(found)


def test_a_thousand_certificates_are_looked_through(database: NssDatabase, pki: Pki, exits: ExitStack) -> None:
    client: Credential = pki.issuing.issue()
    database.add(client, "laptop")
    database.add_thousand([pki.web.issue(f"other-{number}", key=client.key) for number in range(20)])
    wanted = pb.ClientCertificateCheck(
        paths=[f"sql:{database.directory}"],
        check_private_key=True,
        issuer_names=[pki.issuing.credential.certificate.subject.public_bytes()],
    )
    found = look(wanted, Identity("linux", "laptop-1", None), Visit({}, Access(Helpers()), exits))
    assert found.candidates()[0].chain == (client.der,)
    assert len(found.candidates()) == 8
