"""A headless Chromium: what ``make setup`` unpacks from its npm package, or what CHROMIUM names."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

UNPACKED = Path(__file__).parents[1] / "node_modules/.chromium"
FONTS = "<fontconfig><dir>{folder}/fonts</dir><cachedir>{cache}</cachedir></fontconfig>"


@contextmanager
def browser() -> Iterator[Browser]:
    """Run the browser; ``FileNotFoundError`` says how to get one. It sees the package's fonts alone, so that
    pictures are the same on every machine.
    """
    program = Path(os.environ.get("CHROMIUM") or UNPACKED / "chromium")
    if not program.exists():
        raise FileNotFoundError(
            f"there is no browser at {program}: run `make setup` (on Linux x64), "
            "or let CHROMIUM name a Chromium or Chrome"
        )
    with tempfile.TemporaryDirectory() as cache, sync_playwright() as playwright:
        fonts = Path(cache) / "fonts.conf"
        fonts.write_text(FONTS.format(folder=UNPACKED, cache=cache))
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": cache,
            "FONTCONFIG_FILE": str(fonts),
            "LD_LIBRARY_PATH": f"{UNPACKED}:{UNPACKED / 'al2023/lib'}",
        }
        running = playwright.chromium.launch(
            executable_path=program, args=["--disable-gpu"], env={**environment}
        )
        try:
            yield running
        finally:
            running.close()
