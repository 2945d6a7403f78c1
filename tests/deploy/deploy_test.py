"""Checks of deploy/ and docker/ that need no cluster and no container engine. PYTHONPATH has dtrpo_rewards.

Usage: deploy_test.py BIN_DIR [unittest arguments]
"""

import inspect
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import kubernetes_validate
import yaml
from dtrpo_rewards import RewardServer
from dtrpo_rewards.pool import Pool

from rendered import (CONFIG_FOLDER, OVERLAYS, REWARD, ROLES, ROOT, Overlay, arguments_of, kustomize,
                      pod_of)

KUBERNETES = "1.36"
DRAIN_GRACE_S = 2  # between a drain's deadline and the watchdog that ends the process
# Objects of others' definitions, whose schemas Kubernetes doesn't have.
CUSTOM_GROUPS = ("cert-manager.io/", "monitoring.coreos.com/")
# Who dials whom (ARCHITECTURE.md); learners also meet each other, on any port.
CALLERS = {
    "coordinator": {"rollout", "reference", "learner", "client"},
    "replay": {"coordinator", "rollout", "learner", "client"},
    "rollout": {"learner", "client"},
    "reference": {"learner"},
    "learner": {"learner"},
    "reward": {"rollout"},
}
BIN_DIR = pathlib.Path()


def selects(selector: dict, labels: dict[str, str]) -> bool:
    return (selector.get("matchLabels", {}).items() <= labels.items()
            and all(term["operator"] == "In" and labels.get(term["key"]) in term["values"]
                    for term in selector.get("matchExpressions", [])))


def files_in(folder: pathlib.Path, config: dict[str, str]) -> None:
    for name, text in config.items():
        (folder / name).write_text(text)


