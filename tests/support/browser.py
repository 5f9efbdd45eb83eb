"""A headless Chromium in which tests open pages, over its debugging protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@dataclass(frozen=True)
class Look:
    """What a browser reports of a page: answers to JavaScript expressions, console messages and errors, a screenshot."""

    answers: list[Any]
    complaints: list[str]
    png: bytes


@dataclass(frozen=True)
class Browser:
    """A running browser; `address` is its WebSocket on this machine."""

    address: str

    def look(self, page: Path, width: int, scheme: str, questions: list[str], media: str = "screen") -> Look:
        """Open a page at a width, in a colour scheme, and evaluate JavaScript expressions in it."""
        return asyncio.run(_look(self.address, page.absolute().as_uri(), width, scheme, questions, media))


@contextlib.contextmanager
def open_browser(folder: Path) -> Iterator[Browser | None]:
    """Start a browser with its profile in a folder; None where none is installed."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        yield None
        return
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
    process = subprocess.Popen([program, *options, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = folder / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not port.exists() or len(port.read_text().splitlines()) < 2:
            assert process.poll() is None, "the browser has ended"
            assert time.monotonic() < deadline, "the browser does not start"
            time.sleep(0.1)
        number, path = port.read_text().splitlines()
        yield Browser(f"ws://127.0.0.1:{number}{path}")
    finally:
        process.terminate()
        process.wait(30)


async def _look(address: str, page: str, width: int, scheme: str, questions: list[str], media: str) -> Look:
    import aiohttp

    complaints: list[str] = []
    async with aiohttp.ClientSession() as client, client.ws_connect(address, max_msg_size=0) as socket:
        count, loaded = 0, False

        async def say(method: str, session: str = "", **params: Any) -> Any:
            nonlocal count, loaded
            count += 1
            number = count
            await socket.send_json(
                {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
            )
            while True:
                heard = await asyncio.wait_for(socket.receive_json(), 60)
                if heard.get("id") == number:
                    assert "error" not in heard, heard
                    return heard["result"]
                loaded = loaded or heard.get("method") == "Page.loadEventFired"
                if heard.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
                    complaints.append(str(heard["params"]))
                if heard.get("method") == "Network.requestWillBeSent" and not heard["params"]["request"]["url"].startswith(
                    (page, "data:")
                ):
                    complaints.append(f"asked for {heard['params']['request']['url']}")

        target = (await say("Target.createTarget", url="about:blank"))["targetId"]
        session = (await say("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await say(f"{domain}.enable", session)
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        await say("Emulation.setDeviceMetricsOverride", session, **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await say("Emulation.setEmulatedMedia", session, media=media, features=features)
        await say("Page.navigate", session, url=page)
        while not loaded:
            await say("Runtime.evaluate", session, expression="1")
        answers = [
            (await say("Runtime.evaluate", session, expression=each, returnByValue=True))["result"].get("value")
            for each in questions
        ]
        picture = await say("Page.captureScreenshot", session, format="png", captureBeyondViewport=True)
        await say("Target.closeTarget", targetId=target)
        return Look(answers, complaints, base64.b64decode(picture["data"]))
