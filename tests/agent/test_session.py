"""The agent's half of the conversation, message by message, without a server, a clock or a disk."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from agent.device import check_set
from watchword.v1 import posture_pb2 as pb
from watchword_agent.collect import Collected, Finding
from watchword_agent.errors import ForeignAudienceError, ProtocolViolationError, ServerSilentError
from watchword_agent.identity import Boot, Identity
from watchword_agent.session import (
    Accepted,
    Attester,
    Challenged,
    CheckSet,
    Collect,
    Dismissed,
    Draining,
    Instructed,
    Leave,
    Notice,
    Propose,
    Rejected,
    Send,
    Session,
    State,
)

SESSION = b"s" * 16
TTL = 60
MARGIN = 10
TIMEOUT = 30
NO_CHECKS = CheckSet()


def latest(low: float, high: float) -> float:
    """The greatest a random delay can be."""
    return high


@dataclass
class Conversation:
    """A session under test with the time it is, and nonces that tell how often one was given."""

    check_set: CheckSet = NO_CHECKS
    now: float = 1000.0
    challenges: int = 0
    delays: list[str] = field(default_factory=list)
    session: Session = field(init=False)

    def __post_init__(self) -> None:
        self.session = Session(
            attester=Attester("dev_1", "key_1", "audience_1", b"i" * 16, "1.0"),
            check_set=self.check_set,
            uniform=latest,
            retry_delay=self._retry_delay,
            answer_timeout_seconds=TIMEOUT,
        )

    def _retry_delay(self, code: str) -> float:
        self.delays.append(code)
        return 5.0

    def challenge(self, **changes: Any) -> pb.Challenge:
        self.challenges += 1
        values = {"session_id": SESSION, "epoch": 4, "nonce": bytes([self.challenges]) * 32, "audience": "audience_1"}
        return pb.Challenge(**{**values, "nonce_ttl_seconds": TTL, **changes})

    def poll(self) -> Send | Collect | Propose | Leave | None:
        return self.session.poll(self.now)

    def tell(self, **message: Any) -> Notice | None:
        return self.session.receive(pb.AttestResponse(**message), self.now)

    def evidence(self, *findings: Finding) -> pb.Evidence:
        collected = Collected(Identity("linux", None, "SN-1"), findings)
        return self.session.evidence(collected, Boot(b"b" * 16, 77), now=self.now, wall_time=1.5)

    def attest(self) -> pb.Evidence:
        task = self.poll()
        assert isinstance(task, Collect)
        return self.evidence()

    def ack(self, sequence: int) -> Notice | None:
        return self.tell(ack=pb.Ack(sequence=sequence, next_challenge=self.challenge()))

    def greet(self) -> "Conversation":
        assert isinstance(self.poll(), Send)
        assert self.tell(challenge=self.challenge()) == Challenged(4)
        return self

    def settle(self) -> "Conversation":
        """Past the first evidence: nothing is due."""
        self.greet().attest()
        self.ack(1)
        assert self.poll() is None
        return self


def test_it_begins_with_hello_and_waits() -> None:
    talk = Conversation()
    first = talk.poll()
    assert isinstance(first, Send)
    hello = first.request.hello
    assert (hello.device_id, hello.instance_id, hello.agent_version, hello.protocol_version) == ("dev_1", b"i" * 16, "1.0", 1)
    assert talk.poll() is None
    assert talk.session.next_due() == talk.now + TIMEOUT


def test_a_challenge_is_answered_at_once_with_evidence_that_names_it() -> None:
    talk = Conversation(CheckSet(9, tuple(check_set("/a").checks))).greet()
    task = talk.poll()
    assert isinstance(task, Collect)
    assert task.check_set.revision == 9
    binding = task.binding
    assert (binding.nonce, binding.audience, binding.device_id, binding.session_id) == (
        b"\1" * 32,
        "audience_1",
        "dev_1",
        SESSION,
    )
    evidence = talk.evidence(Finding(pb.CheckEvidence(check_id="check-0"), talk.now - 0.2501))
    assert (evidence.device_id, evidence.key_id, evidence.audience) == ("dev_1", "key_1", "audience_1")
    assert (evidence.session_id, evidence.epoch, evidence.nonce, evidence.sequence) == (SESSION, 4, b"\1" * 32, 1)
    assert evidence.check_set_revision == 9
    assert evidence.inventory == pb.Inventory(platform="linux", hostname="", serial_number="SN-1")
    assert evidence.boot == pb.Boot(boot_id=b"b" * 16, uptime_ms=77, wall_time_unix_ms=1500)
    assert [(check.check_id, check.age_ms) for check in evidence.checks] == [("check-0", 251)]


def test_the_sequence_counts_accepted_evidence() -> None:
    talk = Conversation().greet()
    assert talk.attest().sequence == 1
    assert talk.tell(rejected=pb.Rejected(code="overloaded", next_challenge=talk.challenge())) == Rejected("overloaded", 5.0)
    talk.now += 5
    assert talk.attest().sequence == 1
    assert talk.ack(1) == Accepted(1, ())
    talk.session.want_evidence(talk.now)
    assert talk.attest().sequence == 2


@pytest.mark.parametrize("acknowledged", [0, 2])
def test_an_acknowledgement_of_other_evidence_is_a_violation(acknowledged: int) -> None:
    talk = Conversation().greet()
    talk.attest()
    with pytest.raises(ProtocolViolationError):
        talk.ack(acknowledged)


def test_a_challenge_is_answered_once() -> None:
    talk = Conversation().greet()
    first = talk.attest()
    talk.ack(1)
    talk.session.want_evidence(talk.now)
    assert talk.attest().nonce != first.nonce


def test_without_a_next_challenge_it_asks_for_one_when_it_needs_it() -> None:
    talk = Conversation().greet()
    talk.attest()
    talk.tell(ack=pb.Ack(sequence=1))
    assert talk.poll() is None
    talk.session.want_evidence(talk.now)
    asked = talk.poll()
    assert isinstance(asked, Send)
    assert asked.request.WhichOneof("message") == "challenge_request"


@pytest.mark.parametrize(("age", "asks"), [(TTL - MARGIN, False), (TTL - MARGIN + 0.1, True)])
def test_a_challenge_that_has_aged_is_replaced_before_it_is_answered(age: float, asks: bool) -> None:
    talk = Conversation().settle()
    talk.now += age
    talk.session.want_evidence(talk.now)
    action = talk.poll()
    assert isinstance(action, Send) == asks
    if asks:
        talk.tell(challenge=talk.challenge())
        assert talk.attest().nonce == bytes([talk.challenges]) * 32


def test_checks_are_attested_within_the_time_given() -> None:
    talk = Conversation().settle()
    told = check_set("/a", due_within_ms=2000)
    assert talk.tell(check_set=told) == Instructed(CheckSet(7, tuple(told.checks)))
    assert talk.poll() is None
    assert talk.session.next_due() == talk.now + 2
    talk.now += 2
    task = talk.poll()
    assert isinstance(task, Collect)
    assert task.check_set == CheckSet(7, tuple(told.checks))


def test_checks_told_while_evidence_is_judged_are_attested_after_the_verdict() -> None:
    talk = Conversation().greet()
    talk.attest()
    talk.tell(check_set=check_set("/a"))
    assert talk.poll() is None
    talk.ack(1)
    assert talk.attest().check_set_revision == 7


def test_attest_now_spreads_as_asked() -> None:
    talk = Conversation().settle()
    talk.tell(attest_now=pb.AttestNow(due_within_ms=500))
    assert talk.session.next_due() == talk.now + 0.5


def test_the_shortest_schedule_makes_all_checks_due_again() -> None:
    checks = (*check_set("/a", schedule_seconds=300).checks, *check_set("/b", schedule_seconds=60).checks)
    talk = Conversation(CheckSet(1, checks)).greet()
    talk.attest()
    talk.ack(1)
    assert talk.session.next_due() == talk.now + 60
    talk.now += 60
    assert isinstance(talk.poll(), (Collect, Send))


def test_a_schedule_is_never_exceeded_and_has_a_floor() -> None:
    bounds: list[tuple[float, float]] = []

    def record(low: float, high: float) -> float:
        bounds.append((low, high))
        return low

    talk = Conversation(CheckSet(1, tuple(check_set("/a", schedule_seconds=0).checks)))
    talk.session.uniform = record
    talk.greet().attest()
    talk.ack(1)
    assert bounds == [(8.0, 10)]


def test_without_checks_nothing_is_scheduled() -> None:
    assert Conversation().settle().session.next_due() == float("inf")


def test_a_store_change_is_attested_at_once_and_a_flapping_one_five_times_a_second() -> None:
    talk = Conversation().settle()
    for sequence in range(2, 22):
        talk.session.store_changed(talk.now)
        talk.attest()
        talk.ack(sequence)
    talk.session.store_changed(talk.now)
    assert talk.poll() is None
    assert talk.session.next_due() == talk.now + 0.2


def test_a_change_during_collection_is_attested_after_the_verdict() -> None:
    talk = Conversation().greet()
    assert isinstance(talk.poll(), Collect)
    talk.session.store_changed(talk.now)
    talk.evidence()
    talk.ack(1)
    assert isinstance(talk.poll(), Collect)


def test_the_first_stale_challenge_costs_no_wait_and_further_ones_do() -> None:
    talk = Conversation().greet()
    talk.attest()
    assert talk.tell(rejected=pb.Rejected(code="challenge_stale", next_challenge=talk.challenge())) == Rejected(
        "challenge_stale", 0
    )
    talk.attest()
    talk.tell(rejected=pb.Rejected(code="challenge_stale", next_challenge=talk.challenge()))
    assert talk.poll() is None
    assert talk.delays == ["challenge_stale"]
    talk.now += 5
    talk.attest()
    talk.ack(1)
    talk.session.want_evidence(talk.now)
    talk.attest()
    assert talk.tell(rejected=pb.Rejected(code="challenge_stale", next_challenge=talk.challenge())) == Rejected(
        "challenge_stale", 0
    )


def test_rejected_for_good_it_waits_to_hear_when_to_come_back() -> None:
    talk = Conversation().greet()
    talk.attest()
    assert talk.tell(rejected=pb.Rejected(code="device_not_active")) == Rejected("device_not_active", None)
    assert talk.poll() is None
    assert talk.tell(closing=pb.Closing(code="bye", retry_after_ms=1500)) == Dismissed("device_not_active", 1.5)
    assert talk.session.state is State.OVER


def test_a_drain_lets_it_stay_until_its_moment_and_finish_what_it_began() -> None:
    talk = Conversation().settle()
    assert talk.tell(drain=pb.Drain(reconnect_within_ms=4000)) == Draining(4.0)
    talk.session.want_evidence(talk.now)
    talk.attest()
    talk.now += 4
    assert talk.poll() is None
    talk.ack(2)
    assert talk.poll() == Leave()
    assert talk.poll() is None


@pytest.mark.parametrize("step", ["challenge", "verdict"])
def test_an_overdue_answer_ends_it(step: str) -> None:
    talk = Conversation()
    if step == "challenge":
        talk.poll()
    else:
        talk.greet().attest()
    talk.now += TIMEOUT
    with pytest.raises(ServerSilentError):
        talk.poll()


def test_it_never_answers_another_audience() -> None:
    talk = Conversation()
    talk.poll()
    with pytest.raises(ForeignAudienceError, match="audience_2"):
        talk.tell(challenge=talk.challenge(audience="audience_2"))
    assert not isinstance(talk.poll(), Collect)


@pytest.mark.parametrize("where", ["ack", "rejected"])
def test_it_never_answers_another_audience_later_either(where: str) -> None:
    talk = Conversation().greet()
    talk.attest()
    foreign = talk.challenge(audience="audience_2")
    with pytest.raises(ForeignAudienceError):
        talk.tell(**{where: {"next_challenge": foreign, **({"sequence": 1} if where == "ack" else {})}})


@pytest.mark.parametrize("change", [{"nonce": b"short"}, {"session_id": b"short"}, {"nonce_ttl_seconds": 0}])
def test_a_challenge_out_of_bounds_is_a_violation(change: dict[str, Any]) -> None:
    talk = Conversation()
    talk.poll()
    with pytest.raises(ProtocolViolationError):
        talk.tell(challenge=talk.challenge(**change))


@pytest.mark.parametrize("change", [{"session_id": b"t" * 16}, {"epoch": 5}])
def test_a_session_cannot_change_under_way(change: dict[str, Any]) -> None:
    talk = Conversation().greet()
    talk.attest()
    with pytest.raises(ProtocolViolationError):
        talk.tell(ack=pb.Ack(sequence=1, next_challenge=talk.challenge(**change)))


OUT_OF_TURN: list[tuple[Callable[[Conversation], object], dict[str, Any]]] = [
    (lambda talk: talk.poll(), {"ack": {"sequence": 1}}),
    (lambda talk: talk.greet(), {"ack": {"sequence": 1}}),
    (lambda talk: talk.settle(), {"ack": {"sequence": 2}}),
    (lambda talk: talk.greet(), {"challenge": {"session_id": SESSION, "nonce": b"n" * 32}}),
    (lambda talk: talk.greet().attest(), {"challenge": {"session_id": SESSION, "nonce": b"n" * 32}}),
]


@pytest.mark.parametrize(("before", "message"), OUT_OF_TURN)
def test_a_message_out_of_turn_is_a_violation(before: Callable[[Conversation], object], message: dict[str, Any]) -> None:
    talk = Conversation()
    before(talk)
    with pytest.raises(ProtocolViolationError, match="the server sent"):
        talk.tell(**message)


def test_a_kind_of_message_it_does_not_know_is_passed_over() -> None:
    talk = Conversation().settle()
    assert talk.tell() is None
    assert talk.session.state is State.READY
