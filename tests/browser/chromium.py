"""A headless Chromium, spoken to over its debugging pipe: messages of the Chrome DevTools Protocol in
JSON, ended by a zero byte, on file descriptors 3 and 4. Not thread-safe."""

import json
import os
import select
import shutil
import subprocess
import time


class Chromium:
    """REQUIRES: Debian's `chromium` in PATH. Use as a context manager."""

    def __init__(self, profile: str, timeout_s: float = 120):
        self.timeout_s = timeout_s
        self.events = []  # (method, params), in order
        self._next_id = 0
        self._unread = b""
        program = shutil.which("chromium")
        if program is None:
            raise RuntimeError("there is no chromium in PATH (tools/deps/install.sh installs it)")
        read_end, self._to = os.pipe()
        self._from, write_end = os.pipe()
        self._log = open(os.path.join(os.path.dirname(profile), "chromium.log"), "wb")
        # bash moves the pipes to where Chromium looks for them. No sandbox: it doesn't work as root
        # or in a container, and the only pages are our own.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{read_end} 4>&{write_end}', "bash", program, "--headless",
             "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--window-size=1200,900",
             f"--user-data-dir={profile}", "--remote-debugging-pipe"],
            pass_fds=(read_end, write_end), stdin=subprocess.DEVNULL, stdout=self._log,
            stderr=self._log)
        os.close(read_end)
        os.close(write_end)
        target = self._call("Target.createTarget", {"url": "about:blank"}, None)["targetId"]
        self._session = self._call("Target.attachToTarget",
                                   {"targetId": target, "flatten": True}, None)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._log.close()

    def call(self, method: str, params: dict | None = None) -> dict:
        return self._call(method, params or {}, self._session)

    def open(self, url: str) -> None:
        """Waits until the page is loaded."""
        self.events.clear()
        self.call("Page.navigate", {"url": url})
        deadline = time.monotonic() + self.timeout_s
        while not any(method == "Page.loadEventFired" for method, _ in self.events):
            self._read_message(deadline)

    def evaluate(self, expression: str):
        result = self.call("Runtime.evaluate", {"expression": expression, "returnByValue": True})
        if "exceptionDetails" in result:
            raise AssertionError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def click(self, element: str) -> None:
        """A click of the mouse on the middle of what the expression `element` is."""
        x, y = self.evaluate(f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center'}});"
                             "const r = e.getBoundingClientRect();"
                             "return [r.x + r.width / 2, r.y + r.height / 2]; })()")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent",
                      {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1})

    def press(self, key: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent",
                      {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code})

    def _call(self, method: str, params: dict, session: str | None) -> dict:
        self._next_id += 1
        message = {"id": self._next_id, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self.timeout_s
        while True:
            answer = self._read_message(deadline)
            if answer.get("id") != self._next_id:
                continue
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            return answer["result"]

    def _read_message(self, deadline: float) -> dict:
        while b"\0" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                raise TimeoutError(f"chromium said nothing for {self.timeout_s} s")
            data = os.read(self._from, 1 << 16)
            if not data:
                raise RuntimeError("chromium ended; see chromium.log")
            self._unread += data
        text, self._unread = self._unread.split(b"\0", 1)
        message = json.loads(text)
        if "method" in message:
            self.events.append((message["method"], message.get("params", {})))
        return message
