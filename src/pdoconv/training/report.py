"""One table from the result files of several runs: mean and standard deviation over seeds."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def table(files: Sequence[Path]) -> str:
    """Return a Markdown table with one row for each setting; runs that differ in the seed alone share a row.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is not a result.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for path in files:
        try:
            result = json.loads(path.read_text())
            settings = {key: value for key, value in result["settings"].items() if key != "seed"}
            same = json.dumps(
                [result["recipe"], result["data_sha256_16"], result.get("devices", 1), settings], sort_keys=True
            )
            result["test_error_percent"], result["train_seconds"], result["hardware"]["processor"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not the result of a run: {error!r}") from error
        rows.setdefault(same, []).append(result)
    lines = [
        "| recipe | data | train images | epochs | parameters | test error % | runs | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for results in rows.values():
        first, errors = results[0], [r["test_error_percent"] for r in results]
        spread = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
        minutes = statistics.mean(r["train_seconds"] for r in results) / 60
        lines.append(
            f"| {first['recipe']} | {first['data']} | {first['train_images']:,} | {first['settings']['epochs']} | "
            f"{first['parameters']:,} | {statistics.mean(errors):.2f}{spread} | {len(errors)} | {minutes:.0f} |"
        )
    return "\n".join(lines)
