"""The playground's server, its files and the fetching of its runtime; tests/test_playground_browser.py has the page."""

import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from pdoconv.cli import app
from pdoconv.playground import serve

TOOLS = Path(__file__).parent.parent / "tools"
ORT = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    static = tmp_path / "static"
    (static / "vendor").mkdir(parents=True)
    (static / "models").mkdir()
    (static / "models" / "manifest.json").write_text('{"version": 1}')
    (static / "models" / "net.onnx").write_bytes(bytes(range(256)))
    (static / "index.html").write_text("<!doctype html>page")
    for name in ORT:
        (static / "vendor" / name).write_text(name)
    (tmp_path / "secret.txt").write_text("secret")
    return static


@pytest.fixture
def port(folder: Path) -> Iterator[int]:
    with serve.server(0, folder) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running.server_address[1]
        running.shutdown()
        thread.join()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/index.html?tab=pde", "text/html; charset=utf-8"),
        ("/vendor/ort.wasm.min.mjs", "text/javascript; charset=utf-8"),
        ("/vendor/ort-wasm-simd-threaded.wasm", "application/wasm"),
        ("/models/net.onnx", "application/octet-stream"),
        ("/models/manifest.json", "application/json"),
    ],
)
def test_files_are_served_with_their_types(port: int, path: str, kind: str) -> None:
    answer, body = ask(port, path)
    assert (answer.status, answer.getheader("Content-Type")) == (200, kind)
    assert answer.getheader("Content-Length") == str(len(body))
    head, nothing = ask(port, path, "HEAD")
    assert (head.status, nothing) == (200, b"")
    assert head.getheader("Content-Length") == str(len(body))


def test_what_a_browser_has_is_not_sent_again_unless_it_changed(port: int, folder: Path) -> None:
    answer, _ = ask(port, "/models/net.onnx")
    since = answer.getheader("Last-Modified")
    assert since is not None
    assert answer.getheader("Cache-Control") == "no-cache"
    again, body = ask(port, "/models/net.onnx", **{"If-Modified-Since": since})
    assert (again.status, body) == (304, b"")
    os.utime(folder / "models" / "net.onnx", (2**31 - 1, 2**31 - 1))
    changed, body = ask(port, "/models/net.onnx", **{"If-Modified-Since": since})
    assert (changed.status, len(body)) == (200, 256)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/models/",
        "/vendor",
        "/../secret.txt",
        "/models/../../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "//secret.txt",
        "/models/%00",
        "/" + 5000 * "a",
    ],
)
def test_nothing_else_is_served(port: int, path: str) -> None:
    answer, body = ask(port, path)
    assert answer.status == 404
    assert body != b"secret"
    assert b"manifest" not in body


def test_a_link_out_of_the_folder_is_not_followed(port: int, folder: Path) -> None:
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    assert ask(port, "/link.txt")[0].status == 404


def test_only_reading_is_possible(port: int, folder: Path) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert ask(port, "/index.html", method)[0].status == 501
    assert (folder / "index.html").is_file()


def test_the_server_listens_on_this_machine_alone(folder: Path) -> None:
    with serve.server(0, folder) as running:
        assert running.server_address[0] == "127.0.0.1"


def test_without_a_port_the_next_free_one_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        monkeypatch.setattr(serve, "PORT", number)
        monkeypatch.setattr(serve, "TRIES", 30)
        with serve.server(None, folder) as running:
            assert number < running.server_address[1] < number + 30
        with pytest.raises(ValueError, match=rf"port {number} is in use: choose another one, or leave out --port"):
            serve.server(number, folder)
        monkeypatch.setattr(serve, "TRIES", 1)
        with pytest.raises(ValueError, match=rf"no port from {number} to {number} is free: choose one with --port"):
            serve.server(None, folder)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_is_a_port(folder: Path, port: int) -> None:
    with pytest.raises(ValueError, match=f"expected a port from 0 to 65535, received {port}"):
        serve.server(port, folder)


@pytest.mark.parametrize("name", [f"vendor/{ORT[2]}", "models/manifest.json", "index.html"])
def test_a_missing_file_is_told_before_anything_is_served(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{re.escape(name)} missing .*`make playground` once.*npm"):
        serve.server(0, folder)


def test_the_command_reports_errors_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.server, "__defaults__", (None, folder))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = CliRunner().invoke(app, ["play", "--no-browser", "--port", str(taken.getsockname()[1])])
    assert answer.exit_code == 1
    assert re.fullmatch(r"pdoconv: play: port \d+ is in use: .*\n", answer.output)


