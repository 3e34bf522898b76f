"""The tour, as a program: a real certificate on a real device decides real requests. Each line is checked as it is told.

    make demo          tells the story, stays up to be tried, ends with Ctrl-C
    make demo ONCE=1   ends by itself: 0 if every line came out as told, else 1 and which did not

Loopback only, free ports, all in one temporary folder that goes with it. The parts are those of an installation: `watchword
serve`, two agents, Envoy with `deploy/envoy/envoy.yaml`, and an application behind it.
"""

import argparse
import contextlib
import datetime as dt
import json
import secrets
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.http_client import Fetched, ProxyClient
from support.pki import Credential, Pki, generate_key, root_authority
from support.processes import Program, ProgramError, run, wait_until
from support.proxies import ProxySetup, RunningProxy, envoy
from support.server import WatchwordServer
from support.upstream import Upstream

HERE = Path(__file__).resolve().parent
AGENT = Path(sys.executable).with_name("watchword-agent")
USER, PASSWORD = "ada@corp.example", "correct-horse"
HOST = "wiki.corp.example"
COMMON_NAME = "managed-laptop.corp.example"
GOAL_MS = 1000


@dataclass(slots=True)
class Story:
    """Tells lines and remembers which did not come out."""

    colours: bool
    broken: list[str] = field(default_factory=list)

    def chapter(self, number: int, title: str) -> None:
        """A heading."""
        self._print(f"\n{self._paint('1', f'{number}. {title}')}")

    def line(self, text: str, *, holds: bool, seen: str = "") -> None:
        """One line of the story: a tick if it came out as told."""
        mark = self._paint("32", "✓") if holds else self._paint("31", "✗")
        self._print(f"   {mark} {text}" + (f"  {self._paint('2', seen)}" if seen else ""))
        if not holds:
            self.broken.append(f"{text} (seen: {seen})" if seen else text)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colours else text

    def _print(self, text: str) -> None:
        print(text, flush=True)


@dataclass(slots=True)
class Agent:
    """A device: a folder with its certificate, and the agent as a process of its own."""

    name: str
    folder: Path
    state: Path
    program: Program | None = None
    device_id: str = ""

    @property
    def certificate(self) -> Path:
        """Where the check makes the agent look."""
        return self.folder / "client.pem"

    @property
    def key(self) -> Path:
        """Its private key, beside it."""
        return self.folder / "client.key"

    def put(self, credential: Credential) -> None:
        """Puts a certificate and a key in place, each in one step."""
        for path, content in ((self.key, _key_pem(credential)), (self.certificate, credential.chain_pem)):
            beside = path.with_suffix(".new")
            beside.touch(mode=0o600)
            beside.write_bytes(content)
            beside.replace(path)


@dataclass(slots=True)
class Stage:
    """Everything that runs."""

    directory: Path
    story: Story
    pki: Pki
    server: WatchwordServer
    proxy: RunningProxy
    upstream: Upstream
    good: Credential
    ends: contextlib.ExitStack

    @property
    def without_certificate(self) -> ProxyClient:
        """Ada, signed in, on a machine without a certificate."""
        return ProxyClient(self.proxy.port, self.pki.web.pem, HOST, user=(USER, PASSWORD))

    @property
    def browser(self) -> ProxyClient:
        """Ada, signed in, whose browser presents the certificate in TLS."""
        return self.without_certificate.with_credential(self.good)

    def agent(self, name: str) -> Agent:
        """Enrolls a device with a token of its own and starts its agent."""
        agent = Agent(name, self.directory / name, self.directory / f"agent-{name}")
        agent.folder.mkdir(exist_ok=True)
        agent.put(self.good)
        token = self.server.enrollment_token()
        url = f"http://{self.server.endpoints.agents}"
        options: list[str | Path] = ["--state", agent.state, "--hostname", name, "--serial-number", f"SN-{name}"]
        run([AGENT, "enroll", "--server", url, "--token", token, *options])
        with interruption.undisturbed():
            agent.program = self.ends.enter_context(
                Program([AGENT, "run", "--state", agent.state], name=f"agent-{name}", directory=self.directory)
            )
        agent.device_id = next(found["id"] for found in self.server.devices() if found["name"] == name)
        return agent


