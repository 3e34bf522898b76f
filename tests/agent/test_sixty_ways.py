"""Sixty ways in which a store disappoints: each has its own word, the same in the result, the doctor and the posture log.

One server, one device, one attestation. A way is what lies at the check's place. Its word is the reason; where ways share one (a
key that is absent from a file, a database and a token), the detail tells them apart.
"""

import asyncio
import datetime as dt
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12

from agent.device import Device
from agent.nss_databases import NssDatabase
from agent.test_pkcs11 import MODULE, Tokens
from support.pki import Credential, Pki, generate_key, key_pem, root_authority
from support.processes import run
from support.server import WatchwordServer
from watchword_agent import advice, app, identity
from watchword_agent.__main__ import main
from watchword_agent.helper_process import Helpers
from watchword_agent.settings import load_settings
from watchword_agent.stores.base import Access

pytestmark = [pytest.mark.needs_program(name) for name in ("cc", "certutil", "pk12util", "softhsm2-util", "pkcs11-tool")]

DAY: Final = dt.timedelta(days=1)


@dataclass
class Machine:
    """What there is to be found. `passwords` and `modules` become settings of the agent."""

    directory: Path
    pki: Pki
    client: Credential
    exits: ExitStack
    tokens: Tokens
    passwords: dict[str, Path] = field(default_factory=dict)
    modules: list[Path] = field(default_factory=lambda: [MODULE])

    def at(self, name: str) -> Path:
        return self.directory / name

    def file(self, name: str, *blocks: bytes) -> list[str]:
        self.at(name).write_bytes(b"".join(blocks))
        return [str(self.at(name))]

    def password(self, name: str, text: str, *, of: Path | str) -> None:
        path = self.at(f"{name}.password")
        path.write_text(f"{text}\n")
        path.chmod(0o600)
        self.passwords[str(of)] = path

    def issued(self, **how: Any) -> list[str]:
        """A PEM file with a certificate that was issued so, and its key."""
        credential = self.pki.issuing.issue(**how)
        return self.file(f"issued-{len(list(self.directory.iterdir()))}.pem", credential.pem, key_pem(credential.key))

    def database(self, name: str, *, password: str = "", empty: bool = False) -> NssDatabase:
        database = NssDatabase(self.at(name), password=password)
        if not empty:
            database.add(self.client, name)
        return database

    def module(self, name: str, body: str) -> list[str]:
        """A PKCS #11 library that does this when it is asked for its functions."""
        source, library = self.at(f"{name}.c"), self.at(f"{name}.so")
        source.write_text(f"#include <stdlib.h>\n#include <unistd.h>\nlong C_GetFunctionList(void **list) {{ {body} }}\n")
        run(["cc", "-w", "-shared", "-fPIC", "-o", library, source])
        self.modules.append(library)
        return [f"pkcs11:token=any?module-path={library}"]


Make = Callable[[Machine], list[str]]


@dataclass(frozen=True)
class Way:
    """`make` puts something somewhere and says where; `check` is the check's input besides."""

    name: str
    reason: str
    make: Make
    check: Mapping[str, Any] = field(default_factory=dict)


def _linked(m: Machine) -> list[str]:
    m.at("loop").symlink_to(m.at("loop"))
    return [str(m.at("loop"))]


def _fifo(m: Machine) -> list[str]:
    os.mkfifo(m.at("fifo"))
    return [str(m.at("fifo"))]


def _pkcs12(m: Machine) -> list[str]:
    bundle = pkcs12.serialize_key_and_certificates(b"x", m.client.key, m.client.certificate, None, NoEncryption())
    return m.file("client.p12", bundle)


def _locked_key(m: Machine, name: str, password: str | None) -> list[str]:
    places = m.file(name, m.client.pem, key_pem(m.client.key, password=b"secret"))
    if password is not None:
        m.password(name, password, of=places[0])
    return places


def _password_file_missing(m: Machine) -> list[str]:
    places = m.file("no-password-file.pem", m.client.pem, key_pem(m.client.key, password=b"secret"))
    m.passwords[places[0]] = m.at("nowhere.password")
    return places


def _password_file_open(m: Machine) -> list[str]:
    places = _locked_key(m, "open-password-file.pem", "secret")
    m.passwords[places[0]].chmod(0o644)
    return places


def _key_behind_a_loop(m: Machine) -> list[str]:
    m.at("key-loop").symlink_to(m.at("key-loop"))
    return [*m.file("key-elsewhere.pem", m.client.pem), str(m.at("key-loop"))]


def _chain(m: Machine, name: str) -> Credential:
    return m.pki.root.issue_authority(name).issue()


