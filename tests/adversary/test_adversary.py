"""The catalogue, attack by attack: exactly the expected reason, nothing allowed anywhere, honest operation before and after."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from adversary.arena import Arena
from adversary.attack import NOT_APPLICABLE, THREATS, Attack
from adversary.authorities import Authorities
from adversary.catalogue import CATALOGUE, tables


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with Arena.open(tmp_path_factory.mktemp("adversary"), Authorities.make()) as arena:
        asyncio.run(arena.is_sound())
        yield arena


@pytest.mark.parametrize("attack", CATALOGUE, ids=lambda attack: attack.name)
async def test_an_attack_is_refused_with_its_reason_and_opens_nothing(arena: Arena, attack: Attack) -> None:
    outcome = await attack.perform(arena)
    passes = arena.count(attack.name, outcome)
    assert (outcome.told, passes) == (attack.expected, 0)
    await arena.prove_honesty_pays(outcome)  # after this attack, and so before the next


def test_the_catalogue_is_complete() -> None:
    names = [attack.name for attack in CATALOGUE]
    assert len(names) == len(set(names)) >= 80
    assert all(name == name.lower() and " " not in name for name in names)
    covered = {item for attack in CATALOGUE for item in attack.items}
    assert covered | set(NOT_APPLICABLE) == set(THREATS) == {*range(1, 29), 42, 53, 54, 55}
    assert covered.isdisjoint(NOT_APPLICABLE)


def test_the_threat_model_lists_the_catalogue() -> None:
    """`python -m adversary.catalogue`, in `tests/`, writes what has to stand there."""
    page = Path(__file__).resolve().parents[2] / "docs" / "threat-model.md"
    assert tables() in page.read_text()


def test_nobody_passed_who_must_not(arena: Arena, request: pytest.FixtureRequest) -> None:
    assert {name: passes for name, passes in arena.passes.items() if passes} == {}
    chosen = {item.name for item in request.session.items}
    ran = {attack.name for attack in CATALOGUE if any(name.endswith(f"[{attack.name}]") for name in chosen)}
    assert arena.passes.keys() == ran
