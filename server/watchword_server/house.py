"""What is plugged in: the one place that names concrete classes. A house is everything but the listeners."""

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from watchword_server.adapters import decision_file
from watchword_server.adapters import signing_keys as signing_keys_file
from watchword_server.adapters.cache import CacheLimits, PostureCache
from watchword_server.adapters.clock import SystemClock
from watchword_server.adapters.json_lines import JsonLinesLog, LogLimits
from watchword_server.adapters.jwks import Jwks, VerifiedTokens
from watchword_server.adapters.key_encryption import KeyEncryption
from watchword_server.adapters.key_proofs import KeyProofs
from watchword_server.adapters.metrics import Metrics
from watchword_server.adapters.ocsp_client import OcspClient
from watchword_server.adapters.revocation_reader import RevocationReader
from watchword_server.adapters.signing_keys import SigningKeys
from watchword_server.adapters.store_sql.store import SqlStore, StoreLimits
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.core.rules import UserTokens
from watchword_server.doors.agents import AgentDoor, AgentLimits
from watchword_server.doors.agents_http import AgentsHttp, RequestLimits
from watchword_server.doors.cloudflare.app import CloudflareDoor
from watchword_server.doors.codec import (
    parse_enrollment_statement,
    parse_evidence,
    parse_goodbye,
    parse_key_rotation,
    parse_token_request,
)
from watchword_server.doors.decisions_http import HttpDoors
from watchword_server.doors.ext_authz import ExtAuthzDoor
from watchword_server.doors.native import NativeDoor
from watchword_server.doors.operators.app import OperatorsDoor
from watchword_server.doors.operators.audit import AuditRoutes
from watchword_server.doors.operators.authentication import Authentication, Provider
from watchword_server.doors.operators.certificates import CertificateRoutes
from watchword_server.doors.operators.decisions import DecisionRoutes
from watchword_server.doors.operators.devices import DeviceRoutes
from watchword_server.doors.operators.postures import PostureRoutes
from watchword_server.doors.operators.rules import RuleRoutes
from watchword_server.doors.operators.settings import SettingsRoutes
from watchword_server.doors.operators.signing_keys import SigningKeyRoutes
from watchword_server.doors.operators.tokens import TokenRoutes
from watchword_server.doors.spoe import SpoeDoor
from watchword_server.errors import ServiceError
from watchword_server.ports.audit import Retention
from watchword_server.ports.decisions import DecisionPage, DecisionQuery
from watchword_server.services.answered import AnsweredChallenges
from watchword_server.services.assertions import TYPE as ASSERTION_TYPE
from watchword_server.services.assertions import Assertions
from watchword_server.services.auditing import Auditing
from watchword_server.services.changes import Changes
from watchword_server.services.connections import Connections
from watchword_server.services.decisions import Decisions
from watchword_server.services.device_tokens import DeviceTokens
from watchword_server.services.devices import Devices
from watchword_server.services.enrollment import Enrollment
from watchword_server.services.explaining import Explaining
from watchword_server.services.key_rotation import KeyRotations
from watchword_server.services.leaving import Leaving
from watchword_server.services.limiting import TokenBuckets
from watchword_server.services.ocsp_statuses import OcspStatuses
from watchword_server.services.rejudging import Rejudging
from watchword_server.services.resolving import Resolver
from watchword_server.services.revocation import Revocation
from watchword_server.services.revocation_effects import RevocationEffects
from watchword_server.services.revocation_in_force import RevocationInForce
from watchword_server.services.revocation_responses import RevocationResponses
from watchword_server.services.revocation_sources import RevocationSources
from watchword_server.services.rules import Rules
from watchword_server.services.rules_in_force import RulesInForce
from watchword_server.services.searching import Searching
from watchword_server.services.service_tokens import ServiceTokens
from watchword_server.services.token_uses import TokenUses
from watchword_server.services.tokens import Tokens
from watchword_server.services.user_identities import UserIdentities
from watchword_server.services.verifier import Verifier
from watchword_server.services.watching import Watching
from watchword_server.settings import Oidc, Settings

_POSTURE_LOG_TRIMMED_EVERY_SECONDS: Final = 600.0


