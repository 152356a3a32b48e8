"""Find dead links in a built site: `python tools/site_links.py site`. Links to other hosts are not followed."""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LINKS = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src"}


class Page(HTMLParser):
    """What a page links to, and the places in it that can be linked to."""

    def __init__(self, text: str) -> None:
        """Read the page."""
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep links and names."""
        given = {key: value or "" for key, value in attrs}
        if given.get(LINKS.get(tag, "")):
            self.links.append((tag, given[LINKS[tag]]))
        self.places |= {given[key] for key in ("id", "name") if key in given}


def dead(folder: Path) -> Iterator[str]:
    """Say for each dead link in the pages of a folder where it is and where it leads.

    Raises:
        FileNotFoundError: If there is no page.
    """
    pages = {path.resolve(): Page(path.read_text()) for path in sorted(folder.rglob("*.html"))}
    if not pages:
        raise FileNotFoundError(f"No page in {folder}: build the site first, by `make docs`.")
    for path, page in pages.items():
        where = path.relative_to(folder.resolve())
        if path.name == "404.html":  # its links are from the root of a server
            continue
        for tag, link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if tag != "a" and parts.scheme != "data":
                    yield f"{where}: {link} is loaded from elsewhere"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                yield f"{where}: {link} does not exist"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
                yield f"{where}: {link} has no such place"


def main() -> None:
    """Print dead links; fail if there are any."""
    found = list(dead(Path(sys.argv[1] if len(sys.argv) == 2 else "site")))
    print("\n".join(found) or "No dead links.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