def main() -> int:
    """Runs the demo; the exit code."""
    parser = argparse.ArgumentParser(description="Watchword's tour.")
    parser.add_argument("--once", action="store_true", help="end when the story is told")
    once: bool = parser.parse_args().once
    story = Story(colours=sys.stdout.isatty())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interruption)
    try:
        with stage(story) as scene:
            tell(scene)
            if not once and not story.broken:
                stay(scene)
    except InterruptedStoryError as interrupted:
        print("\nended everything it started")
        return 0 if interrupted.number == signal.SIGINT else 128 + interrupted.number
    except ProgramError as error:
        story.line(f"a part did not do what the story needs: {error}", holds=False)
    if story.broken:
        print(f"\n{len(story.broken)} line(s) did not come out as told:", file=sys.stderr)
        for line in story.broken:
            print(f"  ✗ {line}", file=sys.stderr)
        return 1
    print("\nevery line came out as told")
    return 0


class InterruptedStoryError(BaseException):
    """Ctrl-C or SIGTERM. Not an `Exception`: nothing on the way out handles it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interruption:
    """Turns a signal into `InterruptedStoryError`: at once, or when what is being started is known and so will be ended."""

    def __init__(self) -> None:
        self._undisturbed = 0
        self._number: int | None = None

    def __call__(self, number: int, _frame: object) -> None:
        """The handler of SIGTERM and SIGINT. Only the first one counts: from then on everything is being ended."""
        if self._number is None:
            self._number = number
            self._raise_if_due()

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Signals wait until the block ends. They are not blocked, which the programs that it starts would inherit."""
        self._undisturbed += 1
        try:
            yield
        finally:
            self._undisturbed -= 1
        self._raise_if_due()

    def _raise_if_due(self) -> None:
        if self._number is not None and not self._undisturbed:
            raise InterruptedStoryError(self._number)


interruption = Interruption()


@contextlib.contextmanager
def stage(story: Story) -> Iterator[Stage]:
    """Chapter 1: starts the parts; ends them all when the block ends."""
    with contextlib.ExitStack() as ends:
        with interruption.undisturbed():
            directory = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="watchword-demo-")))
            tempfile.tempdir = str(directory)  # for all that is made on the way, keys among it
            ends.callback(setattr, tempfile, "tempdir", None)
            directory.chmod(0o711)  # some proxies' workers are somebody else
        story.chapter(1, "A server, a proxy, an application")
        secret = secrets.token_hex(32)
        server = WatchwordServer(directory / "data")
        with interruption.undisturbed():
            ends.enter_context(server)
        story.line("`watchword serve` on an embedded store is ready", holds=True, seen=server.endpoints.operators)
        pki = Pki.make()
        with interruption.undisturbed():
            upstream = ends.enter_context(Upstream())
        setup = ProxySetup(
            decisions=server.endpoints.decisions_grpc,
            application=upstream.address,
            pki=pki,
            host=HOST,
            caller_secret=secret,
            users={USER: PASSWORD},
        )
        with interruption.undisturbed():
            proxy = ends.enter_context(envoy(setup))
        story.line("Envoy asks it about every request to the application", holds=True, seen=f"https://127.0.0.1:{proxy.port}")
        (directory / "secrets").mkdir(mode=0o700)
        (directory / "secrets" / "edge-envoy").write_text(secret)
        yield Stage(directory, story, pki, server, proxy, upstream, pki.issuing.issue(COMMON_NAME), ends)


def tell(scene: Stage) -> None:
    """Chapters 2 to 8."""
    rules(scene)
    strangers(scene)
    laptop = enrolled(scene)
    moved_away_and_back(scene, laptop)
    other_certificates(scene, laptop)
    copied(scene, laptop)


