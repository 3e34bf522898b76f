"""Prometheus metrics, one registry a server, so that two servers in a process do not mix."""

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
        self.log_dropped = Gauge(
            "watchword_log_dropped", "Lines a bounded log had to drop since the start.", ["log"], registry=self.registry
        )
