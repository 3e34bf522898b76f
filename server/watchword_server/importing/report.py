"""What could not be taken over, by name, and why."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Fate(StrEnum):
    """What became of an entry that is not as it was."""

    LEFT_OUT = "left out"
    CLOSED = "closed"
    BLOCKS_MORE = "blocks more"
    CHANGED = "changed"


_MEANING = {
    Fate.LEFT_OUT: "not in the files",
    Fate.CLOSED: "applications that are there and let nobody in, so that no wider one covers their hosts",
    Fate.BLOCKS_MORE: "Gateway rules that block more than they did: what narrowed them, or did less, is not known here",
    Fate.CHANGED: "in the files, but for what is named",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One entry and why it is not as it was."""

    fate: Fate
    kind: str
    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.fate}: {self.kind} `{self.name}`: {self.why}"


@dataclass(slots=True)
class Report:
    """Collected on the way."""

    items: list[Item] = field(default_factory=list)

    def add(self, fate: Fate, kind: str, name: str, why: str) -> None:
        """One more; the same once."""
        item = Item(fate, kind, "".join(char for char in name if char.isprintable()), why)
        if item not in self.items:
            self.items.append(item)

    def markdown(self, taken: Iterable[tuple[str, int]]) -> str:
        """For people, and for the repository beside the files."""
        lines = ["# What was taken over", "", *(f"- {section}: {count}" for section, count in taken), ""]
        for fate in Fate:
            found = [item for item in self.items if item.fate is fate]
            if found:
                lines += [f"## {fate.value.capitalize()}", "", f"{_MEANING[fate].capitalize()}.", ""]
                lines += [f"- {item.kind} `{item.name}`: {item.why}" for item in found]
                lines.append("")
        if not self.items:
            lines += ["Everything.", ""]
        return "\n".join(lines)
