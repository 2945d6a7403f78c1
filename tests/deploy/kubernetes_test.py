"""deploy/overlays/test on a real Kubernetes control plane: applied, rolled out, scaled, drained,
restarted, and bad manifests refused; then prod-gpu, applied. Prints what it does, as a page of Markdown.

Usage: kubernetes_test.py PROGRAMS DEFINITIONS   (folders that tools/kubecp/build.sh and
tools/deps/crds.sh print)
"""

import json
import os
import pathlib
import sys
import tempfile
import time

import yaml

from control_plane import ROOT, ControlPlane, await_true
from custom_metrics import CustomMetrics
from rendered import REWARD, ROLES, Overlay, pod_of

NAMESPACE = "dtrpo-test"
OVERLAY = "deploy/overlays/test"
PRODUCTION = "deploy/overlays/prod-gpu"
NODES = [f"node-{i}" for i in range(4)]
WAIT_SECONDS = 180
KIND = {"coordinator": "deployment", "reference": "deployment", "rollout": "deployment",
        "reward": "deployment", "learner": "statefulset", "replay": "statefulset"}


class Failed(Exception):
    pass


class Run:
    def __init__(self, plane: ControlPlane, folder: pathlib.Path):
        self.plane = plane
        self.folder = folder

    # What is printed

    def section(self, title: str, text: str) -> None:
        print(f"\n## {title}\n\n{text}\n", flush=True)

    def command(self, *arguments: str, text: str | None = None, refused: str = "",
                said: str | None = None) -> str:
        """Runs kubectl and prints it with its output. With `refused` it must fail with these words;
        `said` stands for arguments that are no use to a reader."""
        started = time.monotonic()
        done = self.plane.kubectl(*arguments, text=text)
        output = (done.stdout + done.stderr).strip()
        print(f"    $ kubectl {said or ' '.join(arguments)}")
        for line in output.splitlines():
            print(f"    {line}")
        print(f"    ({time.monotonic() - started:.1f} s)\n", flush=True)
        if refused:
            if done.returncode == 0:
                raise Failed("should have been refused")
            if refused not in output:
                raise Failed(f"refused, but not for {refused!r}")
        elif done.returncode != 0:
            raise Failed(f"kubectl ended with {done.returncode}")
        return output

    # Steps

    def make_machines(self) -> None:
        objects = []
        for name in NODES:
            objects.append({"apiVersion": "v1", "kind": "Node",
                            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
                            "status": {"capacity": self.capacity(), "allocatable": self.capacity()}})
        for name, size, mode in (("data", "500Gi", "ReadWriteMany"), ("store-0", "10Gi", "ReadWriteOnce"),
                                 ("store-1", "100Gi", "ReadWriteOnce")):
            objects.append({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
                            "spec": {"capacity": {"storage": size}, "accessModes": [mode],
                                     "hostPath": {"path": f"/nowhere/{name}"}}})
        self.command("apply", "-f", "-", text=as_list(objects), said="apply -f four-nodes-and-volumes")

    @staticmethod
    def capacity() -> dict:
        return {"cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "200Gi",
                "nvidia.com/gpu": "4"}

    def refuse_bad_manifests(self) -> None:
        overlay = Overlay("test")
        self.command("apply", "-f", f"{OVERLAY}/namespace.yaml")
        misspelt = overlay.get("Deployment", "rollout")
        pod_of(misspelt)["terminationGracePeriodSecond"] = 60
        self.command("apply", "--validate=strict", "-f", "-", text=json.dumps(misspelt),
                     said="apply --validate=strict -f rollout-with-misspelt-field.yaml",
                     refused='unknown field "spec.template.spec.terminationGracePeriodSecond"')
        container = {"name": "service", "image": "dtrpo:cpu", "securityContext": {"privileged": True}}
        pod = {"apiVersion": "v1", "kind": "Pod",
               "metadata": {"name": "privileged", "namespace": NAMESPACE},
               "spec": {"containers": [container]}}
        self.command("apply", "-f", "-", text=json.dumps(pod), said="apply -f privileged-pod.yaml",
                     refused='violates PodSecurity "restricted:latest": privileged')
        scaler = overlay.get("HorizontalPodAutoscaler", "rollout")
        scaler["spec"]["maxReplicas"] = 0
        self.command("apply", "-f", "-", text=json.dumps(scaler),
                     said="apply -f autoscaler-without-replicas.yaml",
                     refused="spec.maxReplicas: Invalid value")

    def install(self) -> None:
        self.command("apply", "-k", OVERLAY)
        self.roll_out()
        self.command("-n", NAMESPACE, "get", "pods", "-o",
                     "custom-columns=POD:.metadata.name,PHASE:.status.phase,NODE:.spec.nodeName")
        names = {pod["metadata"]["name"] for pod in self.pods("learner")}
        expect(names == {"learner-0", "learner-1"}, f"learners are {names}")
        slices = self.plane.get("endpointslices", "-n", NAMESPACE,
                                "-l", "kubernetes.io/service-name=learner")
        hosts = {endpoint.get("hostname") for each in slices["items"]
                 for endpoint in each["endpoints"]}
        expect(hosts == {"learner-0", "learner-1"}, f"names in the service learner: {hosts}")

    def roll_out(self) -> None:
        for role in (*ROLES, REWARD):
            self.command("-n", NAMESPACE, "rollout", "status", f"{KIND[role]}/{role}",
                         f"--timeout={WAIT_SECONDS}s")

    def scale(self, metrics: CustomMetrics) -> None:
        self.command("apply", "-f", "-", text=as_list(metrics.objects()),
                     said="apply -f custom-metrics-server")
        for role, metric, value, wanted in (
                ("rollout", "dtrpo_replay_missing_batches", 2, 2),
                ("reference", "dtrpo_reference_waiting_trajectories", 192, 3)):
            before = self.replicas(role)
            metrics.values[metric] = value
            print(f"{metric} is {value} now; {role} has {before}.\n")
            started = time.monotonic()
            await_true(f"{role} scaled to {wanted}", WAIT_SECONDS,
                       lambda role=role, wanted=wanted: self.replicas(role) >= wanted)
            # Enough, and not a growth that the disruption test would have to follow.
            metrics.values[metric] = value * before // wanted
            print(f"{role} has {self.replicas(role)} after {time.monotonic() - started:.0f} s.\n")
            self.command("-n", NAMESPACE, "rollout", "status", f"deployment/{role}",
                         f"--timeout={WAIT_SECONDS}s")
        self.command("-n", NAMESPACE, "get", "hpa")

    def drain(self) -> None:
        rollouts = self.pods("rollout")
        for node in NODES:
            self.command("cordon", node)
        first, second = (pod["metadata"]["name"] for pod in rollouts[:2])
        self.evict(first)
        await_true(f"{first} is gone", WAIT_SECONDS,
                   lambda: first not in {pod["metadata"]["name"] for pod in self.pods("rollout")})
        self.evict(second, refused="Cannot evict pod as it would violate the pod's disruption budget")
        for node in NODES:
            self.command("uncordon", node)
        self.command("-n", NAMESPACE, "rollout", "status", "deployment/rollout",
                     f"--timeout={WAIT_SECONDS}s")
        replay = self.pods("replay")[0]["spec"]["nodeName"]
        self.command("drain", replay, "--ignore-daemonsets", "--delete-emptydir-data",
                     f"--timeout={WAIT_SECONDS}s")
        self.roll_out()
        expect(self.pods("replay")[0]["spec"]["nodeName"] != replay, "replay hasn't moved")
        self.command("uncordon", replay)

    def evict(self, pod: str, refused: str = "") -> None:
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction",
                    "metadata": {"name": pod, "namespace": NAMESPACE}}
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
        self.command("create", "--raw", path, "-f", "-", text=json.dumps(eviction), refused=refused)

    def restart(self) -> None:
        before = {pod["metadata"]["uid"] for role in ROLES for pod in self.pods(role)}
        for role in ("rollout", "replay"):
            self.command("-n", NAMESPACE, "rollout", "restart", f"{KIND[role]}/{role}")
        self.roll_out()
        for role in ("rollout", "replay"):
            left = [pod["metadata"]["name"] for pod in self.pods(role)
                    if pod["metadata"]["uid"] in before]
            expect(not left, f"not restarted: {left}")

    def change_configuration(self) -> None:
        """An overlay of the overlay with another rollout.yaml: the pods follow by themselves."""
        rollout = yaml.safe_load(Overlay("test").config()["rollout.yaml"])
        rollout["lease_prompts"] = 4
        (self.folder / "rollout.yaml").write_text(yaml.safe_dump(rollout))
        (self.folder / "kustomization.yaml").write_text(yaml.safe_dump({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
            "namespace": NAMESPACE,
            "resources": [os.path.relpath(ROOT / OVERLAY, self.folder)],
            "configMapGenerator": [{"name": "dtrpo-config", "behavior": "merge",
                                    "files": ["rollout.yaml"]}]}))
        before = {pod["metadata"]["uid"] for pod in self.pods("rollout")}
        self.command("apply", "-k", str(self.folder), said="apply -k overlay-with-another-rollout.yaml")
        self.roll_out()
        left = before & {pod["metadata"]["uid"] for pod in self.pods("rollout")}
        expect(not left, "rollouts still have the old configuration")

    def install_production(self, definitions: pathlib.Path) -> None:
        names = []
        for path in sorted(definitions.iterdir()):
            definition = yaml.safe_load(path.read_text())
            # The rest is cert-manager's template of a chart.
            names.append(definition["metadata"]["name"])
            definition["metadata"] = {"name": names[-1]}
            self.command("create", "-f", "-", text=json.dumps(definition), said=f"create -f {path.name}")
        self.command("wait", "--for=condition=Established", f"--timeout={WAIT_SECONDS}s",
                     *(f"crd/{name}" for name in names))
        self.command("apply", "-k", PRODUCTION)
        self.command("-n", "dtrpo", "get", "certificates,issuers,podmonitors,prometheusrules")
        overlay = Overlay("prod-gpu")
        for kind, name, path in (("Certificate", "dtrpo-reward", ("spec", "usages")),
                                 ("PodMonitor", "dtrpo", ("spec", "podMetricsEndpoints"))):
            thing = overlay.get(kind, name)
            thing["metadata"]["name"] = "misspelt"  # a new object's refusal is short
            thing[path[0]][path[1] + "s"] = thing[path[0]].pop(path[1])
            self.command("apply", "--validate=strict", "-f", "-", text=json.dumps(thing),
                         said=f"apply --validate=strict -f {kind.lower()}-with-misspelt-field.yaml",
                         refused=f'unknown field "{".".join(path)}s"')

    # Questions

    def pods(self, role: str) -> list[dict]:
        found = self.plane.get("pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/component={role}")
        return [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]

    def replicas(self, role: str) -> int:
        return self.plane.get("deployment", "-n", NAMESPACE, role)["spec"].get("replicas", 1)


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


