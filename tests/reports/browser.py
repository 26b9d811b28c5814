"""Opens pages in a headless Chromium, if the machine has one."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

PROGRAM = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium: apt install chromium")
# Windows have a least width, and frames none.
FRAME = """<!DOCTYPE html><body><pre id="answer"></pre><script>
addEventListener("message", (e) => document.getElementById("answer").textContent = e.data);
</script><iframe src="{address}" style="width: {width}px; height: 900px; border: 0"></iframe></body>
"""
QUESTION = """<script>
(async () => {{
  const found = await (() => {{ {script} }})();
  parent.postMessage(encodeURIComponent(JSON.stringify(found)), "*");
}})();
</script></body>
"""


def ask(page: Path, script: str, width: int = 1280) -> tuple[Any, list[str]]:
    """Open a copy of a page, and run a script in it.

    Args:
        page: The page; the copy lies beside it.
        script: Body of a function of JavaScript, which returns what JSON can hold, or a promise
            of it.
        width: Of the page, in pixels.

    Returns:
        The result, and what the console says.
    """
    copy, frame = page.with_name("asked.html"), page.with_name("frame.html")
    text = page.read_text("utf-8")
    copy.write_text(text.replace("</body>", QUESTION.format(script=script)), "utf-8")
    frame.write_text(FRAME.format(address=copy.name, width=width))
    done = subprocess.run(
        [
            str(PROGRAM),
            "--headless",
            "--no-sandbox",  # a container has no user namespaces
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={page.parent / 'profile'}",
            "--window-size=1400,1000",
            "--virtual-time-budget=2000",
            "--dump-dom",
            frame.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r'<pre id="answer">(.+?)</pre>', done.stdout)
    assert found is not None, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(unquote(found[1])), console