def print_config(program: str, arguments: list[str]) -> dict:
    """The configuration in effect, as the program itself reads it."""
    done = subprocess.run([BIN_DIR / program, *arguments, "--print-config"],
                          capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{program} refuses its configuration: {done.stderr}")
    return yaml.safe_load(done.stdout)


def list_rewards(command: list[str], folder: pathlib.Path) -> list[str]:
    """The rewards that a service started so in `folder` would serve."""
    if command[0] != "dtrpo-rewards":
        raise AssertionError(f"runs {command[0]}")
    done = subprocess.run([sys.executable, "-m", "dtrpo_rewards", *command[1:], "--list"], cwd=folder,
                          capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise AssertionError(f"dtrpo-rewards refuses {command[1:]}: {done.stderr}")
    return [line.split(":")[0] for line in done.stdout.splitlines()]


class DeployTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.overlays = [Overlay(name) for name in OVERLAYS]

    def for_each_workload(self, check):
        for overlay in self.overlays:
            for role, workload in overlay.workloads().items():
                with self.subTest(overlay=overlay.name, role=role):
                    check(overlay, role, workload)

    def test_every_object_fits_the_schema_of_kubernetes(self):
        checked = 0
        for overlay in self.overlays:
            for thing in overlay.objects:
                if thing["apiVersion"].startswith(CUSTOM_GROUPS):
                    continue
                with self.subTest(overlay=overlay.name, kind=thing["kind"],
                                  name=thing["metadata"]["name"]):
                    kubernetes_validate.validate(thing, KUBERNETES, strict=True)
                    checked += 1
        self.assertGreater(checked, 60)

    def test_the_schema_check_finds_a_misspelt_field(self):
        thing = Overlay("dev").get("Deployment", "rollout")
        pod_of(thing)["terminationGracePeriodSecond"] = 1
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(thing, KUBERNETES, strict=True)

    def test_every_overlay_has_all_roles(self):
        for overlay in self.overlays:
            roles = set(overlay.workloads())
            self.assertEqual(roles - {REWARD}, set(ROLES), overlay.name)
            self.assertEqual(REWARD in roles, overlay.name != "dev", overlay.name)

    def test_pods_are_restricted(self):
        def check(_, _role, workload):
            pod = pod_of(workload)
            self.assertIs(pod["automountServiceAccountToken"], False)
            self.assertIs(pod["securityContext"]["runAsNonRoot"], True)
            self.assertEqual(pod["securityContext"]["runAsUser"], 65532)
            self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            for container in pod["containers"]:
                self.assertEqual(container["securityContext"], {
                    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]}})
                self.assertIn("memory", container["resources"]["limits"])
                for what in ("cpu", "memory", "ephemeral-storage"):
                    self.assertIn(what, container["resources"]["requests"])
        self.for_each_workload(check)

    def test_the_services_read_the_configuration_that_their_pods_get(self):
        def check(overlay, role, workload):
            container = pod_of(workload)["containers"][0]
            command = container["command"] + container["args"]
            if role == REWARD:
                self.check_reward(overlay, workload, command)
                return
            self.assertEqual(command[0], f"dtrpo-{role}")
            with tempfile.TemporaryDirectory() as folder:
                files_in(pathlib.Path(folder), overlay.config())
                config = print_config(command[0], arguments_of(command, folder))
            self.check_ports(config["server"], container)
            self.check_drain(config["server"]["drain_timeout_ms"] / 1000, pod_of(workload))
            self.check_limits(config["server"], container)
            if role == "coordinator":
                self.check_shards(config["replay"], overlay.get("StatefulSet", "replay"))
            for path in [config.get("path")] + config.get("data_roots", []):
                if path:
                    self.assertTrue(any(path.startswith(mount["mountPath"])
                                        for mount in container["volumeMounts"]), path)
        self.for_each_workload(check)

    def check_reward(self, overlay: Overlay, workload: dict, command: list[str]):
        self.assertEqual(list_rewards(command, ROOT), ["math", "ifeval", "ifeval_loose"])
        pod = pod_of(workload)
        ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
        self.assertEqual(overlay.get("Service", REWARD)["spec"]["ports"],
                         [{"name": "grpc", "port": ports["grpc"], "targetPort": "grpc"}])
        server = dict(zip(("listen", "health_listen"),
                          (command[command.index(flag) + 1] for flag in ("--listen", "--health-listen"))))
        self.check_ports(server, pod["containers"][0])
        seconds = (inspect.signature(method).parameters[name].default
                   for method, name in ((RewardServer.stop, "grace"), (Pool.close, "seconds")))
        self.check_drain(sum(seconds), pod)
        self.assertEqual({volume["name"] for volume in pod["volumes"]} - {"tls"}, {"modules", "tmp"})
        policy = overlay.get("NetworkPolicy", REWARD)["spec"]
        self.assertEqual((policy["policyTypes"], policy["egress"]), (["Ingress", "Egress"], []))
        (caller,) = policy["ingress"][0]["from"]
        rollout = overlay.get("Deployment", "rollout")["spec"]["template"]["metadata"]["labels"]
        self.assertLessEqual(caller["podSelector"]["matchLabels"].items(), rollout.items())
        self.assertEqual("--insecure" in command, "tls" not in {v["name"] for v in pod["volumes"]})

    def check_ports(self, server: dict, container: dict):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for name, port in ports.items():
            if name != "rendezvous":
                field = "listen" if name == "grpc" else f"{name}_listen"
                self.assertEqual(server[field], f"0.0.0.0:{port}")
        for probe, service in (("startupProbe", "live"), ("livenessProbe", "live"),
                               ("readinessProbe", "ready")):
            self.assertEqual(container[probe]["grpc"],
                             {"port": ports["health"], "service": service})

    def check_drain(self, seconds: float, pod: dict):
        pre_stop = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        needed = pre_stop + seconds + DRAIN_GRACE_S
        self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], needed)

    def check_limits(self, server: dict, container: dict):
        """Callers can't fill the pod with messages, and one peer can't take all threads' calls."""
        number, unit = re.fullmatch(r"(\d+)([MG])i", container["resources"]["limits"]["memory"]).groups()
        pod_bytes = int(number) << {"M": 20, "G": 30}[unit]
        self.assertLessEqual(server["limits"]["memory_bytes"], pod_bytes / 4)
        self.assertGreaterEqual(server["limits"]["memory_bytes"], 2 * server["max_message_bytes"])
        self.assertLessEqual(server["limits"]["calls_per_peer"], 2 * server["max_threads"])

    def check_shards(self, shards: list[str], replay: dict):
        service = replay["spec"]["serviceName"]
        self.assertEqual(shards, [f"replay-{i}.{service}:7070"
                                  for i in range(replay["spec"]["replicas"])])

    def test_a_changed_configuration_is_another_config_map(self):
        names = set()
        def check(overlay, role, workload):
            volumes = {volume["name"]: volume for volume in pod_of(workload)["volumes"]}
            if role == REWARD:
                name = volumes["modules"]["configMap"]["name"]
                self.assertRegex(name, "^dtrpo-rewards-[0-9a-z]+$")
                overlay.get("ConfigMap", name)
                return
            name = volumes["config"]["configMap"]["name"]
            overlay.get("ConfigMap", name)
            names.add((name, str(overlay.config())))
        self.for_each_workload(check)
        self.assertEqual(len({name for name, _ in names}), len(names))

    def test_every_role_has_a_disruption_budget_and_a_network_policy(self):
        def check(overlay, role, workload):
            labels = workload["spec"]["template"]["metadata"]["labels"]
            for kind, selector in (("PodDisruptionBudget", "selector"),
                                   ("NetworkPolicy", "podSelector")):
                chosen = overlay.get(kind, role)["spec"][selector]["matchLabels"]
                self.assertLessEqual(chosen.items(), labels.items())
            budget = overlay.get("PodDisruptionBudget", role)["spec"]["maxUnavailable"]
            self.assertNotEqual(budget, 0, "nodes could never be drained")
        self.for_each_workload(check)
        for overlay in self.overlays:
            deny = overlay.get("NetworkPolicy", "default-deny")["spec"]
            self.assertEqual(deny["policyTypes"], ["Ingress"])
            self.assertNotIn("ingress", deny)

    def test_pods_are_reached_by_those_who_call_them_and_nobody_else(self):
        for overlay in self.overlays:
            pods = {role: workload["spec"]["template"]["metadata"]["labels"]
                    for role, workload in overlay.workloads().items()}
            pods["client"] = {"dtrpo-client": "true"}
            pods["stranger"] = {"app": "stranger"}
            policies = [p["spec"] for p in overlay.of_kind("NetworkPolicy")
                        if p["metadata"]["name"] != "metrics"]
            for role in overlay.workloads():
                allowed = {
                    caller for caller, labels in pods.items() for policy in policies
                    if selects(policy["podSelector"], pods[role])
                    for rule in policy.get("ingress", []) for peer in rule["from"]
                    if "namespaceSelector" not in peer and selects(peer["podSelector"], labels)}
                self.assertEqual(allowed, CALLERS[role], f"{overlay.name}: {role}")

    def test_autoscalers_ask_for_metrics_that_services_have(self):
        rules = yaml.safe_load((ROOT / "deploy/components/hpa/adapter-values.yaml").read_text())["rules"]
        served = {rule.get("name", {}).get("as") or rule["seriesQuery"].split("{")[0]
                  for rule in rules["custom"]}
        asked = {metric[metric["type"].lower()]["metric"]["name"] for overlay in self.overlays
                 for scaler in overlay.of_kind("HorizontalPodAutoscaler")
                 for metric in scaler["spec"]["metrics"]}
        self.assertEqual(asked, served)
        sources = "".join(path.read_text() for path in (ROOT / "services").glob("*/*_metrics.*"))
        named = {name for rule in rules["custom"] for query in (rule["seriesQuery"], rule["metricsQuery"])
                 for name in re.findall(r"\bdtrpo_\w+", query)}
        self.assertGreater(len(named), 4)
        for name in named:
            self.assertIn(f'"{name}"', sources)

    def test_autoscaled_deployments_leave_replicas_to_the_autoscaler(self):
        scaled = 0
        for overlay in self.overlays:
            for scaler in overlay.of_kind("HorizontalPodAutoscaler"):
                target = scaler["spec"]["scaleTargetRef"]
                workload = overlay.get(target["kind"], target["name"])
                self.assertNotIn("replicas", workload["spec"], target["name"])
                scaled += 1
        self.assertGreaterEqual(scaled, 4)

    def test_tls_secrets_are_those_that_certificates_make(self):
        overlay = next(o for o in self.overlays if o.of_kind("Certificate"))
        made = {c["spec"]["secretName"]: c["spec"] for c in overlay.of_kind("Certificate")}
        for role, workload in overlay.workloads().items():
            volumes = {volume["name"]: volume for volume in pod_of(workload)["volumes"]}
            secret = volumes["tls"]["secret"]["secretName"]
            self.assertEqual(made[secret]["uris"], [f"spiffe://dtrpo/role/{role}"])
        server = yaml.safe_load(overlay.config()["server.yaml"])["server"]
        self.assertNotIn("insecure", server)


