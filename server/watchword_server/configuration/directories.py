"""The files of a directory: YAML, in the order of their paths, and nothing that lies outside of it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

_SUFFIXES = frozenset({".yaml", ".yml"})
_MAX_FILES = 10_000


class UnusableDirectoryError(Exception):
    """A directory that cannot be taken as it is; the message names it, or what is wrong in it, and says what to do."""


def yaml_files(paths: Iterable[Path]) -> list[Path]:
    """The files named, and those of the directories named: `*.yaml` and `*.yml`, nested, sorted by path, none that is hidden.

    A link to a file of the same directory is followed; one that leads out of it, or to a directory, is refused: what is applied
    is what was reviewed there. A file that was named stays whatever its name is. Raises `UnusableDirectoryError`.
    """
    return [file for path in paths for file in (_files_of(path) if path.is_dir() else [path])]


def _files_of(directory: Path) -> list[Path]:
    root = directory.resolve()
    found = sorted(_walked(directory, root), key=lambda path: path.relative_to(directory).parts)
    if not found:
        raise UnusableDirectoryError(f"{directory}: there is no `*.yaml` or `*.yml` in it: name the directory that has the rules")
    if len(found) > _MAX_FILES:
        raise UnusableDirectoryError(
            f"{directory}: there are more than {_MAX_FILES} files in it: name the directory of the rules"
        )
    return found


def _walked(directory: Path, root: Path) -> Iterator[Path]:
    try:
        children = list(directory.iterdir())
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UnusableDirectoryError(f"{directory}: it cannot be read: {why}; correct its permissions") from None
    for child in children:
        if child.name.startswith("."):
            continue
        if child.is_symlink():
            if child.suffix in _SUFFIXES or child.is_dir():
                _refuse_unless_a_file_inside(child, root)
            if child.suffix in _SUFFIXES:
                yield child
        elif child.is_dir():
            yield from _walked(child, root)
        elif child.suffix in _SUFFIXES:
            yield child


def _refuse_unless_a_file_inside(link: Path, root: Path) -> None:
    target = link.resolve()
    if target.is_dir():
        raise UnusableDirectoryError(f"{link}: it is a link to a directory: put the files here, or name that directory as well")
    if not target.is_relative_to(root):
        raise UnusableDirectoryError(
            f"{link}: it is a link that leads out of the directory: put the file here, or name it as well"
        )