def _nss(prepare: Callable[[Machine, NssDatabase], None], name: str, **how: Any) -> Make:
    def make(m: Machine) -> list[str]:
        database = m.database(name, **how)
        prepare(m, database)
        return [f"sql:{database.directory}"]

    return make


def _bytes_at(file: str, change: Callable[[bytes], bytes]) -> Callable[[Machine, NssDatabase], None]:
    def prepare(_: Machine, database: NssDatabase) -> None:
        path = database.directory / file
        path.write_bytes(change(path.read_bytes()))

    return prepare


def _as_it_is(_: Machine, __: NssDatabase) -> None:
    """Nothing is done to it."""


def _rubbish(_: bytes) -> bytes:
    return b"rubbish" * 1000


def _without_keys(_: Machine, database: NssDatabase) -> None:
    (database.directory / "key4.db").unlink()


def _held(m: Machine, database: NssDatabase) -> None:
    connection = m.exits.enter_context(closing(sqlite3.connect(database.directory / "cert9.db", isolation_level=None)))
    connection.execute("BEGIN EXCLUSIVE")


def _legacy(m: Machine) -> list[str]:
    m.at("legacy").mkdir()
    (m.at("legacy") / "cert8.db").write_bytes(b"\0" * 100)
    return [f"sql:{m.at('legacy')}"]


def _only_a_certificate(m: Machine) -> list[str]:
    database = m.database("no-key", empty=True)
    database.add_certificate(m.client, "alone")
    return [f"sql:{database.directory}"]


def _token(m: Machine, label: str, *, key: bool = True, pin: str | None = None) -> list[str]:
    m.tokens.make(label)
    if key:
        m.tokens.add(label, m.client, "client")
    else:
        m.tokens.add_certificate(label, m.client, "client")
    if pin is not None:
        m.password(label, pin, of=f"token={label}")
    return [f"pkcs11:token={label}?module-path={MODULE}"]


def _not_allowed(m: Machine) -> list[str]:
    places = m.module("not-allowed", "return 5;")
    m.modules.pop()
    return places


def _no_library(m: Machine) -> list[str]:
    (library,) = (m.at("rubbish.so"),)
    library.write_bytes(b"this is no library")
    m.modules.append(library)
    return [f"pkcs11:token=any?module-path={library}"]


def _missing_module(m: Machine) -> list[str]:
    m.modules.append(m.at("uninstalled.so"))
    return [f"pkcs11:token=any?module-path={m.at('uninstalled.so')}"]


