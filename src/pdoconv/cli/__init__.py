"""Command line: `pdoconv train | evaluate | measure | compare | restore | export | save | table | play`."""

from typing import Annotated

import typer

from pdoconv.cli.play import play
from pdoconv.cli.tools import compare, evaluate, export, measure, restore, save, table
from pdoconv.cli.train import BareResume, train

app = typer.Typer(
    help="Rotation- and reflection-equivariant convolutions from partial differential operators.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from pdoconv import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None: ...


app.command(cls=BareResume)(train)
for command in (evaluate, measure, compare, restore, export, save, table, play):
    app.command()(command)


def main() -> None:
    """Entry point."""
    app()
