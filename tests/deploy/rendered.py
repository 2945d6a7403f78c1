"""What Kubernetes is given: an overlay of deploy/ as kustomize renders it."""

import os
import pathlib
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
OVERLAYS = sorted(path.name for path in (ROOT / "deploy/overlays").iterdir() if path.is_dir())
ROLES = ("coordinator", "learner", "reference", "replay", "rollout")
# A component: Python, with arguments instead of files.
REWARD = "reward"
# The services' common files first, as in every pod's arguments.
CONFIG_FOLDER = "/etc/dtrpo"


def kustomize() -> str:
    script = ROOT / "tools/deps/kustomize.sh"
    return subprocess.run([script], check=True, capture_output=True, text=True).stdout.strip()


def render(overlay: str) -> str:
    folder = ROOT / "deploy/overlays" / overlay
    done = subprocess.run([kustomize(), "build", folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"kustomize build {folder}: {done.stderr}")
    return done.stdout


class Overlay:
    """The objects of one overlay, found by kind and name."""

    def __init__(self, name: str):
        self.name = name
        self.objects = [document for document in yaml.safe_load_all(render(name)) if document]

    def of_kind(self, *kinds: str) -> list[dict]:
        return [thing for thing in self.objects if thing["kind"] in kinds]

    def get(self, kind: str, name: str) -> dict:
        found = [thing for thing in self.of_kind(kind) if thing["metadata"]["name"] == name]
        assert len(found) == 1, f"{self.name}: {len(found)} objects {kind}/{name}"
        return found[0]

    def workloads(self) -> dict[str, dict]:
        return {thing["metadata"]["name"]: thing
                for thing in self.of_kind("Deployment", "StatefulSet")}

    def config(self) -> dict[str, str]:
        """File name -> text."""
        maps = [thing for thing in self.of_kind("ConfigMap")
                if thing["metadata"]["name"].startswith("dtrpo-config-")]
        assert len(maps) == 1, f"{self.name}: {len(maps)} configurations"
        return maps[0]["data"]


def pod_of(workload: dict) -> dict:
    return workload["spec"]["template"]["spec"]


def arguments_of(command: list[str], folder: os.PathLike) -> list[str]:
    """The arguments of a pod or container, with its configuration in `folder`."""
    return [argument.replace(CONFIG_FOLDER, str(folder)) for argument in command[1:]]
