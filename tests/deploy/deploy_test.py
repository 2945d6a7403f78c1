"""Checks of deploy/ and docker/ that need no cluster and no container engine.

Usage: deploy_test.py BIN_DIR [unittest arguments]
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import kubernetes_validate
import yaml

from rendered import CONFIG_FOLDER, OVERLAYS, ROLES, ROOT, Overlay, arguments_of, pod_of

KUBERNETES = "1.36"
DRAIN_GRACE_S = 2  # between a drain's deadline and the watchdog that ends the process
# Objects of others' definitions, whose schemas Kubernetes doesn't have.
CUSTOM_GROUPS = ("cert-manager.io/", "monitoring.coreos.com/")
BIN_DIR = pathlib.Path()


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
            self.assertEqual(tuple(sorted(overlay.workloads())), ROLES, overlay.name)

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
            self.assertEqual(command[0], f"dtrpo-{role}")
            with tempfile.TemporaryDirectory() as folder:
                files_in(pathlib.Path(folder), overlay.config())
                config = print_config(command[0], arguments_of(command, folder))
            self.check_ports(config["server"], container)
            self.check_drain(config["server"], pod_of(workload))
            if role == "coordinator":
                self.check_shards(config["replay"], overlay.get("StatefulSet", "replay"))
            for path in [config.get("path")] + config.get("data_roots", []):
                if path:
                    self.assertTrue(any(path.startswith(mount["mountPath"])
                                        for mount in container["volumeMounts"]), path)
        self.for_each_workload(check)

    def check_ports(self, server: dict, container: dict):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for name, field in (("grpc", "listen"), ("metrics", "metrics_listen"),
                            ("health", "health_listen")):
            self.assertEqual(server[field], f"0.0.0.0:{ports[name]}")
        for probe, service in (("startupProbe", "live"), ("livenessProbe", "live"),
                               ("readinessProbe", "ready")):
            self.assertEqual(container[probe]["grpc"],
                             {"port": ports["health"], "service": service})

    def check_drain(self, server: dict, pod: dict):
        pre_stop = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        needed = pre_stop + server["drain_timeout_ms"] / 1000 + DRAIN_GRACE_S
        self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], needed)

    def check_shards(self, shards: list[str], replay: dict):
        service = replay["spec"]["serviceName"]
        self.assertEqual(shards, [f"replay-{i}.{service}:7070"
                                  for i in range(replay["spec"]["replicas"])])

    def test_a_changed_configuration_is_another_config_map(self):
        names = set()
        def check(overlay, _, workload):
            volumes = {volume["name"]: volume for volume in pod_of(workload)["volumes"]}
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

    def test_compose_runs_every_service_unprivileged_with_a_configuration_it_reads(self):
        services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
        self.assertEqual(set(services) - set(ROLES), {"prometheus", "grafana"})
        for role in ROLES:
            with self.subTest(role=role):
                service = services[role]
                self.assertIs(service["read_only"], True)
                self.assertEqual(service["user"], "65532:65532")
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertIn(f"../deploy/base/config:{CONFIG_FOLDER}:ro", service["volumes"])
                command = service["command"]
                self.assertEqual(command[0], f"dtrpo-{role}")
                print_config(command[0], arguments_of(command, ROOT / "deploy/base/config"))
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
