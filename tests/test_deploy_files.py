"""What `deploy/` has besides the proxies' files: images, clusters and units cannot be tried here, so it is held to the code."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import click
import pytest
from ruamel.yaml import YAML

from watchword_agent.__main__ import main as agent
from watchword_server.__main__ import main as server
from watchword_server.settings import Settings

DEPLOY: Final = Path(__file__).parents[1] / "deploy"
LISTENERS: Final = {"operators": 7400, "decisions-http": 7401, "decisions-grpc": 7402, "agents": 7403}


def documents(name: str) -> list[dict[str, Any]]:
    return [each for each in YAML(typ="safe").load_all(DEPLOY / name) if each is not None]


def of_kind(name: str, kind: str) -> list[dict[str, Any]]:
    return [each for each in documents(name) if each["kind"] == kind]


def test_the_settings_of_the_cluster_are_settings() -> None:
    (configuration,) = of_kind("kubernetes/watchword.yaml", "ConfigMap")
    settings = Settings.model_validate(tomllib.loads(configuration["data"]["watchword.toml"]))
    assert settings.port == LISTENERS["operators"]
    assert settings.operators.host == "127.0.0.1"
    for listener in (settings.agents, settings.decisions):
        assert listener.tls is not None
    assert settings.decisions.tls is not None
    assert settings.decisions.tls.client_ca is not None


def test_there_is_one_server_that_nobody_in_its_pod_can_change() -> None:
    (deployment,) = of_kind("kubernetes/watchword.yaml", "Deployment")
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]["type"]) == (1, "Recreate")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {port["name"]: port["containerPort"] for port in container["ports"]}.items() <= LISTENERS.items()
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    _check_arguments(server, container["args"])


def test_the_services_lead_to_listeners_and_only_what_asks_gets_there() -> None:
    services = {each["metadata"]["name"]: each["spec"]["ports"] for each in of_kind("kubernetes/watchword.yaml", "Service")}
    assert {port["targetPort"] for ports in services.values() for port in ports} == {"decisions-http", "decisions-grpc", "agents"}
    (policy,) = of_kind("kubernetes/watchword.yaml", "NetworkPolicy")
    restricted, public = policy["spec"]["ingress"]
    assert [port["port"] for port in restricted["ports"]] == [7401, 7402]
    assert restricted["from"]
    assert [port["port"] for port in public["ports"]] == [7403]


def test_istio_asks_about_every_request_and_is_closed() -> None:
    (policy,) = of_kind("kubernetes/istio.yaml", "AuthorizationPolicy")
    assert (policy["spec"]["action"], policy["spec"]["rules"]) == ("CUSTOM", [{}])
    (mesh,) = documents("kubernetes/istio-mesh.yaml")
    (provider,) = mesh["spec"]["meshConfig"]["extensionProviders"]
    assert provider["name"] == policy["spec"]["provider"]["name"]
    told = provider["envoyExtAuthzGrpc"]
    assert (told["port"], told["timeout"], told["failOpen"], told["statusOnError"]) == (7402, "0.5s", False, "503")


def test_compose_starts_what_is_shipped() -> None:
    (compose,) = documents("compose/compose.yaml")
    services = compose["services"]
    assert services["watchword"]["read_only"] is True
    assert ":7401/readyz" in services["watchword"]["healthcheck"]["test"][-1]
    assert all(services[name]["network_mode"] == "service:watchword" for name in ("nginx", "application"))
    (shipped, _) = services["nginx"]["volumes"]
    assert (DEPLOY / "compose" / shipped.split(":")[0]).resolve() == DEPLOY / "nginx" / "nginx.conf"
    build = services["watchword"]["build"]
    assert (DEPLOY / "compose" / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


@pytest.mark.parametrize(("unit", "program"), [("watchword", server), ("watchword-agent", agent)])
def test_a_unit_runs_a_command_that_there_is(unit: str, program: click.Group) -> None:
    text = (DEPLOY / "systemd" / f"{unit}.service").read_text()
    [command] = re.findall(r"^ExecStart=(.*)$", text, flags=re.MULTILINE)
    path, *arguments = command.split()
    assert path == f"/opt/watchword/bin/{unit}"
    _check_arguments(program, arguments)


def test_the_image_runs_a_command_that_there_is_and_holds_what_it_needs() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["watchword"]' in text
    assert 'CMD ["serve"]' in text
    _check_arguments(server, ["serve"])
    for source in re.findall(r"^COPY (?!--)(.*) \S+$", text, flags=re.MULTILINE):
        for name in source.split():
            assert (DEPLOY.parent / name).exists(), name


def _check_arguments(program: click.Group, arguments: list[str]) -> None:
    """That it is a command with these options."""
    context = click.Context(program)
    command = program.get_command(context, arguments[0])
    assert command is not None, arguments
    known = {option for parameter in command.params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= known