WAYS: Final = (
    # Files.
    Way("file missing", "path_missing", lambda m: [str(m.at("missing.pem"))]),
    Way("loop of links", "path_unreadable", _linked),
    Way("directory", "not_a_file", lambda m: [str(m.directory)]),
    Way("FIFO", "not_a_file", _fifo),
    Way("device", "not_a_file", lambda _: ["/dev/null"]),
    Way("file too large", "file_too_large", lambda m: m.file("large.pem", b"x" * 300_000)),
    Way("file empty", "no_certificate", lambda m: m.file("empty.pem")),
    Way("file of text", "no_certificate", lambda m: m.file("text.pem", b"nothing of interest")),
    Way("DER", "no_certificate", lambda m: m.file("client.der", m.client.der)),
    Way("PKCS #12", "no_certificate", _pkcs12),
    Way("PKCS #7", "no_certificate", lambda m: m.file("a.p7b", b"-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n")),
    Way("UTF-16", "no_certificate", lambda m: m.file("utf16.pem", m.client.pem.decode().encode("utf-16"))),
    Way("key alone", "no_certificate", lambda m: m.file("key-only.pem", key_pem(m.client.key))),
    Way("half-written", "file_incomplete", lambda m: m.file("half.pem", m.client.pem[:-40])),
    Way("damaged", "certificate_unreadable", lambda m: m.file("damaged.pem", _damaged(m.client.pem))),
    Way("place without a value", "variable_unavailable", lambda m: [f"{m.directory}/${{serial_number}}.pem"]),
    # Keys in files.
    Way("no key", "private_key_absent", lambda m: m.file("alone.pem", m.client.pem)),
    Way("another's key", "private_key_mismatch", lambda m: m.file("other.pem", m.client.pem, key_pem(generate_key()))),
    Way("key with a password", "private_key_locked", lambda m: _locked_key(m, "locked.pem", None)),
    Way("wrong password", "private_key_password_wrong", lambda m: _locked_key(m, "wrong.pem", "guess")),
    Way("password file missing", "private_key_locked", _password_file_missing),
    Way("password file for all to read", "private_key_locked", _password_file_open),
    Way("key out of reach", "private_key_unreadable", _key_behind_a_loop),
    Way("key damaged", "possession_key_unsupported",
        lambda m: m.file("bad-key.pem", m.client.pem, _damaged(key_pem(m.client.key)))),
    Way("P-521", "possession_key_unsupported", lambda m: m.issued(key="p521")),
    # Certificates.
    Way("weak key", "certificate_key_weak", lambda m: m.issued(key="rsa1024")),
    Way("SHA-1", "certificate_algorithm_refused", lambda m: m.issued(sha1=True)),
    Way("expired", "certificate_expired", lambda m: m.issued(not_before=-2 * DAY, not_after=-DAY)),
    Way("not yet valid", "certificate_not_yet_valid", lambda m: m.issued(not_before=DAY, not_after=2 * DAY)),
    Way("another CA", "certificate_wrong_issuer", lambda m: _foreign(m, "foreign", "Another CA")),
    Way("another CA of the same name", "certificate_signature_invalid", lambda m: _foreign(m, "twin", "Corp Device CA")),
    Way("other key usage", "extended_key_usage_missing", lambda m: m.issued(extended_key_usage=("serverAuth",)),
        {"extended_key_usage": ["clientAuth"]}),
    Way("no key usage", "extended_key_usage_missing", lambda m: m.issued(extended_key_usage=None),
        {"extended_key_usage": ["emailProtection"]}),
    Way("other common name", "common_name_mismatch", lambda m: m.issued(common_name="laptop-2"), {"cn": "${hostname}"}),
    Way("no common name", "common_name_mismatch", lambda m: m.issued(common_name=None), {"cn": "${hostname}"}),
    Way("common name of no value", "serial_number_unknown", lambda m: m.issued(), {"cn": "${serial_number}"}),
    Way("other alternative name", "subject_alternative_name_mismatch",
        lambda m: m.issued(subject_alternative_names=["a.example"]), {"subject_alternative_names": ["b.example"]}),
    Way("critical and unknown", "certificate_extension_not_understood", lambda m: m.issued(unknown_critical_extension=True)),
    Way("X.509 v1", "certificate_malformed", lambda m: m.issued(version=1)),
    Way("may issue", "certificate_is_a_ca", lambda m: m.issued(ca=True, key_cert_sign=True)),
    Way("the CA itself", "certificate_is_the_issuer", lambda m: _leaf(m, "ca", m.pki.issuing.credential)),
    Way("chain with a gap", "chain_incomplete", lambda m: _leaf(m, "gap", _chain(m, "Missing CA")), {"trust": "chain"}),
    Way("revocation not known", "revocation_unknown", lambda m: m.issued(), {"revocation": "require"}),
    # NSS databases.
    Way("no database", "store_missing", lambda m: [f"sql:{m.at('nowhere')}"]),
    Way("database empty", "store_empty", _nss(_as_it_is, "nss-empty", empty=True)),
    Way("database damaged", "store_corrupt", _nss(_bytes_at("cert9.db", _rubbish), "nss-rubbish")),
    Way("database cut short", "store_corrupt", _nss(_bytes_at("cert9.db", lambda b: b[: len(b) // 2]), "nss-short")),
    Way("database of old", "store_legacy", _legacy),
    Way("database held", "store_locked", _nss(_held, "nss-held")),
    Way("database without keys", "private_key_unreadable", _nss(_without_keys, "nss-half")),
    Way("database with a password", "private_key_locked", _nss(_as_it_is, "nss-locked", password="secret")),
    Way("database, wrong password", "private_key_password_wrong",
        _nss(lambda m, d: m.password("nss-wrong", "guess", of=d.directory), "nss-wrong", password="secret")),
    Way("database, certificate alone", "private_key_absent", _only_a_certificate),
    # Tokens.
    Way("no such token", "token_missing", lambda _: [f"pkcs11:token=nowhere?module-path={MODULE}"]),
    Way("token without its PIN", "private_key_locked", lambda m: _token(m, "no-pin")),
    Way("token, wrong PIN", "private_key_password_wrong", lambda m: _token(m, "wrong-pin", pin="9999")),
    Way("token without the key", "private_key_absent", lambda m: _token(m, "no-key", key=False, pin="1234")),
    Way("library not allowed", "module_not_allowed", _not_allowed),
    Way("library not there", "module_missing", _missing_module),
    Way("library of rubbish", "module_failed", _no_library),
    Way("library that fails", "module_failed", lambda m: m.module("failing", "return 5;")),
    Way("library that crashes", "helper_crashed", lambda m: m.module("crashing", "abort();")),
    Way("library that hangs", "helper_timeout", lambda m: m.module("hanging", "for (;;) pause();")),
)  # fmt: skip


def _damaged(pem: bytes) -> bytes:
    lines = pem.splitlines()
    return b"\n".join([lines[0], b"AAAA" * 16, *lines[2:], b""])


def _foreign(m: Machine, name: str, authority: str) -> list[str]:
    return _leaf(m, name, root_authority(authority).issue())


def _leaf(m: Machine, name: str, credential: Credential) -> list[str]:
    return m.file(f"{name}.pem", credential.pem, key_pem(credential.key))


# ---- The attestation ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What each of the three said, by the check's name."""

    results: Mapping[str, Mapping[str, Any]]
    doctor: Mapping[str, Mapping[str, Any]]
    log: Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Told]:
    directory = tmp_path_factory.mktemp("ways")
    with pytest.MonkeyPatch.context() as monkeypatch, ExitStack() as exits:
        monkeypatch.setattr(identity, "SERIAL_NUMBER_FILES", ())
        (directory / "tokens").mkdir()
        (directory / "softhsm2.conf").write_text(f"directories.tokendir = {directory}/tokens\nlog.level = ERROR\n")
        (directory / "places").mkdir()
        machine = Machine(directory / "places", pki, pki.issuing.issue("laptop-1"), exits, Tokens(directory))
        places = {way.name: way.make(machine) for way in WAYS}
        helpers = Helpers(environment=machine.tokens.environment, answer_seconds=1)
        access = Access(helpers, machine.passwords, tuple(machine.modules))
        monkeypatch.setattr(app, "access_of", lambda _: access)
        with WatchwordServer(directory / "data") as server:
            server.apply(_rules(directory, pki, places))
            yield _attested(server, directory / "state")


def _rules(directory: Path, pki: Pki, places: Mapping[str, list[str]]) -> Path:
    (directory / "ca.pem").write_bytes(pki.issuing.pem)
    (directory / "root.pem").write_bytes(pki.root.pem)
    checks = [
        {
            "name": way.name,
            "type": "client_certificate_v2",
            "input": {
                "certificate_id": "root" if way.check.get("trust") == "chain" else "device-ca",
                **way.check,
                "locations": {"paths": places[way.name]},
            },
        }
        for way in WAYS
    ]
    certificates = [{"name": "device-ca", "file": "ca.pem"}, {"name": "root", "file": "root.pem"}]
    path = directory / "rules.yaml"
    path.write_text(json.dumps({"certificates": certificates, "checks": checks}))  # JSON is YAML
    return path


def _attested(server: WatchwordServer, state: Path) -> Told:
    options = {"server": f"http://{server.endpoints.agents}", "state_dir": state, "hostname": "laptop-1"}
    settings = load_settings(options={**options, "collection_timeout_seconds": 60})

    async def attest() -> None:
        device = Device(settings, (await app.enroll_device(settings, server.enrollment_token())).enrollment)
        async with device.running():
            await device.status_when(lambda status: len(status.checks) == len(WAYS))

    asyncio.run(attest())
    results = {result["check"]: result for result in server.results()}
    doctor = json.loads(CliRunner().invoke(main, ["doctor", "--json", "--state", str(state)]).stdout)
    lines = [json.loads(line) for path in (server.data / "log").glob("posture*") for line in path.read_text().splitlines()]
    return Told(
        results,
        {check["name"]: check for check in doctor["checks"]},
        {line["check_name"]: line for line in lines},
    )


def test_there_are_sixty() -> None:
    assert len({way.name for way in WAYS}) == len(WAYS) >= 60


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_each_is_called_the_same_by_the_result_the_doctor_and_the_posture_log(told: Told, way: Way) -> None:
    result, doctor, line = (each[way.name] for each in (told.results, told.doctor, told.log))
    assert (result["standing"], result["reason"]) == ("failed", way.reason)
    assert line["reason"] == way.reason
    assert (doctor["outcome"], doctor["reason"]) == ("failed", way.reason)
    assert doctor["advice"] == advice.CHECKS[way.reason]


def test_no_two_are_called_alike(told: Told) -> None:
    """Not by the doctor, who talks to the person that has to mend it: not even without the places' own names."""
    words: dict[tuple[str, str], str] = {}
    for way in WAYS:
        doctor = told.doctor[way.name]
        places = [(place["store"], place["holds"], place["detail"]) for place in doctor["places"]]
        certificates = [(each["key_detail"], each["private_key"], each["conditions_failed"]) for each in doctor["certificates"]]
        said = re.sub(r"/[^ `'\"]*", "…", json.dumps([doctor["detail"], places, certificates]))
        assert (way.reason, said) not in words, f"{way.name} is told as {words[way.reason, said]} is: {said}"
        words[way.reason, said] = way.name
