"""JSON of a stranger: no key twice, no NaN, no endless nesting."""

import json
import math
from typing import Any


def parsed(text: bytes | str, what: str) -> Any:
    """Return what a JSON text holds.

    Raises:
        ValueError: If it is not UTF-8 or not JSON, truncated or nested too deeply, a key stands twice, or a number is
            not finite or has thousands of digits.
    """
    try:
        whole = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(whole, object_pairs_hook=_once, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is not JSON, or truncated ({error})") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is not finite")
    return value
