"""The playground's page in headless Chromium, with the networks that come with it."""

import json
import math
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pdoconv as pdo
from pdoconv.playground import serve

CHROMIUM = shutil.which("chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
if CHROMIUM is None:
    pytest.skip("there is no chromium on PATH", allow_module_level=True)
if not all((serve.STATIC / name).is_file() for name in serve.NEEDED):
    pytest.skip("the page's runtime is missing: make playground", allow_module_level=True)

ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
MODELS = serve.STATIC / "models"
MANIFEST = json.loads((MODELS / "manifest.json").read_text())
FAMILIES = [family["name"] for family in MANIFEST["layers"]["families"]]
DIGITS = json.loads((MODELS / "digits.json").read_text())["digits"]
# strokes of drawn digits, x to the right and y down, in shares of the drawing area
DRAWN: dict[int, list[list[tuple[float, float]]]] = {
    7: [[(0.3, 0.25), (0.7, 0.25), (0.58, 0.45), (0.48, 0.62), (0.42, 0.8)]],
    4: [[(0.36, 0.22), (0.33, 0.38), (0.32, 0.52), (0.5, 0.53), (0.68, 0.5)], [(0.62, 0.22), (0.6, 0.5), (0.58, 0.8)]],
    2: [
        [
            *[(0.33, 0.36), (0.38, 0.26), (0.5, 0.21), (0.62, 0.27), (0.64, 0.38), (0.57, 0.5)],
            *[(0.44, 0.64), (0.32, 0.77), (0.5, 0.77), (0.7, 0.76)],
        ]
    ],
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serve.server(0) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/"
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield opened
        opened.close()


class Watch:
    """A page whose messages and requests are kept."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        options.setdefault("viewport", {"width": 1280, "height": 900})
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.messages.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.messages.append(f"error: {error}"))
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.address = address

    def open(self, path: str = "") -> Any:
        self.page.goto(self.address + path)
        self.page.wait_for_selector("body[data-ready]", timeout=30000)
        return self.page


@pytest.fixture(scope="module")
def watch(browser: Any, address: str) -> Iterator[Watch]:
    watched = Watch(browser, address)
    watched.open()
    yield watched
    watched.context.close()


@pytest.fixture
def page(watch: Watch) -> Any:
    """The page with its first tab shown and the dial at 0."""
    watch.page.click("#tab-turn")
    watch.page.focus("#dial")
    watch.page.keyboard.press("Home")
    shown(watch.page, 0)
    return watch.page


def shown(page: Any, angle: int) -> None:
    page.wait_for_selector(f'body[data-shown="{angle}"]', timeout=20000)


def at(page: Any, name: str) -> dict[str, str]:
    found: dict[str, str] = page.evaluate(f"({{...document.getElementById('{name}').dataset}})")
    return found


def choose(page: Any, label: int, nth: int = 0) -> None:
    page.locator(f'#digits button[data-label="{label}"]').nth(nth).click()
    page.wait_for_selector('body[data-shown]:not([data-shown=""])', timeout=20000)


def draw(page: Any, label: int) -> None:
    page.click("#clear")
    box = page.locator("#pad").bounding_box()
    for stroke in DRAWN[label]:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
        page.mouse.up()
    page.wait_for_selector('body[data-source="drawing"][data-shown="0"]', timeout=20000)


def turn_round(page: Any, step: int = 15) -> None:
    """Drag the dial's knob once round."""
    box = page.locator("#dial").bounding_box()
    x, y, radius = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, 0.45 * box["width"]
    place = lambda a: (x - radius * math.sin(math.radians(a)), y - radius * math.cos(math.radians(a)))  # noqa: E731
    page.mouse.move(*place(0))
    page.mouse.down()
    for angle in range(0, 361, step):
        page.mouse.move(*place(angle))
        shown(page, angle % 360)
    page.mouse.up()


def test_the_first_answer_is_there_within_two_seconds(browser: Any, address: str, record_property: Any) -> None:
    times = []
    for _ in range(3):
        watched = Watch(browser, address)
        watched.open()
        times.append(int(watched.page.evaluate("document.body.dataset.readyAfter")))
        assert at(watched.page, "equivariant")["class"] in "0123456789"
        watched.context.close()
        if times[-1] < 2000:
            break
    record_property("ready_ms", times)
    assert min(times) < 3 * 2000, f"{times} ms"  # 2 s on an idle machine; tests share theirs


@pytest.mark.parametrize("label", list(DRAWN))
def test_a_drawn_digit_keeps_its_class_at_all_angles(page: Any, label: int) -> None:
    draw(page, label)
    assert at(page, "equivariant")["class"] == str(label)
    assert at(page, "plain")["class"] == str(label)
    turn_round(page)
    found = at(page, "equivariant")
    assert int(found["visited"]) == 24
    assert (found["stays"], found["classes"]) == ("true", str(label))
    assert at(page, "plain")["stays"] == "false"  # the negative control: trained alike, not built for it
    assert page.inner_text("#equivariant .verdict").startswith(f"Class stays: {label} at 24 angles")
    assert page.inner_text("#plain .verdict").endswith(" of 24 angles")


def test_the_logits_stay_at_quarter_turns_and_wander_in_the_plain_network(page: Any) -> None:
    choose(page, 4)
    changes = {}
    for angle in (45, 90, 135, 180):
        page.keyboard.press("Tab")  # leaves the digit
        page.focus("#dial")
        page.keyboard.press("PageUp")
        shown(page, angle)
        changes[angle] = [float(at(page, name)["change"]) for name in ("equivariant", "plain")]
    assert changes[90][0] < 1e-4
    assert changes[180][0] < 1e-4
    assert changes[45][0] < 0.5 * changes[45][1]
    assert min(change[1] for change in changes.values()) > 0.1


@pytest.mark.parametrize("label", [5, 7])
def test_measuring_fills_the_strips(page: Any, label: int) -> None:
    choose(page, label)
    page.click("#measure")
    page.wait_for_selector('body[data-measured="true"]', timeout=60000)
    own, other = at(page, "equivariant"), at(page, "plain")
    assert (own["visited"], other["visited"]) == ("72", "72")
    assert (own["stays"], own["classes"]) == ("true", str(label))
    assert len(other["classes"].split(",")) > 1
    assert page.inner_text("#plain .verdict").startswith("Class changes: ")
    told = page.inner_text("#turn-facts")
    for network in MANIFEST["networks"].values():
        for key in ("error_upright", "error_any_angle", "constant_class"):
            assert f"{100 * network[key]:.1f}%" in told


def test_the_ring_turns_and_rolls(page: Any) -> None:
    choose(page, 2)
    page.focus("#dial")
    for angle in (45, 90):
        page.keyboard.press("PageUp")
        shown(page, angle)
    assert float(at(page, "ring")["difference"]) < 1e-5
    found = page.evaluate(
        """async (pixels) => {
          const { digitSource } = await import("./js/digits.js");
          const { input } = await import("./js/picture.js");
          const { classify } = await import("./js/networks.js");
          const source = digitSource(pixels.map((v) => v / 255), 28);
          const out = {};
          for (const angle of [0, 35, 90]) {
            const data = input(source, angle);
            const { layers } = await classify("equivariant", data);
            out[angle] = { input: [...data], first: [...layers.first.data] };
          }
          return out;
        }""",
        DIGITS[4]["pixels"],
    )
    about = MANIFEST["networks"]["equivariant"]["first"]
    maps = [np.array(found[angle]["first"]).reshape(-1, 8, about["side"], about["side"]) for angle in ("0", "90")]
    assert np.abs(maps[0]).max() > 0.1
    expected = np.roll(np.rot90(maps[0], axes=(2, 3)), 2, axis=1)
    assert np.allclose(maps[1], expected, atol=1e-4 * np.abs(expected).max())
    assert not np.allclose(maps[1], np.rot90(maps[0], axes=(2, 3)), atol=0.1)  # without the roll: another thing

    from pdoconv.playground.networks import turned

    digit = np.array(DIGITS[4]["pixels"], dtype=np.uint8).reshape(28, 28)
    for angle in (0, 35, 90):  # the page's pictures are those of the training
        assert np.abs(np.array(found[str(angle)]["input"]).reshape(36, 36) - turned(digit, angle)).max() < 0.01


def analytic(x: Any, y: Any) -> Any:
    """A smooth picture, x to the right and y up from its middle in a layer's pixels."""
    bumps = [(3, 2, 2.5, 1.0), (-4, 5, 3.0, 0.7), (1, -6, 2.0, 0.8), (-6, -4, 3.5, 0.5)]
    return sum(h * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * s * s)) for a, b, s, h in bumps)


