"""What is plugged together: enrolling, running, and asking what a running agent knows."""

import asyncio
import contextlib
import datetime as dt
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import grpc

from watchword.v1.posture_pb2_grpc import PostureServiceStub
from watchword_agent import log
from watchword_agent.backoff import system_uniform
from watchword_agent.channel import open_channel
from watchword_agent.collect import Collector
from watchword_agent.device_keys import DeviceKeys
from watchword_agent.enrollment import enroll, token_id
from watchword_agent.errors import AgentError, NotEnrolledError, SettingsError, StateDirectoryError
from watchword_agent.helper_process import Helpers
from watchword_agent.https import SingleRequests, open_client
from watchword_agent.identity import read_identity
from watchword_agent.key_files import KeyFiles
from watchword_agent.leaving import say_goodbye
from watchword_agent.proxies import proxy_for
from watchword_agent.session import Attester
from watchword_agent.settings import ServerAddress, Settings
from watchword_agent.state import Enrollment, StateDirectory
from watchword_agent.status import Status, StatusFile, read_status
from watchword_agent.stores.base import Access
from watchword_agent.stream import AttestStream
from watchword_agent.tokens import ProofKey, fetch_token
from watchword_agent.transport import Transport
from watchword_agent.watch import StoreWatch
from watchword_agent.windows_service import stop_requests
from watchword_agent.zero_touch import enroll_if_told


@dataclass(frozen=True, slots=True)
class EnrollOutcome:
    """What enrolling led to; `already` if this state directory was enrolled with that server before."""

    enrollment: Enrollment
    already: bool


@dataclass(frozen=True, slots=True)
class Unenrolled:
    """What this state directory was. `goodbye_failure`: why the server was told nothing; empty: it ended the results."""

    enrollment: Enrollment
    goodbye_failure: str


async def enroll_device(settings: Settings, token: str) -> EnrollOutcome:
    """Makes this device known to the server in the settings and keeps what it answers. Raises `AgentError`.

    The device key is kept whatever happens: with the same token again, the same device comes back.
    """
    if settings.server is None:
        raise SettingsError("`server`: missing; give `--server https://host:port`")
    state = StateDirectory(settings.state_dir)
    with contextlib.suppress(NotEnrolledError):
        existing = state.enrollment()
        if existing.server != settings.server:
            raise StateDirectoryError(
                f"`{state.path}` is enrolled with {existing.server} as `{existing.device_id}`: "
                "give another `--state DIR`, or remove this one (its device key is lost then)"
            )
        return EnrollOutcome(existing, already=True)
    token_id(token)
    state.prepare()
    key = key_files_of(settings).load_or_create(state.key_path)
    ca_file = settings.ca_file.absolute() if settings.ca_file is not None else None
    async with channel_to(settings.server, settings, ca_file) as channel:
        enrolled = await enroll(
            channel,
            token=token,
            key=key,
            identity=read_identity(hostname=settings.hostname, serial_number=settings.serial_number),
            agent_version=_agent_version(),
            timeout_seconds=settings.answer_timeout_seconds,
        )
    enrollment = Enrollment(
        server=settings.server,
        ca_file=ca_file,
        device_id=enrolled.device_id,
        key_id=key.key_id,
        audience=enrolled.audience,
        pending_approval=enrolled.pending_approval,
        serial_number=settings.serial_number,
        hostname=settings.hostname,
    )
    state.keep_enrollment(enrollment)
    return EnrollOutcome(enrollment, already=False)


async def run_agent(settings: Settings) -> None:
    """Attests until SIGTERM or SIGINT. Raises `OperatorError` if it cannot start."""
    await enroll_if_told(settings, partial(enroll_device, settings))
    state = StateDirectory(settings.state_dir)
    enrollment = state.enrollment()
    state.prepare()
    with state.running():
        keys = DeviceKeys(state, enrollment, key_files_of(settings))
        server = settings.server or enrollment.server
        status = StatusFile(
            state.status_path, device_id=enrollment.device_id, server=server, now=lambda: dt.datetime.now(tz=dt.UTC)
        )
        attester = _attester(enrollment)
        access = access_of(settings)
        collector = Collector(
            partial(
                read_identity,
                hostname=settings.hostname or enrollment.hostname,
                serial_number=settings.serial_number or enrollment.serial_number,
            ),
            access,
        )
        watch = StoreWatch(access.helpers)
        async with _transport(server, settings, enrollment) as transport:
            stream = AttestStream(
                transport,
                attester=attester,
                keys=keys,
                collector=collector,
                watch=watch,
                status=status,
                settings=settings,
                keep_checks=state.keep_checks,
            )
            log.info(log.Event.STARTED, device_id=enrollment.device_id, server=server, state=state.path)
            try:
                with _signals_cancel(), contextlib.suppress(asyncio.CancelledError):
                    async with asyncio.TaskGroup() as group:
                        group.create_task(watch.run(stream.store_changed))
                        group.create_task(stream.run())
                if settings.goodbye_on_stop:
                    with contextlib.suppress(asyncio.CancelledError):  # a second signal: then without
                        await _leave(transport, attester, keys, settings)
            finally:
                status.stopped()
                log.info(log.Event.STOPPED)


async def _leave(transport: Transport, attester: Attester, keys: DeviceKeys, settings: Settings) -> None:
    try:
        await say_goodbye(transport.open_any, attester=attester, keys=keys, timeout_seconds=settings.goodbye_timeout_seconds)
    except AgentError as error:
        log.warning(log.Event.GOODBYE_FAILED, detail=str(error))
    else:
        log.info(log.Event.SAID_GOODBYE)