def as_list(objects: list[dict]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def main() -> int:
    programs, definitions = (pathlib.Path(path) for path in sys.argv[1:])
    os.chdir(ROOT)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dtrpo-kubernetes.") as name:
        folder = pathlib.Path(name)
        with ControlPlane(programs, folder) as plane:
            run = Run(plane, folder)
            metrics = CustomMetrics(folder, lambda _: [pod["metadata"]["name"]
                                                       for pod in run.pods("reference")])
            try:
                print("# A run on a Kubernetes control plane\n")
                print("<!-- commands not run: this page is the output of a run of "
                      "tools/test.sh --kubernetes -->\n")
                print("What `tools/test.sh --kubernetes` printed: etcd, kube-apiserver, controller-manager "
                      "and scheduler are real processes;\nnodes, GPUs and running containers are KWOK's "
                      "pretence, so no probe was asked and no NetworkPolicy enforced.\n")
                run.command("version")
                run.section("Four nodes of four GPUs", "And volumes, since there is no provisioner here.")
                run.make_machines()
                run.section("Bad manifests are refused", "Each for its own reason.")
                run.refuse_bad_manifests()
                run.section("Apply and roll out", "The whole installation is one command.")
                run.install()
                run.section("Scale by custom metrics", "By the queues, not by the CPU.")
                run.scale(metrics)
                run.section("Drain under disruption budgets",
                            "While an evicted rollout finds no place, another one may not be evicted.")
                run.drain()
                run.section("Rolling restart", "One pod after the other.")
                run.restart()
                run.section("A changed configuration", "It is another ConfigMap, so its pods are new.")
                run.change_configuration()
                run.section("Production's overlay", "With the definitions of cert-manager's and the Prometheus "
                            "operator's objects, whose programs don't run.")
                run.install_production(definitions)
            except (Failed, TimeoutError) as error:
                print(f"\nFAILED: {error}")
                return 1
            finally:
                metrics.close()
    print(f"\nPassed in {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
