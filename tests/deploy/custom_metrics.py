"""Answers custom.metrics.k8s.io with numbers that a test sets, as an adapter before Prometheus would."""

import datetime
import http.server
import json
import pathlib
import ssl
import subprocess
import threading
import urllib.parse

BASE = "/apis/custom.metrics.k8s.io/v1beta2"


class CustomMetrics:
    """`pods_of(metric)` names the pods whose metric is asked for. `values` is the test's to change."""

    def __init__(self, folder: pathlib.Path, pods_of):
        self.values: dict[str, int] = {}
        self._pods_of = pods_of
        certificate, key = folder / "metrics.crt", folder / "metrics.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
                       check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # pylint: disable=invalid-name
                answer = outer.answer(urllib.parse.unquote(urllib.parse.urlparse(self.path).path))
                body = json.dumps(answer or {}).encode()
                self.send_response(200 if answer else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()

    def answer(self, path: str) -> dict | None:
        if path.rstrip("/") == BASE:
            return {"kind": "APIResourceList", "apiVersion": "v1",
                    "groupVersion": "custom.metrics.k8s.io/v1beta2",
                    "resources": [{"name": f"{kind}/{metric}", "namespaced": True, "verbs": ["get"],
                                   "kind": "MetricValueList", "singularName": ""}
                                  for metric in self.values for kind in ("pods", "services")]}
        parts = path.removeprefix(BASE + "/").split("/")
        if len(parts) != 5 or parts[4] not in self.values:
            return None
        _, namespace, kind, name, metric = parts
        names = self._pods_of(metric) if name == "*" else [name]
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"kind": "MetricValueList", "apiVersion": "custom.metrics.k8s.io/v1beta2",
                "metadata": {},
                "items": [{"describedObject": {"kind": "Pod" if kind == "pods" else "Service",
                                               "namespace": namespace, "name": each,
                                               "apiVersion": "v1"},
                           "metric": {"name": metric}, "timestamp": now,
                           "value": str(self.values[metric])} for each in names]}

    def objects(self) -> list[dict]:
        """What makes an apiserver ask here."""
        return [
            {"apiVersion": "v1", "kind": "Service",
             "metadata": {"name": "custom-metrics", "namespace": "kube-system"},
             "spec": {"type": "ExternalName", "externalName": "localhost",
                      "ports": [{"port": self.port}]}},
            {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
             "metadata": {"name": "v1beta2.custom.metrics.k8s.io"},
             "spec": {"group": "custom.metrics.k8s.io", "version": "v1beta2",
                      "groupPriorityMinimum": 100, "versionPriority": 200,
                      "insecureSkipTLSVerify": True,
                      "service": {"name": "custom-metrics", "namespace": "kube-system",
                                  "port": self.port}}}]