def channel_to(server: str, settings: Settings, ca_file: Path | None) -> grpc.aio.Channel:
    """A channel to the server, by the proxy of the settings if there is one. Raises `SettingsError`."""
    address = ServerAddress.parse(server)
    return open_channel(address, ca_file=ca_file, proxy=proxy_for(address, settings.proxy, settings.proxy_credentials_file))


@contextlib.asynccontextmanager
async def _transport(server: str, settings: Settings, enrollment: Enrollment) -> AsyncIterator[Transport]:
    """The ways to the server that the settings allow. Raises `SettingsError`."""
    ca_file = settings.ca_file or enrollment.ca_file
    async with contextlib.AsyncExitStack() as exits:
        channel = await exits.enter_async_context(channel_to(server, settings, ca_file))
        single = None
        if settings.https_server is not None and settings.transport != "stream":
            address = ServerAddress.parse(settings.https_server)
            proxy = proxy_for(address, settings.proxy, settings.proxy_credentials_file)
            opening = open_client(address, ca_file=ca_file, proxy=proxy, timeout_seconds=settings.answer_timeout_seconds)
            single = partial(SingleRequests, await exits.enter_async_context(opening))
        yield Transport(PostureServiceStub(channel).Attest, single, settings.transport, system_uniform)


def access_of(settings: Settings) -> Access:
    """What stores may use on this device."""
    return Access(
        Helpers(),
        password_files=settings.password_files,
        pkcs11_modules=tuple(settings.pkcs11_modules),
        nss_modules=tuple(settings.nss_modules),
    )


def key_files_of(settings: Settings) -> KeyFiles:
    """Where this device's own keys lie."""
    return KeyFiles(settings.device_key, settings.tpm_tcti)


async def device_token(settings: Settings, audience: str, key: ProofKey | None) -> str:
    """A token that names this device, for `audience`, bound to a client's key or to none. Raises `AgentError`.

    Beside an agent that is running, which goes on.
    """
    state = StateDirectory(settings.state_dir)
    enrollment = state.enrollment()
    keys, server = DeviceKeys(state, enrollment, key_files_of(settings)), settings.server or enrollment.server
    async with channel_to(server, settings, settings.ca_file or enrollment.ca_file) as channel:
        return await fetch_token(
            channel,
            device_id=enrollment.device_id,
            service=enrollment.audience,
            key=keys.signing,
            audience=audience,
            thumbprint="" if key is None else key.thumbprint,
            timeout_seconds=settings.answer_timeout_seconds,
        )


async def leave_server(settings: Settings) -> str:
    """Says goodbye to the server for this device, whose id it returns. Raises `AgentError`, also where an agent is running."""
    state = StateDirectory(settings.state_dir)
    enrollment = state.enrollment()
    with state.running():
        keys, server = DeviceKeys(state, enrollment, key_files_of(settings)), settings.server or enrollment.server
        async with _transport(server, settings, enrollment) as transport:
            timeout = settings.answer_timeout_seconds
            await say_goodbye(transport.open_any, attester=_attester(enrollment), keys=keys, timeout_seconds=timeout)
    return enrollment.device_id


async def unenroll_device(settings: Settings, *, offline: bool) -> Unenrolled:
    """Says goodbye, unless `offline`, then removes the device key and the enrollment. Raises `OperatorError`.

    A goodbye that fails stops nothing: `Unenrolled.goodbye_failure` says why it did.
    """
    state = StateDirectory(settings.state_dir)
    enrollment = state.enrollment()
    failure = "not tried"
    with state.running():
        if not offline:
            server = settings.server or enrollment.server
            try:
                keys = DeviceKeys(state, enrollment, key_files_of(settings))
                async with _transport(server, settings, enrollment) as transport:
                    timeout = settings.answer_timeout_seconds
                    await say_goodbye(transport.open_any, attester=_attester(enrollment), keys=keys, timeout_seconds=timeout)
                failure = ""
            except AgentError as error:
                failure = str(error)
        for path in (state.key_path, state.next_key_path):  # also where a TPM or Windows keeps it
            key_files_of(settings).remove(path)
        state.forget()
    return Unenrolled(enrollment, failure)


def wish_new_key(settings: Settings) -> str:
    """Makes the key that is to follow the present one and returns its id: the running agent, or the next, proposes it.

    Raises `OperatorError`.
    """
    state = StateDirectory(settings.state_dir)
    state.enrollment()
    state.prepare()
    return key_files_of(settings).load_or_create(state.next_key_path).key_id


def agent_status(state_directory: Path) -> tuple[Enrollment, Status | None, bool]:
    """The enrollment, the last status written, and whether an agent is running. Raises `OperatorError`."""
    state = StateDirectory(state_directory)
    return state.enrollment(), read_status(state.status_path), state.is_running()


def _attester(enrollment: Enrollment) -> Attester:
    return Attester(
        device_id=enrollment.device_id,
        key_id=enrollment.key_id,
        audience=enrollment.audience,
        instance_id=secrets.token_bytes(16),
        version=_agent_version(),
    )


@contextlib.contextmanager
def _signals_cancel() -> Iterator[None]:
    """SIGTERM and SIGINT cancel the current task, once each; on Windows the service control manager does."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    if task is None:
        yield
        return
    if sys.platform == "win32":  # no signal handlers on its loops; Ctrl-C cancels by itself
        with stop_requests(lambda: loop.call_soon_threadsafe(task.cancel)):
            yield
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _agent_version() -> str:
    return version("watchword")