def test_stencil_errors_agree_with_python(page: Any) -> None:
    import onnxruntime

    grid = (np.arange(288) - 143.5) / 8
    source = analytic(grid, -grid[:, None])
    found, places = page.evaluate(
        """async ({ values, names }) => {
          const { samplesOf, errorsOf } = await import("./js/stencils.js");
          const { points } = await import("./js/patches.js");
          const samples = samplesOf(Float64Array.from(values), 0);
          const errors = {};
          for (const name of names) errors[name] = await errorsOf(name, samples);
          return [errors, points()];
        }""",
        {"values": source.ravel().tolist(), "names": FAMILIES},
    )
    x, y = np.array(places).T / 8
    assert len(x) == 150
    line = np.arange(5) - 2
    outputs: dict[tuple[str, int], np.ndarray[Any, Any]] = {}
    for angle in (0, 45, 90):
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        dx, dy = np.meshgrid(line, -line)  # y up
        patches = analytic(x[:, None, None] + c * dx + s * dy, y[:, None, None] - s * dx + c * dy)
        for name in FAMILIES:
            session = onnxruntime.InferenceSession(MODELS / f"layer-{name}.onnx")
            out = session.run(None, {"x": patches[:, None].astype(np.float32)})[0]
            outputs[name, angle] = out.reshape(-1, 4, 8).astype(np.float64)
    for name in FAMILIES:
        for angle in (45, 90):
            expected = np.roll(outputs[name, 0], angle // 45, axis=2)
            error = np.linalg.norm(outputs[name, angle] - expected) / np.linalg.norm(expected)
            assert found[name][str(angle)] == pytest.approx(error, rel=0.05, abs=2e-6), (name, angle)
    quarter = [found[name]["90"] for name in FAMILIES if name != "untied"]
    assert max(quarter) < 1e-5
    assert max(found, key=lambda name: found[name]["45"]) == "untied"
    assert min(found["untied"].values()) > 0.5
    assert found["gaussian"]["45"] < 0.3 * found["paper"]["45"]


def test_switching_stencils_shows_their_errors_and_filters(page: Any) -> None:
    choose(page, 2)
    page.wait_for_selector('#families[data-sigma="1.5"]', timeout=20000)
    page.locator("#families input").nth(0).focus()
    page.keyboard.press("ArrowDown")
    second = MANIFEST["layers"]["families"][1]
    page.wait_for_selector(f'#filter[data-family="{second["name"]}"]', timeout=10000)
    assert second["text"] in page.inner_text("#filter")
    errors = []
    for sigma in ("1", "3"):
        page.locator("#blur").fill(sigma)
        page.wait_for_selector(f'#families[data-sigma="{sigma}"]', timeout=20000)
        errors.append(
            {name: float(page.get_attribute(f'[data-family="{name}"].family', "data-error45")) for name in FAMILIES}
        )
    assert errors[1]["gaussian"] < 0.1 * errors[0]["gaussian"]  # smoother pictures, smaller errors
    assert errors[1]["untied"] > 0.5 * errors[0]["untied"]
    assert all(max(found, key=lambda name: found[name]) == "untied" for found in errors)


def test_a_picture_file_can_be_loaded_and_inverted(page: Any, tmp_path: Path) -> None:
    from PIL import Image

    digit = np.array(DIGITS[4]["pixels"], dtype=np.uint8).reshape(28, 28)
    paper = 255 - np.pad(digit, 4)  # dark on light
    Image.fromarray(paper).resize((288, 288), Image.Resampling.BICUBIC).save(tmp_path / "two.png")
    page.set_input_files("#file", tmp_path / "two.png")
    page.wait_for_selector('body[data-source="picture"][data-shown="0"]')
    assert page.get_attribute("#invert", "aria-pressed") == "true"
    assert at(page, "equivariant")["class"] == "2"
    page.click("#invert")
    page.wait_for_selector('body[data-source="picture"][data-shown="0"]')
    assert page.get_attribute("#invert", "aria-pressed") == "false"
    (tmp_path / "text.png").write_text("no picture")
    page.set_input_files("#file", tmp_path / "text.png")
    page.wait_for_selector("#problem:not([hidden])")
    assert "text.png is not a picture" in page.inner_text("#problem")
    choose(page, 1)
    assert page.locator("#problem").is_hidden()


def test_the_learned_pde_is_that_of_the_package(watch: Watch) -> None:
    page = watch.page
    page.click("#tab-pde")
    page.wait_for_selector('body[data-pde="ready"]', timeout=30000)
    first = float(at(page, "current")["psnr"])
    for _ in range(12):
        page.click("#pde-step")
    last = at(page, "current")
    assert last["step"] == "12"
    assert page.locator("#pde-step").is_disabled()
    noisy, final = page.evaluate(
        """async () => {
          const { gray } = await import("./js/picture.js");
          const { observed, start, step, numbersOf } = await import("./js/evolution.js");
          const { modelJson, modelFile } = await import("./js/runtime.js");
          const { pde, photo } = await modelJson("manifest.json");
          const image = await createImageBitmap(await (await modelFile(photo.file)).blob());
          const clean = { width: image.width, height: image.height, values: gray(image, image.width, image.height) };
          const task = pde.tasks.find(({ name }) => name === "denoise");
          const numbers = await numbersOf(task);
          const noisy = observed(clean, task, 25);
          let state = start(noisy, numbers, 25);
          const { shown } = state;
          const on = new Float32Array(pde.invariants.length).fill(1);
          for (let k = 0; k < numbers.steps; k += 1) state = await step(state, k, clean, pde, numbers, on);
          return [[...noisy], [...shown(state.o)]];
        }"""
    )
    from PIL import Image

    clean = np.asarray(Image.open(MODELS / "photo.png"), dtype=np.float32) / 255
    observed = np.array(noisy, dtype=np.float32).reshape(clean.shape)
    assert 24 / 255 < (observed - clean).std() < 26 / 255
    expected = pdo.pde.restore(observed, task="denoise", sigma=25)
    assert np.abs(np.array(final).reshape(clean.shape) - expected).max() < 1e-3
    assert float(last["psnr"]) == pytest.approx(-10 * np.log10(np.mean((expected - clean) ** 2)), abs=0.01)
    assert float(last["psnr"]) > first + 5


def test_switching_invariants_off_changes_the_evolution_and_on_again_restores_it(watch: Watch) -> None:
    page = watch.page
    page.click("#tab-pde")
    page.wait_for_selector('body[data-pde="ready"]', timeout=30000)
    page.locator("#time").fill("12")
    whole = float(at(page, "current")["psnr"])
    page.locator("#terms .kinds label", has_text="Laplacians").click()
    page.wait_for_function(f"document.getElementById('current').dataset.psnr !== '{whole}'")
    less = at(page, "current")["psnr"]
    assert float(less) < whole - 1
    assert (
        float(
            at(page, "terms .term[data-name='tr H(O)']")["value"]
            if False
            else page.get_attribute('.term[data-name="tr H(O)"]', "data-value")
        )
        == 0
    )
    assert "all terms:" in page.inner_text("#current-psnr")
    page.click("#terms-all")
    page.wait_for_function(f"document.getElementById('current').dataset.psnr !== '{less}'")
    assert float(at(page, "current")["psnr"]) == pytest.approx(whole, abs=1e-6)
    page.locator("#sigma").fill("40")
    page.wait_for_function(f"document.getElementById('current').dataset.psnr !== '{whole}'")
    assert float(at(page, "current")["psnr"]) < whole
    page.locator("#task").select_option("edges")
    page.wait_for_selector("#psnr", state="hidden")
    page.locator("#task").select_option("denoise")
    page.wait_for_selector("#psnr", state="visible")


def test_everything_can_be_reached_by_keyboard(browser: Any, address: str) -> None:
    watched = Watch(browser, address, reduced_motion="reduce")
    page = watched.open()
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        focus = page.evaluate(
            """() => { const e = document.activeElement; const s = getComputedStyle(e);
            const name = e.id || e.name || e.dataset.name || e.tagName;
            return [name, s.outlineStyle, e.closest("label.family") !== null] }"""
        )
        if focus[0] == "BODY":
            break
        assert focus[1] != "none" or focus[2], f"no visible focus: {focus}"
        seen.append(focus[0])
    expected = ["tab-turn", "dial", "spin", "measure", "clear", "load", "layer", "field", "blur", "family"]
    assert [name for name in seen if name in expected] == expected
    assert len([name for name in seen if name.startswith("digit-")]) == len(DIGITS)
    page.focus("#dial")
    for key, angle in {
        "ArrowLeft": 359,
        "ArrowUp": 0,
        "PageDown": 315,
        "PageUp": 0,
        "ArrowRight": 1,
        "Home": 0,
    }.items():
        page.keyboard.press(key)
        shown(page, angle)
        assert page.get_attribute("#dial", "aria-valuenow") == str(angle)
    page.focus('#digits button[data-label="5"]')
    page.keyboard.press("Enter")
    page.wait_for_selector('#digits button[data-label="5"][aria-pressed="true"]')
    page.focus("#spin")
    page.keyboard.press("Space")
    page.wait_for_selector('body[data-shown]:not([data-shown="0"]):not([data-shown=""])', timeout=10000)
    page.keyboard.press("Space")
    assert page.get_attribute("#spin", "aria-pressed") == "false"
    page.focus("#tab-turn")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-pde"
    assert page.locator("#turn").is_hidden()
    page.wait_for_selector('body[data-pde="ready"]', timeout=30000)
    page.focus("#pde-step")
    page.keyboard.press("Enter")
    assert at(page, "current")["step"] == "1"
    assert watched.messages == []
    watched.context.close()


def test_a_phone_needs_no_horizontal_scrolling(browser: Any, address: str) -> None:
    watched = Watch(browser, address, viewport={"width": 380, "height": 800}, has_touch=True, color_scheme="dark")
    page = watched.open()
    box = page.locator("#dial").bounding_box()
    page.touchscreen.tap(box["x"] + 12, box["y"] + box["height"] / 2)  # left: a quarter turn
    shown(page, 90)
    assert float(at(page, "equivariant")["change"]) < 1e-4
    page.wait_for_selector("#filter canvas")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    page.tap("#tab-pde")
    page.wait_for_selector('body[data-pde="ready"]', timeout=30000)
    page.click("text=Show all")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    assert watched.messages == []
    watched.context.close()


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("models/manifest.json", None, "models/manifest.json could not be loaded: the server says 404"),
        ("models/manifest.json", "no json", "models/manifest.json is not a JSON file"),
        ("models/equivariant.onnx", None, "models/equivariant.onnx could not be loaded: the server says 404"),
        ("models/plain.onnx", "broken", "models/plain.onnx could not be opened"),
        ("vendor/ort.wasm.min.mjs", None, "run `make playground` once"),
        ("models/layer-paper.onnx", None, "models/layer-paper.onnx could not be loaded"),
    ],
)
def test_what_is_missing_or_broken_is_told_on_the_page(
    browser: Any, address: str, name: str, body: str | None, message: str
) -> None:
    watched = Watch(browser, address)
    answer = {"status": 404, "body": ""} if body is None else {"status": 200, "body": body}
    watched.page.route(f"**/{name}", lambda route: route.fulfill(**answer))
    watched.page.goto(address)
    watched.page.wait_for_selector("#problem:not([hidden])", timeout=20000)
    assert message in watched.page.inner_text("#problem")
    assert watched.page.locator("h1").is_visible()
    watched.context.close()


def test_the_second_tab_works_without_the_first(browser: Any, address: str) -> None:
    watched = Watch(browser, address)
    watched.page.route("**/equivariant.onnx", lambda route: route.fulfill(status=404))
    watched.page.goto(address + "#pde")
    watched.page.wait_for_selector('body[data-pde="ready"]', timeout=30000)
    assert watched.page.locator("#turn").is_hidden()
    watched.context.close()


def test_the_folder_works_from_any_server_and_folder(browser: Any) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    handler = partial(Quiet, directory=str(serve.STATIC.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        base = f"http://127.0.0.1:{running.server_address[1]}/"
        watched = Watch(browser, base)
        watched.open(f"{serve.STATIC.name}/")
        assert watched.messages == []
        assert all(url.startswith(f"{base}{serve.STATIC.name}/") for url in watched.requests)
        watched.context.close()
        running.shutdown()
        thread.join()


def test_no_message_and_no_request_to_elsewhere(watch: Watch) -> None:
    """Holds for all that was done with the page above."""
    assert watch.messages == []
    assert len(watch.requests) > 30
    assert all(url.startswith((watch.address, "blob:", "data:")) for url in watch.requests)
