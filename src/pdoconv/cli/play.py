"""`pdoconv play`."""

from typing import Annotated

import typer

from pdoconv.cli.errors import plain_errors


@plain_errors
def play(
    port: Annotated[int | None, typer.Option(help="Port; default 8321, or the next one that is free.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Serve the playground on this machine: turn a picture and watch features and answers; run a learned PDE."""
    from pdoconv.playground.serve import serve

    serve(port, browser=browser)