@dataclass(slots=True)
class House:
    """A running Watchword without its listeners: the store is open, the rules are loaded. Made by `open`."""

    settings: Settings
    data_dir: Path
    store: SqlStore
    clock: SystemClock
    connections: Connections
    rules: Rules
    revocation_sources: RevocationSources
    revocation_responses: RevocationResponses
    agents: AgentDoor
    agents_http: AgentsHttp
    ext_authz: ExtAuthzDoor
    http_doors: HttpDoors
    spoe: SpoeDoor
    native: NativeDoor
    changes: Changes
    signing_keys: SigningKeys
    operators: OperatorsDoor
    decision_log: JsonLinesLog
    posture_log: JsonLinesLog
    auditing: Auditing
    token_uses: TokenUses
    ready: bool = False
    _posture_log_trimmed_at: float = 0.0

    @property
    def account_id(self) -> str:
        """The account of the Cloudflare API."""
        return self.settings.operators.account_id or self.store.identity.account_id

    def key_set(self) -> Mapping[str, object]:
        """The public keys of what is signed here (RFC 7517)."""
        return {"keys": [key.public for key in self.signing_keys.published(self.clock.now())]}

    @classmethod
    async def open(cls, data_dir: Path, settings: Settings) -> Self:
        """Opens the data directory and puts its rules in force.

        Raises `DataDirectoryBusyError`, `ConfigurationError`, `StoreUnavailableError`.
        """
        store = await SqlStore.open(
            data_dir, limits=StoreLimits(pending_writes=settings.store.queue_length, kept_changes=settings.store.changes_kept)
        )
        logs: list[JsonLinesLog] = []
        try:
            house = cls._build(data_dir, settings, store, logs)
            await house.rules.load()
            await house.revocation_sources.revocation.resume()
        except BaseException:
            for log in logs:
                log.close()
            await store.close()
            raise
        return house

    async def keep_books(self) -> None:
        """Every few seconds: writes what was only counted and noticed, and lets go of what is too old. Raises `ServiceError`."""
        await self.auditing.flush()
        await self.token_uses.save(self.clock.now())
        await self.auditing.trim()
        await self._trim_posture_log()

    async def _trim_posture_log(self) -> None:
        now = self.clock.now()
        if now - self._posture_log_trimmed_at >= _POSTURE_LOG_TRIMMED_EVERY_SECONDS:
            history = self.settings.history
            older_than = Instant(now - history.posture_days * 86_400)
            await self.store.trim_posture_log(rows=history.posture_entries, older_than=older_than)
            self._posture_log_trimmed_at = now

    async def close(self) -> None:
        """Finishes what was begun and lets the data directory go."""
        self.ready = False
        await self.revocation_sources.stop()
        await self.revocation_responses.stop()
        with contextlib.suppress(ServiceError):
            await self.auditing.flush(all_of_them=True)
            await self.token_uses.save(self.clock.now(), at_once=True)
        await asyncio.to_thread(self.decision_log.close)
        await asyncio.to_thread(self.posture_log.close)
        await self.store.close()

    @classmethod
    def _build(cls, data_dir: Path, settings: Settings, store: SqlStore, logs: list[JsonLinesLog]) -> Self:
        limits, identity = settings.limits, store.identity
        audience = settings.audience or f"watchword/{identity.account_id}"
        clock = SystemClock(floor=identity.clock_floor)
        timer = asyncio.get_running_loop().time
        log_limits = LogLimits(max_bytes=settings.logs.max_bytes, backups=settings.logs.backups)
        decision_log = JsonLinesLog(data_dir / "log" / "decisions.jsonl", log_limits)
        posture_log = JsonLinesLog(data_dir / "log" / "posture.jsonl", log_limits)
        logs += [decision_log, posture_log]
        metrics = Metrics()
        metrics.log_dropped.labels("decisions").set_function(lambda: decision_log.dropped)
        metrics.log_dropped.labels("posture").set_function(lambda: posture_log.dropped)
        changes = Changes(limits.max_watches)
        memory = PostureCache(
            store,
            CacheLimits(
                max_devices=settings.cache.max_devices,
                max_certificates=settings.cache.max_certificates,
                keep_seconds=settings.cache.keep_seconds,
                keep_absent_seconds=settings.cache.keep_absent_seconds,
                load_deadline_seconds=settings.cache.load_deadline_seconds,
            ),
            changed=changes.note,
            changed_all=changes.note_all,
        )
        in_force, revocation, connections = RulesInForce(), RevocationInForce(), Connections()
        rejudging = Rejudging(store, memory, revocation, clock, posture_log)
        rules = Rules(store, in_force, rejudging, connections, clock, limits.attest_devices_per_second, settings.rules.language)
        effects = RevocationEffects(in_force, revocation, rejudging)
        statuses = OcspStatuses(store, revocation, effects, clock)
        lists = Revocation(
            store=store,
            rules=in_force,
            in_force=revocation,
            rejudging=rejudging,
            reading=RevocationReader(data_dir / "revocation"),
            statuses=statuses,
            clock=clock,
            inbox=data_dir / "inbox",
            max_list_bytes=settings.revocation.max_list_bytes,
            fetch_timeout_seconds=settings.revocation.fetch_timeout_seconds,
            connections=connections,
            attest_devices_per_second=limits.attest_devices_per_second,
        )
        rules.before_swap = lists.prepare
        sources = RevocationSources(lists, in_force, clock)
        responses = RevocationResponses(
            asking=OcspClient(timeout_seconds=settings.revocation.ocsp_timeout_seconds),
            statuses=statuses,
            in_force=revocation,
            clock=clock,
            timeout_seconds=settings.revocation.ocsp_timeout_seconds,
        )
        tokens = Tokens(store, clock, secrets.token_bytes)
        stand_in_key = secrets.token_bytes(32)
        verifier = Verifier(
            store=store,
            memory=memory,
            rules=in_force,
            revocation=revocation,
            rejudging=rejudging,
            clock=clock,
            posture_log=posture_log,
            parse=parse_evidence,
            stand_in_epoch=lambda device_id: _stand_in_epoch(stand_in_key, device_id),
            responses=responses,
        )
        enrollment = Enrollment(
            store,
            memory,
            clock,
            secrets.token_bytes,
            connections,
            audience,
            limits.challenge_max_age_seconds,
            parse_enrollment_statement,
        )
        signing_keys = _signing_keys(data_dir, settings, clock.now())
        issuer = settings.decisions.issuer or f"watchword/{identity.account_id}"
        assertions = Assertions(issuer, lambda claims, now: signing_keys.sign(claims, kind=ASSERTION_TYPE, now=now))
        device_tokens = DeviceTokens(
            memory=memory,
            clock=clock,
            fresh_bytes=secrets.token_bytes,
            audience=audience,
            issuer=issuer,
            keys=signing_keys,
            proofs=KeyProofs(),
            challenge_max_age_seconds=limits.challenge_max_age_seconds,
            parse=parse_token_request,
        )
        resolver = Resolver(memory, revocation, store, connections, tokens=device_tokens)
        identities = UserIdentities(_issued_tokens)
        decisions = Decisions(
            in_force, resolver, clock, secrets.token_bytes, decision_log, identities, assertions, settings.decisions.log_query
        )

        async def find_decision(decision_id: str) -> Mapping[str, object] | None:
            return await asyncio.to_thread(decision_file.find_decision, decision_log.path, decision_id)

        async def find_decisions(query: DecisionQuery) -> DecisionPage:
            return await asyncio.to_thread(decision_file.find_decisions, decision_log.path, query)

        explaining = Explaining(decisions, in_force, memory, clock, find_decision)
        history = settings.history
        retention = Retention(
            audit_records=history.audit_records,
            audit_seconds=history.audit_days * 86_400,
            revisions=history.revisions,
            revision_seconds=history.revision_days * 86_400,
            revision_bytes=history.revision_bytes,
        )
        auditing, uses = Auditing(store, clock, retention), TokenUses(store)
        agents = AgentDoor(
            enrollment=enrollment,
            verifier=verifier,
            leaving=Leaving(verifier, parse_goodbye),
            device_tokens=device_tokens,
            key_rotations=KeyRotations(verifier, parse_key_rotation, limits.key_rotation_hours * 3600),
            rules=in_force,
            connections=connections,
            clock=clock,
            fresh_bytes=secrets.token_bytes,
            audience=audience,
            limits=AgentLimits(
                hello_timeout_seconds=limits.hello_timeout_seconds,
                first_evidence_timeout_seconds=limits.first_evidence_timeout_seconds,
                challenge_max_age_seconds=limits.challenge_max_age_seconds,
                max_streams=limits.max_streams,
                max_unproven_streams=limits.max_unproven_streams,
                max_unproven_streams_of_an_address=limits.max_unproven_streams_of_an_address,
            ),
            hello_buckets=TokenBuckets(limits.streams_per_second, limits.streams_burst, timer),
            enroll_buckets=TokenBuckets(limits.enrollments_per_second, limits.enrollments_burst, timer),
            message_buckets=TokenBuckets(limits.messages_per_second, limits.messages_burst, timer),
            metrics=metrics,
            auditing=auditing,
        )
        failed_logins = TokenBuckets(limits.failed_logins_per_second, limits.failed_logins_burst, timer)
        authentication = Authentication(store, clock, failed_logins, auditing, uses, _provider(settings.operators.oidc))
        acts_on_devices = Devices(store, memory, rejudging, in_force, connections, clock)
        key_file = settings.operators.key_encryption_key_file
        seal = None if key_file is None else KeyEncryption.read(key_file).seal
        account_id = settings.operators.account_id or identity.account_id
        house = cls(
            settings=settings,
            data_dir=data_dir,
            store=store,
            clock=clock,
            connections=connections,
            rules=rules,
            revocation_sources=sources,
            revocation_responses=responses,
            agents=agents,
            agents_http=AgentsHttp(
                door=agents,
                enabled=settings.agents.https,
                limits=RequestLimits(limits.max_https_requests, limits.max_https_requests_of_an_address),
                is_ready=lambda: house.ready,
                seal_key=secrets.token_bytes(32),
                answered=AnsweredChallenges(limits.challenge_max_age_seconds, limits.max_https_answers_kept),
            ),
            ext_authz=ExtAuthzDoor(decisions, in_force, metrics, auditing),
            http_doors=HttpDoors.make(
                decisions,
                Searching(in_force, decisions, clock),
                in_force,
                metrics,
                auditing,
                public_url=settings.decisions.public_url,
            ),
            spoe=SpoeDoor(decisions, in_force, metrics, auditing),
            native=NativeDoor(decisions, explaining, Watching(memory, in_force, changes, clock), in_force, metrics, auditing),
            changes=changes,
            signing_keys=signing_keys,
            operators=OperatorsDoor(
                authentication=authentication,
                rules=RuleRoutes(rules),
                decisions=DecisionRoutes(
                    decisions,
                    explaining,
                    find_one=find_decision,
                    find=find_decisions,
                ),
                postures=PostureRoutes(store, in_force, clock),
                settings=SettingsRoutes(settings, account_id),
                signing_keys=SigningKeyRoutes(signing_keys, clock, auditing),
                devices=DeviceRoutes(store, acts_on_devices, connections, in_force, clock, auditing),
                tokens=TokenRoutes(tokens, store, clock, ServiceTokens(rules, clock, secrets.token_bytes), in_force, uses),
                certificates=CertificateRoutes(lists, sources, in_force, auditing),
                audit=AuditRoutes(store, store, rules),
                cloudflare=CloudflareDoor(authentication, rules, store, acts_on_devices, account_id, seal),
                in_force=in_force,
                connections=connections,
                metrics=metrics,
                is_ready=lambda: house.ready,
            ),
            decision_log=decision_log,
            posture_log=posture_log,
            auditing=auditing,
            token_uses=uses,
        )
        return house


def _issued_tokens(tokens: UserTokens) -> VerifiedTokens:
    return VerifiedTokens(tokens.issuer, tokens.audience, tokens.algorithms, tokens.leeway_seconds, Jwks(tokens.jwks_url))


def _provider(oidc: Oidc | None) -> Provider | None:
    if oidc is None:
        return None
    tokens = VerifiedTokens(oidc.issuer, oidc.audience, oidc.algorithms, oidc.leeway_seconds, Jwks(oidc.jwks_url))
    return Provider(tokens, oidc.role_claim, oidc.roles)


def _signing_keys(data_dir: Path, settings: Settings, now: Instant) -> SigningKeys:
    shared = settings.decisions.signing_keys_file
    path = shared or data_dir / signing_keys_file.FILE
    return SigningKeys.open(path, shared=shared is not None, algorithm=settings.decisions.signing_algorithm, now=now)


def _stand_in_epoch(key: bytes, device_id: DeviceId) -> int:
    """What an unknown device is told as its epoch: stable while the server runs, and of a size that real ones have."""
    return hmac.new(key, device_id.encode(), hashlib.sha256).digest()[0]
