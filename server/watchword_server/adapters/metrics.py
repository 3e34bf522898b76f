"""Prometheus metrics, one registry a server, so that two servers in a process do not mix."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """Everything that is counted. Names and labels are part of the interface (docs/operating.md)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.decisions = Counter(
            "watchword_decisions", "Decisions by door, outcome and reason.", ["door", "outcome", "reason"], registry=self.registry
        )
        self.decision_seconds = Histogram(
            "watchword_decision_seconds",
            "Time from a decision request's arrival to its answer.",
            ["door"],
            registry=self.registry,
            buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
        )
        self.callers_refused = Counter(
            "watchword_callers_refused", "Decision requests by nobody we know.", ["door"], registry=self.registry
        )
        self.evidence = Counter(
            "watchword_evidence",
            "Evidence by outcome: accepted, or the code of its rejection.",
            ["outcome"],
            registry=self.registry,
        )
        self.enrollments = Counter("watchword_enrollments", "Enrollments by outcome.", ["outcome"], registry=self.registry)
        self.connected_agents = Gauge("watchword_connected_agents", "Devices with a live stream.", registry=self.registry)
        self.rules_revision = Gauge("watchword_rules_revision", "The revision of the rules in force.", registry=self.registry)
        self._list_this_update = self._of_list(
            "this_update", "When the revocation list in force was made, in seconds since 1970."
        )
        self._list_next_update = self._of_list("next_update", "When the revocation list in force has to be replaced, likewise.")
        self._list_failures = Gauge(
            "watchword_revocation_list_failures",
            "How often in a row the list could not be read.",
            ["certificate", "place"],
            registry=self.registry,
        )
        self.log_dropped = Gauge(
            "watchword_log_dropped", "Lines a bounded log had to drop since the start.", ["log"], registry=self.registry
        )

    def tell_revocation(self, figures: Iterable[tuple[str, str, float | None, float | None, int]]) -> None:
        """Of each revocation list: the CA's name, the place, this and next update (None: there is no list), and failures."""
        for gauge in (self._list_this_update, self._list_next_update, self._list_failures):
            gauge.clear()
        for certificate, place, this_update, next_update, failures in figures:
            if this_update is not None and next_update is not None:
                self._list_this_update.labels(certificate, place).set(this_update)
                self._list_next_update.labels(certificate, place).set(next_update)
            self._list_failures.labels(certificate, place).set(failures)

    def _of_list(self, what: str, says: str) -> Gauge:
        name = f"watchword_revocation_list_{what}_seconds"
        return Gauge(name, says, ["certificate", "place"], registry=self.registry)