def rules(scene: Stage) -> None:
    """A CA, a certificate, and one file of rules."""
    story, directory = scene.story, scene.directory
    story.chapter(2, "A certificate authority and the rules")
    (directory / "pki").mkdir()
    (directory / "pki" / "issuing-ca.pem").write_bytes(scene.pki.issuing.pem)
    story.line("a root CA, an issuing CA and a device certificate are made", holds=True, seen=f"CN={COMMON_NAME}")
    file = directory / "rules.yaml"
    file.write_text((HERE / "rules.yaml").read_text().replace("/demo/", f"{directory}/"))
    applied = scene.server.command("apply", file)
    told = f"{len(applied.stdout.splitlines())} entries, {applied.stderr.strip()}"
    story.line("`watchword apply demo/rules.yaml`: all of it is in force", holds="in force" in applied.stderr, seen=told)


def strangers(scene: Stage) -> None:
    """Nobody is let in for having a certificate, and less for having none."""
    story = scene.story
    story.chapter(3, "Strangers")
    _denied(scene, "a browser presents the certificate in TLS, but no device has proven it", scene.browser, "unknown_device")
    _denied(scene, "a browser without a certificate", scene.without_certificate, "no_device")
    fetched = scene.browser.get("/", ("Host", "legacy.corp.example"))
    holds = fetched.status == 403 and fetched.value("x-watchword-reason") == "gateway_block"
    story.line("a host that a Gateway rule blocks", holds=holds, seen=_seen(fetched))


def enrolled(scene: Stage) -> Agent:
    """The agent proves the key; the same request is let in."""
    story = scene.story
    story.chapter(4, "A device enrolls and attests")
    laptop = scene.agent("laptop-1")
    story.line("the agent enrolls with a one-use token", holds=bool(laptop.device_id), seen=laptop.device_id)
    fetched, took = _until(scene.browser, 200)
    story.line(
        "it attests; the same request is allowed", holds=fetched.status == 200, seen=f"{_seen(fetched)} within {took:.0f} ms"
    )
    if fetched.status == 200:
        ours = {name: values[0] for name, values in fetched.seen_upstream().ours().items()}
        wanted = {
            "x-watchword-device": laptop.device_id,
            "x-watchword-user": USER,
            "x-watchword-checks": "managed-laptop",
            "x-watchword-evidence-level": "proven",
        }
        for name, value in wanted.items():
            story.line(f"the application sees {name}", holds=ours.get(name) == value, seen=ours.get(name, "nothing"))
    return laptop


def moved_away_and_back(scene: Stage, laptop: Agent) -> None:
    """The certificate leaves the agent's path; the browser still presents it."""
    story = scene.story
    story.chapter(5, "The certificate file is moved away (the browser goes on presenting it)")
    away = laptop.certificate.with_suffix(".away")
    laptop.certificate.rename(away)
    fetched, took = _until(scene.browser, 403)
    why = _check_reason(fetched)
    story.line(
        "denied, with the reason", holds=_is_denied(fetched, "check_failed") and why == "path_missing", seen=_seen(fetched)
    )
    story.line(f"from the move to the first denial under {GOAL_MS} ms", holds=took < GOAL_MS, seen=f"{took:.0f} ms")
    explained = scene.server.command("explain", fetched.value("x-watchword-decision-id") or "").stdout
    print(textwrap.indent(explained.rstrip(), "       "))
    story.chapter(6, "It is put back")
    away.rename(laptop.certificate)
    fetched, took = _until(scene.browser, 200)
    story.line("allowed again", holds=fetched.status == 200, seen=f"{_seen(fetched)} within {took:.0f} ms")


def other_certificates(scene: Stage, laptop: Agent) -> None:
    """What lies in the path instead: each has its own reason."""
    story = scene.story
    story.chapter(7, "Something else lies in the agent's path")
    other_ca = root_authority("Somebody else's CA")
    an_hour, a_day = dt.timedelta(hours=1), dt.timedelta(days=1)
    instead = (
        ("a certificate of another CA", other_ca.issue(COMMON_NAME), "certificate_wrong_issuer"),
        ("an expired one", scene.pki.issuing.issue(COMMON_NAME, not_before=-a_day, not_after=-an_hour), "certificate_expired"),
        ("the right one, with another key", scene.good.with_key(generate_key()), "private_key_mismatch"),
    )
    for what, credential, reason in instead:
        laptop.put(credential)
        fetched, _ = _until(scene.browser, 403, because=reason)
        story.line(f"{what}: denied", holds=_check_reason(fetched) == reason, seen=_seen(fetched))
    laptop.put(scene.good)
    fetched, _ = _until(scene.browser, 200)
    story.line("the right one with its key: allowed", holds=fetched.status == 200, seen=_seen(fetched))


