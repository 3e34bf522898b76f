"""One table from errors to status codes: total, by blame, and the same whichever door an error leaves by."""

import importlib
import pkgutil
from collections.abc import Iterator

import grpc
import pytest

import watchword_server
from watchword_server import errors
from watchword_server.doors.status import _STATUS, grpc_status, http_status


def _all_errors() -> list[type[errors.WatchwordError]]:
    """Every class of the tree, wherever it is defined."""
    for module in pkgutil.walk_packages(watchword_server.__path__, "watchword_server."):
        if not module.name.endswith("__main__") and ".migrations." not in module.name:
            importlib.import_module(module.name)

    def below(cls: type[errors.WatchwordError]) -> Iterator[type[errors.WatchwordError]]:
        yield cls
        for subclass in cls.__subclasses__():
            yield from below(subclass)

    return [cls for cls in dict.fromkeys(below(errors.WatchwordError)) if cls.__module__.startswith("watchword_server")]


ERRORS = _all_errors()
by_name = pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)


def instance(cls: type[errors.WatchwordError]) -> errors.WatchwordError:
    """One of them, whatever its constructor takes."""
    return cls.__new__(cls)


def test_the_tree_is_whole() -> None:
    defined = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.WatchwordError)}
    assert defined <= set(ERRORS)
    assert len(defined) > 20
    assert set(_STATUS) <= set(ERRORS)


@by_name
def test_every_error_has_a_status_in_both_worlds(cls: type[errors.WatchwordError]) -> None:
    assert grpc_status(instance(cls)) not in {grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN}
    assert 400 <= http_status(instance(cls)) < 600


@by_name
def test_the_status_says_whose_fault_it_is(cls: type[errors.WatchwordError]) -> None:
    """A peer's or an operator's mistake is theirs (4xx); ours may be tried again later (503); only what nobody planned is 500."""
    status = http_status(instance(cls))
    if issubclass(cls, (errors.PeerError, errors.OperatorError)):
        assert status < 500
        assert grpc_status(instance(cls)) not in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE}
    elif issubclass(cls, errors.ServiceError):
        assert status == 503
        assert grpc_status(instance(cls)) in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
    else:
        assert cls is errors.WatchwordError
        assert status == 500


@by_name
def test_no_error_reads_as_an_allow_to_a_proxy(cls: type[errors.WatchwordError]) -> None:
    """Nginx: 2xx allows. Envoy: only OK does."""
    assert http_status(instance(cls)) // 100 != 2
    assert grpc_status(instance(cls)) is not grpc.StatusCode.OK


@by_name
def test_every_error_has_a_code_of_its_own(cls: type[errors.WatchwordError]) -> None:
    assert cls.code.replace("_", "").isalpha()
    assert cls.code == cls.code.lower()
    assert [other for other in ERRORS if other.code == cls.code] == [cls]


def test_a_subclass_without_a_row_has_its_parents() -> None:
    class NewEvidenceError(errors.StaleChallengeError):
        code = "new_evidence_error"

    assert grpc_status(NewEvidenceError()) is grpc.StatusCode.FAILED_PRECONDITION
    assert http_status(NewEvidenceError()) == 409


@pytest.mark.parametrize(
    ("error", "grpc_code", "http_code"),
    [
        (errors.ProtocolViolationError(), grpc.StatusCode.INVALID_ARGUMENT, 400),
        (errors.DeviceNotActiveError(), grpc.StatusCode.PERMISSION_DENIED, 403),
        (errors.EvidenceMalformedError(), grpc.StatusCode.INVALID_ARGUMENT, 400),
        (errors.SupersededError(), grpc.StatusCode.ABORTED, 409),
        (errors.EnrollmentRefusedError("token_used"), grpc.StatusCode.PERMISSION_DENIED, 403),
        (errors.CallerRefusedError(), grpc.StatusCode.UNAUTHENTICATED, 401),
        (errors.RateLimitedError("", retry_after_seconds=1), grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (errors.NotAuthorizedError(), grpc.StatusCode.UNAUTHENTICATED, 401),
        (errors.StoreUnavailableError(), grpc.StatusCode.UNAVAILABLE, 503),
        (errors.KeysUnavailableError(), grpc.StatusCode.UNAVAILABLE, 503),
        (errors.OverloadedError(), grpc.StatusCode.RESOURCE_EXHAUSTED, 503),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_agents_and_proxies_rely_on(error: errors.WatchwordError, grpc_code: grpc.StatusCode, http_code: int) -> None:
    assert (grpc_status(error), http_status(error)) == (grpc_code, http_code)
