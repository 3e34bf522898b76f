"""Bodies of stored entries, small: ten thousand dictionaries of dictionaries take more memory than the rules made of them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


class CompactBody(Mapping[str, object]):
    """A body as JSON text, read anew whenever somebody looks: when it is compared with a new one, or shown. Equal to its dict."""

    __slots__ = ("_text",)

    def __init__(self, body: Mapping[str, object]) -> None:
        self._text = json.dumps(dict(body), ensure_ascii=False, separators=(",", ":"))

    def _read(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self._text)
        return read

    def __getitem__(self, key: str) -> object:
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, CompactBody):
            return self._text == other._text or self._read() == other._read()
        return self._read() == other

    __hash__ = None  # type: ignore[assignment]  # as of any mapping

    def __repr__(self) -> str:
        return f"CompactBody({self._text})"
