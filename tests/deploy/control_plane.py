"""A Kubernetes control plane of this machine: etcd, apiserver, controller-manager and scheduler as real
processes on loopback, and KWOK in the place of kubelets (tools/kubecp)."""

import json
import pathlib
import secrets
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS = 120
STOP_SECONDS = 30


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def await_true(what: str, seconds: float, done) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.5)


class ControlPlane:
    """Starts with the `with` statement and is gone after it. `folder` gets logs and state."""

    def __init__(self, programs: pathlib.Path, folder: pathlib.Path):
        self._programs = programs
        self._folder = folder
        self._processes: list[tuple[str, subprocess.Popen]] = []
        self.kubeconfig = folder / "kubeconfig"

    def __enter__(self) -> "ControlPlane":
        try:
            self._start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # The apiserver before etcd: without etcd it would hang for minutes.
        for name, process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"{name} (pid {process.pid}) didn't stop in {STOP_SECONDS} s: killed")
                process.kill()
                process.wait()
        self._processes.clear()

    def kubectl(self, *arguments: str, text: str | None = None,
                timeout: float = 180) -> subprocess.CompletedProcess:
        return subprocess.run([self._programs / "kubectl", "--kubeconfig", self.kubeconfig, *arguments],
                              input=text, capture_output=True, text=True, timeout=timeout,
                              check=False)

    def get(self, *arguments: str) -> dict:
        done = self.kubectl("get", *arguments, "-o", "json")
        if done.returncode != 0:
            raise RuntimeError(f"kubectl get {' '.join(arguments)}: {done.stderr}")
        return json.loads(done.stdout)

    def _start(self, program: str, *arguments: str) -> None:
        with open(self._folder / f"{program}.log", "wb") as log:
            process = subprocess.Popen([self._programs / program, *arguments], stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, start_new_session=True)
        self._processes.append((program, process))

    def _healthy(self, *arguments: str) -> bool:
        for name, process in self._processes:
            if process.poll() is not None:
                log = (self._folder / f"{name}.log").read_text()[-2000:]
                raise RuntimeError(f"{name} ended with {process.returncode}:\n{log}")
        try:
            return self.kubectl(*arguments, timeout=10).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def _start_all(self) -> None:
        folder = self._folder
        etcd, peer, api = free_port(), free_port(), free_port()
        token = secrets.token_hex(16)
        for arguments in (["genrsa", "-out", "sa.key", "2048"],
                          ["rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"]):
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
        (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": f"https://127.0.0.1:{api}",
                                                      "insecure-skip-tls-verify": True}}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}]}))

        self._start("etcd", f"--data-dir={folder}/etcd", f"--listen-client-urls=http://127.0.0.1:{etcd}",
                    f"--advertise-client-urls=http://127.0.0.1:{etcd}",
                    f"--listen-peer-urls=http://127.0.0.1:{peer}",
                    f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
                    f"--initial-cluster=default=http://127.0.0.1:{peer}", "--unsafe-no-fsync")
        self._start("kube-apiserver", f"--etcd-servers=http://127.0.0.1:{etcd}",
                    "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
                    "--endpoint-reconciler-type=none", f"--secure-port={api}",
                    "--allow-privileged=true",  # left to Pod Security
                    f"--cert-dir={folder}/apiserver", "--service-cluster-ip-range=10.96.0.0/16",
                    f"--token-auth-file={folder}/tokens.csv", "--authorization-mode=RBAC",
                    "--service-account-issuer=https://kubernetes.default.svc",
                    f"--service-account-key-file={folder}/sa.pub",
                    f"--service-account-signing-key-file={folder}/sa.key")
        await_true("kube-apiserver answers", START_SECONDS,
                   lambda: self._healthy("get", "--raw", "/readyz"))
        common = [f"--kubeconfig={self.kubeconfig}", "--bind-address=127.0.0.1",
                  "--leader-elect=false"]
        self._start("kube-controller-manager", *common, f"--secure-port={free_port()}",
                    f"--service-account-private-key-file={folder}/sa.key",
                    "--horizontal-pod-autoscaler-sync-period=3s")
        self._start("kube-scheduler", *common, f"--secure-port={free_port()}")
        self._start("kwok", f"--kubeconfig={self.kubeconfig}", "--manage-all-nodes",
                    "--cidr=10.244.0.0/16", "--node-ip=10.0.0.1",
                    f"--server-address=127.0.0.1:{free_port()}",
                    f"--config={ROOT}/tools/kubecp/stages.yaml")
        await_true("service accounts are made", START_SECONDS,
                   lambda: self._healthy("get", "serviceaccount", "default"))
