"""Sets of ranges: addresses per family, and whole numbers."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

Address: TypeAlias = tuple[int, int]  # (4 or 6, the address as a number)
AddressRange: TypeAlias = (
    IPv4Address | IPv6Address | IPv4Network | IPv6Network
    | tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ranges:
    """Whole numbers in inclusive ranges, which do not touch and are sorted."""

    firsts: tuple[int, ...]
    lasts: tuple[int, ...]

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int]]) -> "Ranges":
        """Merges inclusive ranges given in any order."""
        firsts: list[int] = []
        lasts: list[int] = []
        for first, last in sorted(ranges):
            if lasts and first <= lasts[-1] + 1:
                lasts[-1] = max(lasts[-1], last)
            else:
                firsts.append(first)
                lasts.append(last)
        return cls(tuple(firsts), tuple(lasts))

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        place = bisect_right(self.firsts, number)
        return place > 0 and number <= self.lasts[place - 1]

    def __iter__(self) -> Iterator[int]:
        for first, last in zip(self.firsts, self.lasts, strict=True):
            yield from range(first, last + 1)

    def count(self) -> int:
        """How many numbers are in it: more than `len` could say."""
        return sum(last - first + 1 for first, last in zip(self.firsts, self.lasts, strict=True))


@dataclass(frozen=True, slots=True)
class IpRanges:
    """Addresses in ranges. Families never meet: `::ffff:192.0.2.1` is an IPv6 address and in no IPv4 range."""

    v4: Ranges
    v6: Ranges

    @classmethod
    def of(cls, items: Iterable[AddressRange]) -> "IpRanges":
        """From addresses, networks, and (first, last) of one family."""
        return cls.of_numbers(map(_as_numbers, items))

    @classmethod
    def of_numbers(cls, items: Iterable[tuple[int, int, int]]) -> "IpRanges":
        """From (family, first, last)."""
        families: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for family, first, last in items:
            families[family].append((first, last))
        return cls(Ranges.of(families[4]), Ranges.of(families[6]))

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, tuple):
            return False
        family, number = address  # a tuple here is an address; this is asked for every request
        ranges = self.v4 if family == 4 else self.v6
        place = bisect_right(ranges.firsts, number)
        return place > 0 and number <= ranges.lasts[place - 1]


def _as_numbers(item: AddressRange) -> tuple[int, int, int]:
    match item:
        case (first, last):
            return first.version, int(first), int(last)
        case IPv4Network() | IPv6Network():
            return item.version, int(item.network_address), int(item.broadcast_address)
        case _:
            return item.version, int(item), int(item)
