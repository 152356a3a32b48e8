"""Serve the playground's static files on this machine alone."""

import errno
import os
import sys
import webbrowser
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
PORT = 8321
TRIES = 20  # ports after the first, if none is asked for
STATIC = Path(__file__).parent / "static"
NEEDED = (
    "index.html",
    "models/manifest.json",
    "vendor/ort.wasm.min.mjs",
    "vendor/ort-wasm-simd-threaded.mjs",
    "vendor/ort-wasm-simd-threaded.wasm",
)
TYPES = {
    "": "application/octet-stream",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}


class Handler(SimpleHTTPRequestHandler):
    """Files of one folder by GET and HEAD, no listings; a browser keeps what it has and asks whether it is current."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else small files wait for the browser's acknowledgement of their headers
    server_version = "pdoconv"

    def send_head(self) -> Any:
        """Answer with a file inside the folder, or with an error."""
        root = Path(self.directory).resolve()
        try:
            path = Path(self.translate_path(self.path)).resolve()
            found = path.is_relative_to(root) and (path / "index.html" if path.is_dir() else path).is_file()
        except (ValueError, OSError):  # a null byte, or a name too long for the file system
            found = False
        if not found:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send a file by the operating system, which takes a fraction of the time for the large one."""
        self.connection.sendfile(source)

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        """Return the type of a file by its ending, the same on every machine."""
        return TYPES.get(Path(path).suffix.lower(), TYPES[""])

    def end_headers(self) -> None:
        """Add what every answer has."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of a request: a page that lacks a file says so itself."""


class Server(ThreadingHTTPServer):
    """A server whose threads end with it, and to which a browser that leaves early is no error."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors other than a closed connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def server(port: int | None = None, static: Path = STATIC) -> Server:
    """Return a server of the page, bound and not yet running.

    Args:
        port: 0 to 65535, 0 for any that is free; default 8321, or the next one that is free.
        static: Folder of the page.

    Raises:
        ValueError: If the port is out of range or taken.
        FileNotFoundError: If files of the page are missing; says how to get them.
    """
    if port is not None and not 0 <= port <= 65535:
        raise ValueError(f"play: expected a port from 0 to 65535, received {port}.")
    if missing := [name for name in NEEDED if not (static / name).is_file()]:
        raise FileNotFoundError(
            f"play: {', '.join(missing)} missing in {static}: run `make playground` once, in a copy of the repository "
            f"(it needs npm, which brings the runtime for the browser)."
        )
    handler = partial(Handler, directory=str(static))
    for candidate in range(PORT, PORT + TRIES) if port is None else (port,):
        try:
            return Server((HOST, candidate), handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            reason = "is in use" if error.errno == errno.EADDRINUSE else "needs more rights"
    if port is None:
        raise ValueError(f"play: no port from {PORT} to {PORT + TRIES - 1} is free: choose one with --port.")
    raise ValueError(f"play: port {port} {reason}: choose another one, or leave out --port for the next free one.")


def serve(port: int | None = None, *, browser: bool = True) -> None:
    """Serve the page until Ctrl-C, and open it in a browser.

    Args:
        port: As in `server`.
        browser: Whether to open a browser; none is opened where there is no display.
    """
    with server(port) as running:
        address = f"http://{HOST}:{running.server_address[1]}/"
        print(f"Playground: {address}  (Ctrl-C ends it)", flush=True)
        if browser and _has_display():
            webbrowser.open(address)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()


def _has_display() -> bool:
    """Return whether a browser window can be seen on this machine."""
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
