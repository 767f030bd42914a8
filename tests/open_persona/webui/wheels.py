"""Stand-ins for the packages of gigabytes: wheels of a few bytes, in a folder or from an index on loopback."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path

COMMAND = "[console_scripts]\nopen-webui = open_webui:main\n"
MAIN = "def main():\n    print('stand-in')\n"


def wheel(folder: Path, name: str, version: str, *, requires: Iterable[str] = (), text: str = "") -> Path:
    """A wheel with one module, and the command ``open-webui`` where it has that name."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    files = {
        f"{module}.py": text or MAIN,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if name == "open-webui":
        files[f"{info}/entry_points.txt"] = COMMAND
    record = "".join(f"{path},sha256={_digest(content)},{len(content)}\n" for path, content in files.items())
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, content in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(inner, content)
    return path


def _digest(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