class OwnOverlayTest(unittest.TestCase):
    """What docs/kubernetes.md tells to do in an overlay of one's own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        shutil.copytree(ROOT / "deploy", f"{folder.name}/deploy",
                        ignore=shutil.ignore_patterns("picture", "node_modules"))
        self.folder = pathlib.Path(folder.name) / "deploy/overlays/prod-gpu"

    def kustomize(self, *arguments: str) -> str:
        done = subprocess.run([kustomize(), *arguments], cwd=self.folder, capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_the_images_of_an_overlay_are_the_last_word(self):
        digest = "sha256:" + 64 * "a"
        for name in ("light", "worker", "reward"):
            self.kustomize("edit", "set", "image", f"dtrpo-{name}=registry.example/dtrpo-{name}@{digest}")
        images = re.findall(r"^ *image: (.*)$", self.kustomize("build", "."), re.MULTILINE)
        self.assertEqual(len(images), len(ROLES) + 1)
        for image in images:
            self.assertRegex(image, f"^registry.example/dtrpo-(light|worker|reward)@{digest}$")

    def test_the_modules_of_an_overlay_are_served(self):
        shutil.copy(ROOT / "examples/rewards/near_sum.py", self.folder)
        path = self.folder / "kustomization.yaml"
        overlay = yaml.safe_load(path.read_text())
        (generator,) = [g for g in overlay["configMapGenerator"] if g["name"] == "dtrpo-rewards"]
        generator["files"] = ["near_sum.py"]
        overlay["patches"].append({
            "target": {"kind": "Deployment", "name": REWARD},
            "patch": "- {op: replace, path: /spec/template/spec/containers/0/args, value: [near_sum]}"})
        path.write_text(yaml.safe_dump(overlay))
        objects = [thing for thing in yaml.safe_load_all(self.kustomize("build", ".")) if thing]
        (modules,) = [thing for thing in objects if thing["kind"] == "ConfigMap"
                      and thing["metadata"]["name"].startswith("dtrpo-rewards-")]
        (pod,) = [pod_of(thing) for thing in objects if thing["kind"] == "Deployment"
                  and thing["metadata"]["name"] == REWARD]
        self.assertIn(modules["metadata"]["name"], str(pod["volumes"]))
        mounted = self.folder / "mounted"
        mounted.mkdir()
        files_in(mounted, modules["data"])
        container = pod["containers"][0]
        self.assertEqual(list_rewards(container["command"] + container["args"], mounted), ["near_sum"])


class AutoscalerMetricTest(unittest.TestCase):
    """The adapter's query for rollouts, as Prometheus evaluates it."""

    CASES = (  # running jobs, available pairs of two shards, formed batches, consumed pairs, missing
        (1, 0, 0, 0, 0, 2),         # a job begins
        (1, 0, 0, 50, 3200, 2),     # the learner waits
        (1, 32, 32, 50, 3200, 1),   # one batch of 64 waits for the learner
        (1, 500, 500, 50, 3200, 0),  # plenty
        (0, 0, 0, 50, 3200, 0),     # nobody wants any
    )

    def test_what_the_queue_lacks_is_counted_in_batches(self):
        values = yaml.safe_load((ROOT / "deploy/components/hpa/adapter-values.yaml").read_text())
        rule = next(r for r in values["rules"]["custom"] if "name" in r)
        query = rule["metricsQuery"]
        for name, value in (("Series", rule["seriesQuery"].split("{")[0]), ("GroupBy", "service"),
                            ("LabelMatchers", 'namespace="here",service="replay"')):
            query = query.replace(f"<<.{name}>>", value)
        tests = []
        for running, first, second, formed, consumed, missing in self.CASES:
            series = {'dtrpo_coordinator_jobs_count{namespace="here",state="RUNNING"}': running,
                      'dtrpo_coordinator_jobs_count{namespace="there",state="RUNNING"}': 1}
            of = 'namespace="here",service="replay",pod='
            series |= {f'dtrpo_replay_available_pairs{{{of}"replay-0"}}': first,
                       f'dtrpo_replay_available_pairs{{{of}"replay-1"}}': second,
                       f'dtrpo_replay_formed_batches_total{{{of}"replay-0"}}': formed,
                       f'dtrpo_replay_consumed_pairs_total{{{of}"replay-0"}}': consumed}
            tests.append({
                "interval": "1m",
                "input_series": [{"series": s, "values": str(v)} for s, v in series.items()],
                "promql_expr_test": [{"expr": query, "eval_time": "0m", "exp_samples": [
                    {"labels": '{namespace="here", service="replay"}', "value": missing}]}]})
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "test.yaml"
            path.write_text(yaml.safe_dump({"tests": tests}))
            done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True,
                                  check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class DockerTest(unittest.TestCase):
    def test_the_dockerfile_is_clean(self):
        hadolint = pathlib.Path(sys.executable).parent / "hadolint"
        # DL3008: Debian's packages are pinned by the base image, not one by one.
        done = subprocess.run([hadolint, "--ignore", "DL3008", ROOT / "docker/Dockerfile"],
                              capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def test_the_reward_image_has_the_versions_that_the_tests_ran_with(self):
        def pins(name: str) -> set[str]:
            return set(re.findall(r"^[^#\s]\S*$|^--no-binary .*$", (ROOT / name).read_text(), re.MULTILINE))
        ours = pins("tools/python/dtrpo_rewards/requirements.txt")
        self.assertGreater(len(ours), 10)
        self.assertLessEqual(ours, pins("tools/deps/python-requirements.txt"))

    def test_compose_runs_every_service_unprivileged_with_a_configuration_it_reads(self):
        services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
        self.assertEqual(set(services) - set(ROLES), {"prometheus", "grafana", REWARD})
        for role in (*ROLES, REWARD):
            with self.subTest(role=role):
                service = services[role]
                self.assertIs(service["read_only"], True)
                self.assertEqual(service["user"], "65532:65532")
                if role == REWARD:
                    command = [re.sub(r"\$\{\w+:-(.*?)}", r"\1", w) for w in service["command"]]
                    self.assertEqual(list_rewards(command, ROOT), ["math", "ifeval", "ifeval_loose"])
                    continue
                self.assertIn(f"../deploy/base/config:{CONFIG_FOLDER}:ro", service["volumes"])
                command = service["command"]
                self.assertEqual(command[0], f"dtrpo-{role}")
                print_config(command[0], arguments_of(command, ROOT / "deploy/base/config"))
        for service in services.values():
            self.assertEqual(service["cap_drop"], ["ALL"])
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"])
        for name in ("prometheus", "grafana"):
            self.assertRegex(services[name]["image"], r":v?\d+\.\d+\.\d+$")

    def test_prometheus_reads_the_configuration_and_rules_of_compose(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "rules").symlink_to(ROOT / "deploy/prometheus")
            config = folder / "prometheus.yml"
            config.write_text((ROOT / "docker/prometheus/prometheus.yaml").read_text())
            done = subprocess.run(["promtool", "check", "config", config], capture_output=True,
                                  text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_files_that_compose_mounts_are_there(self):
        services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
        for name, service in services.items():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                if source.startswith("."):
                    self.assertTrue((ROOT / "docker" / source).exists(), f"{name}: {source}")


if __name__ == "__main__":
    BIN_DIR = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
