"""What runs on stand-ins for other systems is run by `make test-platforms`, which installs them; other runs pass it over."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Nothing here, unless the command line names it."""
    named = [Path(config.invocation_params.dir, argument.split("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in named) else collection_path.is_relative_to(HERE)
