"""The process that reads lists, from outside: whatever the place holds or does, an answer or a typed error comes back."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from support.http_server import HttpRequest, HttpResponse, HttpServer
from support.pki import root_authority
from support.revocation import revocation_list
from watchword_server.adapters.revocation_reader import RevocationReader
from watchword_server.core.model.names import Fingerprint
from watchword_server.errors import RevocationReadError
from watchword_server.ports.revocation import ListSource, ReadRequest

CA = root_authority()


@pytest.fixture
def reader(tmp_path: Path) -> RevocationReader:
    return RevocationReader(tmp_path / "spool")


def request(place: object, *, source: ListSource = ListSource.URL, **more: Any) -> ReadRequest:
    return ReadRequest(source, str(place), (b"no certificate", CA.credential.der), **{"timeout_seconds": 30, **more})


async def reason(reader: RevocationReader, asked: ReadRequest) -> str:
    with pytest.raises(RevocationReadError) as refused:
        await reader.read(asked)
    return refused.value.reason


async def test_a_file_is_read_and_read_again_only_when_it_changed(reader: RevocationReader, tmp_path: Path) -> None:
    path = tmp_path / "ca.crl"
    path.write_bytes(revocation_list(CA, [3, 5]))
    first = await reader.read(request(path, source=ListSource.PATH))
    assert first is not None
    assert first.revocation_list.entries.find(5) is not None
    assert first.issuer_certificate == Fingerprint(bytes.fromhex(CA.credential.sha256))
    assert first.content.read_bytes() == path.read_bytes()
    assert first.newly_revoked is None
    previous = first.revocation_list.sha256
    assert await reader.read(request(path, source=ListSource.PATH, etag=first.etag, previous=previous)) is None
    path.write_bytes(revocation_list(CA, [5, 2**158], number=2))
    second = await reader.read(request(path, source=ListSource.PATH, etag=first.etag, previous=previous))
    assert second is not None
    assert (second.newly_revoked, second.no_longer_revoked) == (frozenset({2**158}), frozenset({3}))
    await reader.keep_only([second.revocation_list.sha256])
    assert not first.content.exists()
    assert second.content.exists()
    assert first.revocation_list.entries.find(3) is not None  # an open index outlives its file


async def test_a_server_is_asked_whether_anything_changed(reader: RevocationReader) -> None:
    der = revocation_list(CA, [3])

    async def serve(asked: HttpRequest) -> HttpResponse:
        if asked.values("if-none-match") == ['"1"']:
            return HttpResponse(304)
        return HttpResponse(200, (("ETag", '"1"'), ("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")), der)

    with HttpServer(serve) as server:
        read = await reader.read(request(f"http://{server.address}/ca.crl"))
        assert read is not None
        assert (read.etag, read.length) == ('"1"', len(der))
        assert await reader.read(request(f"http://{server.address}/ca.crl", etag=read.etag)) is None


async def test_addresses_that_never_finish_hold_up_no_file_and_no_tidying(reader: RevocationReader, tmp_path: Path) -> None:
    path = tmp_path / "ca.crl"
    path.write_bytes(revocation_list(CA, [3]))

    async def serve(asked: HttpRequest) -> HttpResponse:
        await asyncio.Event().wait()
        raise AssertionError(asked)

    with HttpServer(serve) as server:
        fetching = [asyncio.ensure_future(reader.read(request(f"http://{server.address}/"))) for _ in range(6)]
        await asyncio.sleep(0)
        for source in (ListSource.UPLOAD, ListSource.PATH):
            read = await reader.read(request(path, source=source))
            assert read is not None
            await reader.keep_only(())
            assert list((tmp_path / "spool").iterdir()) == []
        assert not any(task.done() for task in fetching)  # nothing waited for their time to be over
        for task in fetching:
            task.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)


async def test_a_certificate_is_no_list_and_is_called_what_it_is(reader: RevocationReader, tmp_path: Path) -> None:
    for name, content in (("ca.pem", CA.pem), ("ca.der", CA.credential.der)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RevocationReadError, match="this is a certificate"):
            await reader.read(request(tmp_path / name, source=ListSource.UPLOAD))


async def test_what_a_server_does_wrong_has_a_reason(reader: RevocationReader) -> None:
    answers = {
        "/404": HttpResponse(404),
        "/redirect": HttpResponse(302, (("Location", "http://elsewhere.example/"),)),
        "/garbage": HttpResponse(200, (), b"<html>"),
        "/large": HttpResponse(200, (), b"x" * 5000),
        "/other": HttpResponse(200, (), revocation_list(root_authority("Another"))),
        "/gzip": HttpResponse(200, (("Content-Encoding", "gzip"),), b"x"),
    }

    async def serve(asked: HttpRequest) -> HttpResponse:
        if asked.target == "/never":
            await asyncio.Event().wait()
        return answers[asked.target]

    with HttpServer(serve) as server:
        at = f"http://{server.address}"
        assert await reason(reader, request(f"{at}/404")) == "http_status"
        assert await reason(reader, request(f"{at}/redirect")) == "redirected"
        assert await reason(reader, request(f"{at}/garbage")) == "malformed"
        assert await reason(reader, request(f"{at}/large", max_bytes=4000)) == "too_large"
        assert await reason(reader, request(f"{at}/other")) == "wrong_issuer"
        assert await reason(reader, request(f"{at}/gzip")) == "http_encoding"
        assert await reason(reader, request(f"{at}/never", timeout_seconds=1)) == "timeout"
    assert await reason(reader, request(at)) == "unreachable"
    assert await reason(reader, request("ftp://ca.example/")) == "url_unsupported"


async def test_what_is_wrong_with_a_file_has_a_reason(reader: RevocationReader, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert await reason(reader, request(tmp_path / "missing", source=ListSource.PATH)) == "file_unreadable"
    assert await reason(reader, request(tmp_path / "pipe", source=ListSource.PATH)) == "not_a_file"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "reader_failed"),
        ("print('hello')", "reader_failed"),
        ("print('[]')", "reader_failed"),
        ("print('{}')", "reader_failed"),
        ("raise SystemExit('no')", "reader_failed"),
        ("print('x' * 1000000)", "reader_failed"),
        ("import time; time.sleep(60)", "timeout"),
    ],
)
async def test_a_process_that_dies_hangs_or_babbles_is_an_error(tmp_path: Path, program: str, said: str) -> None:
    broken = RevocationReader(tmp_path, command=(sys.executable, "-c", program))
    assert await reason(broken, request("x", timeout_seconds=2)) == said


async def test_who_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    os.mkfifo(told)
    program = f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    task = asyncio.create_task(RevocationReader(tmp_path, command=(sys.executable, "-c", program)).read(request("x")))
    pid = int(await asyncio.to_thread(told.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
