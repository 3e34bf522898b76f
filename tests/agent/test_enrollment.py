"""Enrolling against a server's half."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from agent.device import Device
from agent.fake_server import AUDIENCE, TOKEN, End, FakeServer
from watchword.v1 import posture_pb2 as pb
from watchword_agent.app import enroll_device
from watchword_agent.enrollment import token_id
from watchword_agent.errors import (
    EnrollmentRefusedError,
    ProtocolViolationError,
    ServerUnreachableError,
    SettingsError,
    StateDirectoryError,
)
from watchword_agent.settings import Settings, load_settings


def settings_for(server: FakeServer, state: Path) -> Settings:
    return load_settings(options={"server": server.address, "state_dir": state, "hostname": "laptop-1", "serial_number": "SN-1"})


async def test_what_the_server_answers_is_kept(server: FakeServer, tmp_path: Path) -> None:
    outcome = await enroll_device(settings_for(server, tmp_path / "state"), TOKEN)
    kept = json.loads((tmp_path / "state" / "agent.json").read_text())
    assert not outcome.already
    assert kept == {
        "format": 1,
        "server": server.address,
        "ca_file": None,
        "device_id": next(iter(server.devices)),
        "key_id": outcome.enrollment.key_id,
        "audience": AUDIENCE,
        "pending_approval": False,
        "serial_number": "SN-1",
        "hostname": "laptop-1",
    }
    inventory = server.inventories[kept["device_id"]]
    assert inventory == pb.Inventory(platform="linux", hostname="laptop-1", serial_number="SN-1")


async def test_a_device_may_have_to_be_approved(server: FakeServer, tmp_path: Path) -> None:
    server.state = pb.DEVICE_STATE_PENDING_APPROVAL
    assert (await enroll_device(settings_for(server, tmp_path), TOKEN)).enrollment.pending_approval


async def test_enrolling_again_with_the_same_server_sends_nothing(server: FakeServer, device: Device) -> None:
    await server.stop()
    outcome = await enroll_device(device.settings, "whatever")
    assert outcome.already
    assert outcome.enrollment == device.enrollment


async def test_enrolling_again_with_another_server_is_refused(device: Device) -> None:
    other = device.settings.model_copy(update={"server": "https://other.corp.example:8443"})
    with pytest.raises(StateDirectoryError, match=device.enrollment.device_id):
        await enroll_device(other, TOKEN)


async def test_a_lost_answer_leads_to_the_same_device(server: FakeServer, tmp_path: Path) -> None:
    first = await enroll_device(settings_for(server, tmp_path), TOKEN)
    (tmp_path / "agent.json").unlink()  # as if it had never arrived
    second = await enroll_device(settings_for(server, tmp_path), TOKEN)
    assert first.enrollment == second.enrollment
    assert len(server.devices) == 1


async def test_a_refusal_keeps_the_key_and_names_the_correlation_id(server: FakeServer, tmp_path: Path) -> None:
    correlation = (("watchword-code", "enrollment_refused"), ("watchword-correlation-id", "0123abcd"))
    server.enrollments_refused.append(End(grpc.StatusCode.PERMISSION_DENIED, "enrollment\x1b[2Jrefused", correlation))
    with pytest.raises(EnrollmentRefusedError, match=r"PERMISSION_DENIED: .*correlation id `0123abcd`") as caught:
        await enroll_device(settings_for(server, tmp_path), TOKEN)
    assert "\x1b" not in str(caught.value)
    key = (tmp_path / "device.key").read_bytes()
    await enroll_device(settings_for(server, tmp_path), TOKEN)
    assert (tmp_path / "device.key").read_bytes() == key


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
async def test_a_loopback_connection_goes_through_no_proxy(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    assert (await enroll_device(settings_for(server, tmp_path), TOKEN)).enrollment.device_id in server.devices


async def test_an_unreachable_server_is_another_matter(server: FakeServer, tmp_path: Path) -> None:
    settings = settings_for(server, tmp_path)
    await server.stop()
    with pytest.raises(ServerUnreachableError, match="UNAVAILABLE"):
        await enroll_device(settings, TOKEN)


@pytest.mark.parametrize("result", [{"audience": "another"}, {"device_id": ""}, {"device_id": "d" * 1025}, {"state": 0}])
async def test_an_answer_that_makes_no_sense_is_not_kept(server: FakeServer, tmp_path: Path, result: dict[str, Any]) -> None:
    server.enroll_result = result
    with pytest.raises(ProtocolViolationError):
        await enroll_device(settings_for(server, tmp_path), TOKEN)
    assert not (tmp_path / "agent.json").exists()


async def test_a_server_that_cannot_be_pinned_is_refused(server: FakeServer, tmp_path: Path) -> None:
    server.audience = "\n"
    with pytest.raises(ProtocolViolationError, match="audience"):
        await enroll_device(settings_for(server, tmp_path), TOKEN)
    assert not (tmp_path / "agent.json").exists()


@pytest.mark.parametrize("token", ["", "ww1", "ww1.id", "ww1.id.short", "ww2.id." + "s" * 43, f"{TOKEN} x", f"{TOKEN}\n"])
async def test_what_is_no_token_is_refused_unsaid_before_anything_is_made(server: FakeServer, tmp_path: Path, token: str) -> None:
    with pytest.raises(SettingsError, match="an operator") as caught:
        await enroll_device(settings_for(server, tmp_path / "state"), token)
    assert "s" * 43 not in str(caught.value)
    assert not (tmp_path / "state").exists()


def test_the_id_of_a_token_is_its_public_part() -> None:
    assert token_id(TOKEN) == "tokenid000000000"


async def test_a_server_has_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--server"):
        await enroll_device(load_settings(options={"state_dir": tmp_path}), TOKEN)
