"""Fetch the runtime of the playground's page: `python tools/playground_runtime.py`; does nothing if it is there.

onnxruntime-web comes from the npm registry, in the version and with the checksums of
`tools/playground/package-lock.json`. Three files of it (14 MB) and its licence go to
`src/pdoconv/playground/static/vendor/`.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE / "playground"
VENDOR = HERE.parent / "src" / "pdoconv" / "playground" / "static" / "vendor"
FILES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
LICENCE = "LICENSE"  # the package names its licence and holder, and brings no file of it
TEXT = """onnxruntime-web {version}, https://github.com/microsoft/onnxruntime

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def wrong(folder: Path) -> list[str]:
    """Return the names of the files that are missing from a folder, or are not what they should be."""
    return [
        name
        for name, digest in FILES.items()
        if not (folder / name).is_file() or hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest
    ]


def fetch(vendor: Path = VENDOR) -> bool:
    """Put the runtime into a folder unless it is there; return whether anything was fetched.

    Raises:
        FileNotFoundError: If npm is not installed.
        ValueError: If npm fails, or a file that it brought is not the one expected.
    """
    if not wrong(vendor) and (vendor / LICENCE).is_file():
        return False
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(
            "npm was not found: the playground's runtime comes from the npm registry. Install Node.js (20 or newer), "
            "which brings npm, and run this again."
        )
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for file in ("package.json", "package-lock.json"):
            shutil.copy(PACKAGE / file, work)
        print("1/3 npm ci: onnxruntime-web from the npm registry (30 MB)", flush=True)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=work, check=False, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"npm ci ended with status {done.returncode}: {done.stderr.strip()[-600:]}")
        package = work / "node_modules" / "onnxruntime-web"
        print("2/3 checksums", flush=True)
        if bad := wrong(package / "dist"):
            raise ValueError(f"npm brought other files than expected: {', '.join(bad)}. Nothing was copied.")
        print(f"3/3 {vendor}", flush=True)
        vendor.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            shutil.copy(package / "dist" / file, vendor)
        version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
        (vendor / LICENCE).write_text(TEXT.format(version=version), encoding="utf-8")
    return True


if __name__ == "__main__":
    try:
        fetched = fetch()
    except (ValueError, OSError) as error:
        sys.exit(f"playground_runtime: {error}")
    print(f"The playground's runtime {'is ready' if fetched else 'was there already'}: {VENDOR}")
