"""How the commands report errors."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Print the package's own errors as one message and exit with status 1."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (ValueError, OSError) as error:
            print(f"pdoconv: {error}", file=sys.stderr)
            raise typer.Exit(1) from error
        except ModuleNotFoundError as error:
            needs = f"this needs {error.name}: pip install 'pdoconv[train,export]'." if error.name else error
            print(f"pdoconv: {needs}", file=sys.stderr)
            raise typer.Exit(1) from error

    return wrapped