def copied(scene: Stage, laptop: Agent) -> None:
    """Certificate and key on a second device: neither is trusted until an operator decides."""
    story, server = scene.story, scene.server
    story.chapter(8, "Certificate and key are copied to a second enrolled device")
    thief = scene.agent("laptop-2")
    fetched, _ = _until(scene.browser, 403)
    noticed = _is_denied(fetched, "certificate_cloned") or _check_reason(fetched) == "certificate_cloned"  # the check fails first
    story.line("the copy is noticed: denied", holds=noticed, seen=_seen(fetched))
    flagged = {result["device_id"] for result in server.results() if result["reason"] == "certificate_cloned"}
    both = flagged == {laptop.device_id, thief.device_id}
    story.line(
        "both devices are flagged: `watchword results`", holds=both, seen="certificate_cloned on both" if both else str(flagged)
    )
    server.revoke(thief.device_id)
    fetched, took = _until(scene.browser, 200)
    states = {device["id"]: device["state"] for device in server.devices()}
    story.line(
        "the second is revoked: `watchword devices revoke`", holds=states[thief.device_id] == "revoked", seen=thief.device_id
    )
    story.line("the first is allowed again", holds=fetched.status == 200, seen=f"{_seen(fetched)} within {took:.0f} ms")


def stay(scene: Stage) -> None:
    """Leaves everything up, says how to try it."""
    files = scene.good.write(scene.directory, "browser")
    (scene.directory / "web-ca.pem").write_bytes(scene.pki.web.pem)
    curl = (
        f"curl --resolve {HOST}:{scene.proxy.port}:127.0.0.1 --cacert {scene.directory}/web-ca.pem -u {USER}:{PASSWORD} "
        f"--cert {files.certificate} --key {files.key} https://{HOST}:{scene.proxy.port}/"
    )
    print(
        textwrap.dedent(f"""
        It is all still up. Try it:

          {curl}
          mv {scene.directory}/laptop-1/client.pem {scene.directory}/away.pem      # and ask again; move it back when you like
          {Path(sys.executable).parent}/watchword explain --data {scene.directory}/data DECISION_ID     # from a denial
          {Path(sys.executable).parent}/watchword results --data {scene.directory}/data
          {Path(sys.executable).parent}/watchword-agent status --state {scene.directory}/agent-laptop-1

        Ctrl-C ends everything.""")
    )
    signal.pause()


def _denied(scene: Stage, what: str, client: ProxyClient, reason: str) -> None:
    fetched = client.get("/")
    scene.story.line(f"{what}: denied", holds=_is_denied(fetched, reason), seen=_seen(fetched))


def _is_denied(fetched: Fetched, reason: str) -> bool:
    return fetched.status == 403 and fetched.value("x-watchword-reason") == reason


def _check_reason(fetched: Fetched) -> str | None:
    if fetched.status != 403:
        return None
    checks = json.loads(fetched.body)["checks"]
    return str(checks[0]["reason"]) if checks else None


def _seen(fetched: Fetched) -> str:
    reason, why = fetched.value("x-watchword-reason"), _check_reason(fetched)
    return " ".join(text for text in (str(fetched.status), reason, f"({why})" if why else None) if text)


def _until(client: ProxyClient, status: int, *, because: str | None = None) -> tuple[Fetched, float]:
    """Asks until the answer has this status (and check reason); the last answer, and the milliseconds it took."""
    started = time.monotonic()
    answers: list[Fetched] = []

    def asked() -> bool:
        answers.append(client.get("/"))
        return answers[-1].status == status and because in {None, _check_reason(answers[-1])}

    with contextlib.suppress(ProgramError):
        wait_until(asked, what=f"status {status}", seconds=10)
    return answers[-1], (time.monotonic() - started) * 1000


def _key_pem(credential: Credential) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        return credential.write(Path(directory)).key.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
