#!/usr/bin/env python3
"""Pictures of the dashboards: a short job of the example runs with a real Prometheus, and main.jsx draws what that saw,
in Chromium. Takes ten minutes the first time (npm fetches 500 MB into the cache), then two.

Usage: make_pictures.py BIN_DIR OUTPUT_FOLDER     needs node 20, npm, chromium, pngquant and prometheus
"""

import functools
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/monitoring"))

from cluster import started, wait_for  # noqa: E402
from live_dashboards_test import free_port, write_config  # noqa: E402

CELL_HEIGHT = 36  # of main.jsx
STEPS = 500


def built_page() -> pathlib.Path:
    cache = pathlib.Path(os.environ.get("DTRPO_CACHE", pathlib.Path.home() / ".cache/dtrpo")) / "dashboard-picture"
    cache.mkdir(parents=True, exist_ok=True)
    sources = ("package.json", "index.html", "vite.config.js", "main.jsx")
    page = cache / "dist"
    if not page.exists() or any((cache / name).read_bytes() != (HERE / name).read_bytes() for name in sources):
        for name in sources:
            shutil.copy(HERE / name, cache / name)
        for command in (["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"], ["npx", "vite", "build"]):
            subprocess.run(command, cwd=cache, check=True)
    return page


def serve(folder: pathlib.Path) -> str:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def shoot(url: str, height: int, path: pathlib.Path, profile: str) -> None:
    subprocess.run(["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                    f"--user-data-dir={profile}", f"--window-size=1280,{height}", "--virtual-time-budget=20000",
                    f"--screenshot={path}", url], check=True, timeout=300, stderr=subprocess.DEVNULL)
    subprocess.run(["pngquant", "--force", "--ext", ".png", "48", path], check=True)
    print(f"{path}: {path.stat().st_size} bytes")


def main() -> None:
    bin_dir, output = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    output.mkdir(parents=True, exist_ok=True)
    page = built_page()
    with tempfile.TemporaryDirectory() as folder, started(REPOSITORY, bin_dir, folder, "--rollouts", "2") as cluster:
        web = pathlib.Path(folder) / "web"
        shutil.copytree(page, web)
        config = pathlib.Path(folder) / "prometheus.yml"
        write_config(config, REPOSITORY, cluster.members())
        address = f"127.0.0.1:{free_port()}"
        prometheus = subprocess.Popen(["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb",
                                       f"--web.listen-address={address}", "--log.level=warn"])
        try:
            begun = int(time.time())
            job = cluster.submit(steps=STEPS)
            wait_for("the job to end", lambda: json.loads(cluster.ctl("--json", "get", job))["state"] == "SUCCEEDED",
                     seconds=600, poll=1)
            ended = int(time.time())
            site = serve(web)
            for path in sorted((REPOSITORY / "deploy/grafana").glob("*.json")):
                shutil.copy(path, web)
                bottom = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in json.loads(path.read_text())["panels"])
                shoot(f"{site}/index.html?prometheus=http://{address}&dashboard={path.name}&from={begun}&to={ended}",
                      bottom * CELL_HEIGHT + 60, output / f"dashboard-{path.stem}.png", f"{folder}/profile")
        finally:
            prometheus.terminate()
            prometheus.wait(timeout=60)


if __name__ == "__main__":
    main()
