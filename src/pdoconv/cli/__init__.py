"""Command line: `pdoconv train | evaluate | measure | compare | restore | export | save | table | play`."""

import typer

from pdoconv.cli.play import play
from pdoconv.cli.tools import compare, evaluate, export, measure, restore, save, table
from pdoconv.cli.train import BareResume, train

app = typer.Typer(
    help="Rotation- and reflection-equivariant convolutions from partial differential operators.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command(cls=BareResume)(train)
for command in (evaluate, measure, compare, restore, export, save, table, play):
    app.command()(command)


def main() -> None:
    """Entry point."""
    app()