def test_a_browser_is_opened_only_where_it_can_be_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.server, "__defaults__", (None, folder))
    monkeypatch.setattr(serve.Server, "serve_forever", lambda self: None)
    monkeypatch.setattr(serve.sys, "platform", "linux")
    opened: list[str] = []
    monkeypatch.setattr(serve.webbrowser, "open", opened.append)
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    serve.serve(0)
    assert not opened
    monkeypatch.setenv("DISPLAY", ":0")
    serve.serve(0, browser=False)
    assert not opened
    serve.serve(0)
    assert len(opened) == 1
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", opened[0])


def test_ctrl_c_ends_it_cleanly(folder: Path) -> None:
    code = "import sys, pathlib\nfrom pdoconv.playground import serve\n"
    code += "serve.server.__defaults__ = (None, pathlib.Path(sys.argv[1]))\nserve.serve(0, browser=False)"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        line = run.stdout.readline().decode()
        address = re.match(r"Playground: (http://127\.0\.0\.1:\d+/)", line)
        assert address, line
        with urllib.request.urlopen(address[1], timeout=10) as answer:
            assert answer.read() == b"<!doctype html>page"
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=10) == 0
        assert run.stderr.read() == b""


@pytest.fixture(scope="module")
def runtime() -> ModuleType:
    spec = importlib.util.spec_from_file_location("playground_runtime", TOOLS / "playground_runtime.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fake_npm(folder: Path, lines: str) -> str:
    """Put a script called npm into a folder; return a PATH on which it is the first."""
    folder.mkdir(exist_ok=True)
    (folder / "npm").write_text(f"#!/bin/sh\n{lines}\n")
    (folder / "npm").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_the_runtime_is_fetched_once_and_again_if_a_file_changed(
    runtime: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = runtime.hashlib.sha256(b"right\n").hexdigest()
    monkeypatch.setattr(runtime, "FILES", dict.fromkeys(ORT, digest))
    brings = "mkdir -p node_modules/onnxruntime-web/dist && cd node_modules/onnxruntime-web\n"
    brings += 'echo \'{"version": "9"}\' > package.json\n' + "".join(f"echo right > dist/{name}\n" for name in ORT)
    monkeypatch.setenv("PATH", fake_npm(tmp_path / "bin", brings))
    vendor = tmp_path / "vendor"
    assert runtime.fetch(vendor)
    assert {path.name for path in vendor.iterdir()} == {*ORT, "LICENSE"}
    assert "onnxruntime-web 9" in (vendor / "LICENSE").read_text()
    assert not runtime.fetch(vendor)
    (vendor / ORT[0]).write_text("changed")
    assert runtime.fetch(vendor)
    assert (vendor / ORT[0]).read_text() == "right\n"
    (vendor / ORT[1]).unlink()
    fake_npm(tmp_path / "bin", brings + f"echo wrong > dist/{ORT[2]}")
    with pytest.raises(ValueError, match=rf"other files than expected: {ORT[2]}\. Nothing was copied"):
        runtime.fetch(vendor)
    assert not (vendor / ORT[1]).exists()
    fake_npm(tmp_path / "bin", "echo no network >&2; exit 3")
    with pytest.raises(ValueError, match="npm ci ended with status 3: no network"):
        runtime.fetch(vendor)


def test_without_npm_the_runtime_says_what_to_install(
    runtime: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"npm was not found.*Install Node\.js"):
        runtime.fetch(tmp_path / "vendor")


def test_the_lock_file_pins_the_runtime_without_addresses() -> None:
    wanted = json.loads((TOOLS / "playground" / "package.json").read_text())["dependencies"]
    assert wanted == {"onnxruntime-web": "1.30.0"}
    text = (TOOLS / "playground" / "package-lock.json").read_text()
    assert "http" not in text
    packages = json.loads(text)["packages"]
    assert packages["node_modules/onnxruntime-web"]["version"] == "1.30.0"
    assert all(len(package["integrity"]) > 80 for name, package in packages.items() if name)


def test_the_page_takes_nothing_from_elsewhere_and_names_all_its_modules() -> None:
    page = (serve.STATIC / "index.html").read_text()
    modules = {f"js/{path.name}" for path in (serve.STATIC / "js").iterdir()}
    assert set(re.findall(r'href="(js/[^"]*)"', page)) | {"js/main.js"} == modules
    own = [serve.STATIC / "index.html", *serve.STATIC.glob("css/*"), *serve.STATIC.glob("js/*")]
    for path in own:
        text = path.read_text()
        assert not re.search(r"""(src|href|url|from|import)\W{1,3}(https?:)?//""", text), path
        assert not re.search(r"""(src|href)="/""", text), path
        assert len(text.splitlines()) < 300, path
    for name in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert (serve.STATIC / name).is_file() or name.startswith("vendor/"), name
