"""Entry point of the command line, also `python -m pdoconv`."""


def main() -> None:
    """Run the command line, or say which extra it needs."""
    try:
        from pdoconv.cli import main as run
    except ModuleNotFoundError as error:
        raise SystemExit(f"pdoconv: the command line needs {error.name}: pip install 'pdoconv[train]'.") from error
    run()


if __name__ == "__main__":
    main()
