"""How a command says that a file is refused."""

import click


class RefusedFile(click.ClickException):
    """As `ClickException`, without a word in front: the lines begin with file and position, as editors like them."""

    def show(self, file: object = None) -> None:
        """Prints the lines."""
        del file
        click.echo(self.message, err=True)


class UnusableFile(RefusedFile):
    """Exit code 2, where 1 has a meaning of its own."""

    exit_code = 2
