"""What every page of results is made of: the files, sections, tables, and a line that says where figures come from."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Data = dict[str, Any]
PHASES = {"forward_backward": "training step", "inference": "inference"}


class Results:
    """The folder of result files; `results("demo")` is the content of `demo.json`, read once.

    Args:
        folder: Where the files are.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """

    def __init__(self, folder: Path) -> None:
        """Keep the folder."""
        if not folder.is_dir():
            raise FileNotFoundError(f"Expected a folder of result files, {folder} is none.")
        self.folder = folder
        self.content: dict[str, Data] = {}

    def __call__(self, name: str) -> Data:
        """Return a file by its name without ending; `FileNotFoundError` if there is none."""
        if name not in self.content:
            path = self.folder / f"{name}.json"
            if not path.exists():
                raise FileNotFoundError(f"{path} is missing; benchmarks/README.md says which command writes it.")
            self.content[name] = json.loads(path.read_text())
        return self.content[name]

    def names(self, pattern: str) -> list[str]:
        """Return the names of the files that match a pattern, without ending."""
        return sorted(path.stem for path in self.folder.glob(f"{pattern}.json"))

    def pictures(self, pattern: str) -> list[str]:
        """Return the names of the pictures that match a pattern, without ending."""
        return sorted(path.stem for path in self.folder.glob(f"{pattern}.png"))


class Section(NamedTuple):
    """One question and its answer.

    Attributes:
        title: Heading.
        question: What was asked, and how it was measured.
        files: Result files, names without ending.
        command: What writes them, as Markdown; empty if the files say it themselves.
        body: Table or sentences made of the files.
        pictures: Names without ending, and what they show.
        caveats: What the figures do not say.
    """

    title: str
    question: str
    files: Sequence[str]
    command: str
    body: str
    pictures: Sequence[tuple[str, str]] = ()
    caveats: Sequence[str] = ()


class Page(NamedTuple):
    """A page by subject.

    Attributes:
        name: Of its file, without ending.
        title: Heading.
        intro: A paragraph below it.
        sections: Makes the sections from the files.
        finding: Makes the sentence of the overview from the files.
    """

    name: str
    title: str
    intro: str
    sections: Callable[[Results], list[Section]]
    finding: Callable[[Results], str]


def render(page: Page, results: Results) -> str:
    """Return a page as Markdown."""
    sections = (text(section, results) for section in page.sections(results))
    return "\n\n".join([f"# {page.title}", page.intro, *sections]) + "\n"


def text(section: Section, results: Results) -> str:
    """Return a section as Markdown."""
    parts = [f"## {section.title}", section.question, section.body]
    parts += [f"![{what}](../results-pictures/{name}.png)" for name, what in section.pictures]
    if section.caveats:
        parts += ["What to keep in mind:", bullets(section.caveats)]
    parts += [f"Written by {section.command}:" if section.command else "The file:"]
    parts += [bullets(source(name, results(name)) for name in section.files)]
    return "\n\n".join(parts)


def source(name: str, result: Data) -> str:
    """Return the file and what it says of its own making."""
    hardware, versions = result.get("hardware", {}), result.get("versions", {})
    facts = [result[key] for key in ("date",) if key in result]
    facts += [f"commit `{result['commit']}`"] if "commit" in result else []
    if hardware:
        threads = hardware["threads"]
        facts.append(f"{hardware['processor']}, {threads} {'thread' if threads == 1 else 'threads'}")
        facts += [hardware["gpu"]] if hardware.get("gpu") else []
    facts += [f"{package} {version}" for package, version in versions.items() if package not in ("pdoconv", "python")]
    facts += [f"load before {result['load_before']:.1f}"] if "load_before" in result else []
    facts += [f"as `{result['command']}`"] if "command" in result else []
    return f"`results/{name}.json`" + (f": {'; '.join(facts)}" if facts else "")


def bullets(lines: Iterable[str]) -> str:
    """Return lines as a list."""
    return "\n".join(f"* {line}" for line in lines)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table.

    Raises:
        ValueError: If a row has not as many cells as there are headings.
    """
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        if len(row) != len(heads):
            raise ValueError(f"Expected {len(heads)} cells, received {len(row)}: {row}.")
        lines.append(f"| {' | '.join(str(cell) for cell in row)} |")
    return "\n".join(lines)


def sci(value: float) -> str:
    """Return a small number with two digits and a power of ten."""
    return f"{value:.1e}"


def span(values: Iterable[float], form: str = ".2f") -> str:
    """Return the range of values, as "0.10 to 1.14"."""
    found = list(values)
    return f"{min(found):{form}} to {max(found):{form}}"


def listed(values: Iterable[float], form: str = ".2f") -> str:
    """Return values in a row, with commas."""
    return ", ".join(f"{value:{form}}" for value in values)


def joined(values: Iterable[float], form: str = ".2f") -> str:
    """Return values in a row, "and" before the last."""
    found = [f"{value:{form}}" for value in values]
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def ratios(rows: Iterable[Data], phase: str) -> list[float]:
    """Return the median ratios of one phase."""
    return [row[phase]["ratio"] for row in rows]


def spread(part: Data, form: str = ".2f") -> str:
    """Return a median ratio with its quartiles."""
    return f"{part['ratio']:{form}} ({part['quartile_low']:{form}} to {part['quartile_high']:{form}})"


def count(many: int, one: str, more: str = "") -> str:
    """Return a number with its noun: "1 run", "3 runs"."""
    return f"{many:,} {one if many == 1 else more or one + 's'}"
