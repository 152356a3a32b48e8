"""A section for a file of any form: its numbers as a list, its lists of records as tables."""

from collections.abc import Mapping, Sequence

from results.page import Data, Results, Section, bullets, spread, table

MADE = {"versions", "hardware", "commit", "date", "command", "load_before"}  # said below the section
WORDS = ("title", "question", "caveats")  # become heading, first paragraph and list of caveats
MOST_COLUMNS = 9


def section(name: str, results: Results) -> Section:
    """Return the section of one file, with the pictures whose names begin with that of the file."""
    result = results(name)
    caveats = result.get("caveats", [])
    return Section(
        title=result.get("title", name.replace("-", " ").capitalize()),
        question=result.get("question", f"All that `{name}.json` holds."),
        files=[name],
        command="",
        body=show({key: value for key, value in result.items() if key not in MADE and key not in WORDS}),
        pictures=[(picture, picture.replace("-", " ")) for picture in results.pictures(f"{name}*")],
        caveats=[caveats] if isinstance(caveats, str) else caveats,
    )


def show(content: Data) -> str:
    """Return scalars as a list, records as tables, all with their keys."""
    records = {key: value for key, value in content.items() if rows(value)}
    single = flat({key: value for key, value in content.items() if key not in records})
    parts = [bullets(f"{key}: {value}" for key, value in single.items())] if single else []
    for key, value in records.items():
        found = rows(value)
        heads = list(dict.fromkeys(head for row in found for head in row))
        if len(heads) <= MOST_COLUMNS:
            body = table(heads, ([row.get(head, "-") for head in heads] for row in found))
        else:  # as many rows as there are headings, a column for each record
            body = table(
                ["", *(str(i + 1) for i in range(len(found)))],
                ([head, *(row.get(head, "-") for row in found)] for head in heads),
            )
        parts += [f"{key}:", body]
    return "\n\n".join(parts)


def rows(value: object) -> list[dict[str, str]]:
    """Return records (a list of mappings, or mappings by name) with flat keys; nothing for anything else."""
    if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        return [flat(row) for row in value]
    if isinstance(value, Mapping) and value and all(isinstance(row, Mapping) for row in value.values()):
        return [{"name": str(name), **flat(row)} for name, row in value.items()]
    return []


def flat(content: Mapping[str, object], before: str = "") -> dict[str, str]:
    """Return all scalars, keys joined; ratios keep their quartiles, long lists only how many they are."""
    found: dict[str, str] = {}
    for key, value in content.items():
        name = f"{before}{key}".replace("_", " ")
        if isinstance(value, Mapping) and {"ratio", "quartile_low", "quartile_high"} <= set(value):
            found[name] = spread(dict(value))
        elif isinstance(value, Mapping):
            found |= flat(value, f"{name}, ")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            simple = len(value) <= 4 and not any(isinstance(v, Mapping | list) for v in value)
            found[name] = ", ".join(map(scalar, value)) if simple else f"{len(value)} values"
        else:
            found[name] = scalar(value)
    return found


def scalar(value: object) -> str:
    """Return one value as text: four digits of a fraction, thousands apart."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")
