"""`watchword import`."""

import ipaddress
import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import click

from watchword_server.cli.options import JSON
from watchword_server.cli.rule_files import replace_file, write_rules

_TOKEN = "CLOUDFLARE_API_TOKEN"  # noqa: S105 - the name of a variable
_NOT_ALL = 3


@click.group("import")
def import_() -> None:
    """Take rules over from elsewhere, as rule files."""


@import_.command()
@click.option("--account-id", required=True, help="The account to read.")
@click.option("--base-url", default="https://api.cloudflare.com/client/v4", show_default=True, help="Where its API is.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"A file with an API token that may read it.  [default: the environment's {_TOKEN}]",
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="The directory to write.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@JSON
def cloudflare(account_id: str, base_url: str, token_file: Path | None, out: Path, *, force: bool, as_json: bool) -> None:
    """Write another account's rules as rule files, and what could not be taken over as REPORT.md beside them.

    Nothing is wider than it was: a policy with a selector that is not known here is left out whole, an application that cannot be
    said here lets nobody in, and a Gateway rule of which a part is not known blocks without that part. Nothing is applied.

    \b
    Exit codes:  0 all is taken over   3 written, and something is not as it was   1 refused
    Example:  watchword import cloudflare --account-id 0c5a… --token-file token --out rules/
    """
    try:
        from cloudflare import APIError, Cloudflare  # noqa: PLC0415 - an extra
    except ImportError:
        raise click.ClickException("the SDK is missing: install it with `pip install 'watchword[cloudflare]'`") from None
    from watchword_server.importing.account import UnreadableAccountError, read_account  # noqa: PLC0415 - as above
    from watchword_server.importing.report import Report  # noqa: PLC0415
    from watchword_server.importing.translating import UntranslatableError, translated  # noqa: PLC0415

    _refuse_in_the_clear(base_url)
    client = Cloudflare(base_url=base_url, api_token=_token(token_file))
    client.api_key = client.api_email = client.user_service_key = None  # the environment's, before which no token is sent
    report = Report()
    try:
        with client:
            account = read_account(client, account_id)
        document = translated(account, report)
    except APIError as error:
        raise click.ClickException(f"`{base_url}` does not tell: {_in_one_line(error)}") from None
    except (UnreadableAccountError, UntranslatableError) as error:
        raise click.ClickException(str(error)) from None
    except (ValueError, TypeError, AttributeError, KeyError) as error:  # what the API does not document
        raise click.ClickException(f"`{base_url}` answers otherwise than the API documents: {_in_one_line(error)}") from error
    write_rules(out, document, force=force)
    counts = [(section, len(entries)) for section, entries in document.items()]
    replace_file(out / "REPORT.md", report.markdown(counts))
    items = [{"fate": each.fate.value, "kind": each.kind, "name": each.name, "why": each.why} for each in report.items]
    if as_json:
        click.echo(json.dumps({"taken": dict(counts), "not_as_it_was": items}))
    for item in [] if as_json else report.items:
        click.echo(str(item))
    click.echo(f"{sum(count for _, count in counts)} entries taken over, {len(items)} remarks in {out / 'REPORT.md'}", err=True)
    if items:
        click.get_current_context().exit(_NOT_ALL)


def _token(token_file: Path | None) -> str:
    text = os.environ.get(_TOKEN, "") if token_file is None else token_file.read_text()
    token = text.strip()
    if not token or not token.isprintable() or not token.isascii():
        where = (
            f"set {_TOKEN} or give --token-file" if token_file is None else f"`{token_file}` holds none: write it there, alone"
        )
        raise click.UsageError(f"there is no API token: {where}")
    return token


def _refuse_in_the_clear(base_url: str) -> None:
    """A token does not travel in the clear."""
    parts = urlsplit(base_url)
    if parts.scheme == "https" and parts.hostname:
        return
    try:
        loopback = ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = parts.hostname == "localhost"
    if parts.scheme != "http" or not loopback:
        raise click.UsageError(f"`{base_url}` is not https: the token would travel in the clear")


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return "".join(char for char in text if char.isprintable())[:300]
