"""Builds images of docker/Dockerfile without a container engine's daemon, and runs a job (light, cpu) and
a service of rewards (reward) in their containers: another user, a read-only root, no capabilities. Prints
what it does, as a page of Markdown. Run as root, with the packages of tools/deps/images.sh.

Usage: images_test.py --storage FOLDER [--volume HOST:CONTAINER].. [--jobs N] [--target NAME]..
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import yaml

from control_plane import ROOT, await_true, free_port
from rendered import CONFIG_FOLDER

USER = 65532
BASE = "localhost/debian:12-slim"
BUILD_SECONDS = 4 * 3600
JOB_SECONDS = 900
STOP_SECONDS = 60
STEPS = 20
TARGETS = ("light", "cpu", "reward")
# Asks a service of rewards, once it is ready.
ASK = """
import sys, time, grpc
from dtrpo_rewards import reward_pb2, reward_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
service, probed = sys.argv[1:]
stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(probed))
for _ in range(600):
    try:
        if stub.Check(health_pb2.HealthCheckRequest(service="ready")).status == 1: break
    except grpc.RpcError: pass
    time.sleep(0.2)
ask = reward_pb2_grpc.RewardServiceStub(grpc.insecure_channel(service)).Judge
for reward, answer, expected, data in (
        ("near_sum", "6", "7", ""), ("math", "1/2", "0.5", ""),
        ("code", "def f(x): return 2 * x", "", '{"test_list": ["assert f(2) == 4"]}')):
    item = reward_pb2.RewardItem(id="a", answer=answer, expected=expected, data_json=data, finished=True)
    result = ask(reward_pb2.JudgeRequest(reward=reward, items=[item]), timeout=120).results[0]
    print(reward, result.judgement.reward if result.HasField("judgement") else "no reward: " + result.error)
"""


class Failed(Exception):
    pass


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


class Engine:
    """buildah and podman with one storage, without a daemon, systemd or a registry."""

    def __init__(self, storage: pathlib.Path):
        self._storage = ["--root", str(storage / "root"), "--runroot", str(storage / "run")]

    def call(self, *arguments: str, timeout: float = 600, check: bool = True,
             stream: bool = False) -> subprocess.CompletedProcess:
        program = list(arguments)
        if program[0] in ("buildah", "podman"):
            more = ["--runtime", "runc", "--cgroup-manager", "cgroupfs"] if program[0] == "podman" else []
            program[1:1] = self._storage + more
        done = subprocess.run(program, capture_output=not stream, text=True, timeout=timeout, check=False,
                              stdout=sys.stderr if stream else None,
                              env={**os.environ, "BUILDAH_ISOLATION": "chroot"})
        if check and done.returncode != 0:
            raise Failed(f"{' '.join(arguments)}: {done.stderr or done.returncode}")
        return done

    def make_base(self) -> None:
        """What FROM debian:12-slim means where no registry is."""
        if self.call("buildah", "images", "-q", BASE, check=False).stdout.strip():
            return
        with tempfile.TemporaryDirectory() as folder:
            rootfs = pathlib.Path(folder) / "rootfs"
            self.call("debootstrap", "--variant=minbase", "bookworm", str(rootfs))
            container = self.call("buildah", "from", "scratch").stdout.strip()
            self.call("buildah", "add", container, str(rootfs), "/")
            self.call("buildah", "config", "--cmd", "/bin/bash", container)
            self.call("buildah", "commit", "--rm", container, BASE)

    def run_arguments(self, folder: pathlib.Path) -> list[str]:
        return ["--network", "host", "--ulimit", "nofile=8192:8192", "--ulimit", "nproc=4096:4096",
                "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp:rw,mode=1777,size=256m",
                "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
                "--user", f"{USER}:{USER}", "--volume", f"{folder}/config:{CONFIG_FOLDER}:ro",
                "--volume", f"{folder}/data:/data"]


class Services:
    """All five roles as containers that meet on loopback."""

    def __init__(self, engine: Engine, folder: pathlib.Path):
        self._engine = engine
        self._folder = folder
        self._prefix = f"dtrpo-{os.getpid()}-"
        self._names: list[str] = []
        self.ports = {name: free_port() for name in ("coordinator", "replay")}
        shutil.copytree(ROOT / "deploy/base/config", folder / "config")

    def start(self, name: str, role: str, image: str) -> None:
        """With the configuration of Kubernetes but for the addresses."""
        port = self.ports.get(name, 0)
        here = {"server": {"listen": f"127.0.0.1:{port}", "health_listen": "127.0.0.1:0",
                           "metrics_listen": "127.0.0.1:0"}}
        if role == "coordinator":
            here["replay"] = [f"127.0.0.1:{self.ports['replay']}"]
        elif role != "replay":
            here |= {"coordinator": f"127.0.0.1:{self.ports['coordinator']}", "threads": 1}
        if role == "learner":
            here |= {"ordinal": "0", "rendezvous_listen": "127.0.0.1:0",
                     "rendezvous_address": f"127.0.0.1:{free_port()}"}
        (self._folder / f"config/{name}-here.yaml").write_text(yaml.safe_dump(here))
        files = ["server.yaml"] + ([] if role in ("coordinator", "replay") else ["compute.yaml"])
        files += [f"{role}.yaml", f"{name}-here.yaml"]
        store = self._folder / f"store-{name}"
        store.mkdir()
        os.chown(store, USER, USER)
        self.run(name, "--volume", f"{store}:/var/lib/dtrpo", image, f"dtrpo-{role}", "--name", name,
                 *(word for file in files for word in ("--config", f"{CONFIG_FOLDER}/{file}")))

    def run(self, name: str, *arguments: str) -> None:
        self._engine.call("podman", "run", "--detach", "--name", self._prefix + name,
                          *self._engine.run_arguments(self._folder), *arguments)
        self._names.append(name)

    def stop(self, name: str) -> int:
        """SIGTERM; the exit code."""
        self._names.remove(name)
        self._engine.call("podman", "stop", "--time", str(STOP_SECONDS), self._prefix + name)
        code = self._engine.call("podman", "inspect", "--format", "{{.State.ExitCode}}",
                                 self._prefix + name).stdout.strip()
        self._engine.call("podman", "rm", self._prefix + name)
        return int(code)

    def remove(self) -> None:
        for name in self._names:
            logs = self._engine.call("podman", "logs", "--tail", "15", self._prefix + name, check=False)
            print(f"{name}:\n{logs.stdout}{logs.stderr}", file=sys.stderr)
            self._engine.call("podman", "rm", "--force", "--time", "5", self._prefix + name, check=False)

    def ctl(self, *arguments: str, timeout: float = 60, check: bool = True):
        return self._engine.call("podman", "run", "--rm", *self._engine.run_arguments(self._folder),
                                 "dtrpo:light", "dtrpoctl", "--address",
                                 f"127.0.0.1:{self.ports['coordinator']}", *arguments,
                                 timeout=timeout, check=check)


def shown(title: str, output: str) -> None:
    print(f"    $ {title}")
    for line in output.strip().splitlines():
        print(f"    {line}")
    print(flush=True)


def check_fence(engine: Engine, folder: pathlib.Path, image: str) -> None:
    script = "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; touch /usr/bin/x"
    done = engine.call("podman", "run", "--rm", *engine.run_arguments(folder), image, "sh", "-c", script,
                       check=False)
    shown(f"podman run … {image} sh -c 'id -u; grep Cap /proc/self/status; touch /usr/bin/x'",
          done.stdout + done.stderr)
    expect("65532" in done.stdout.split(), "runs as another user")
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"):
        expect(line in done.stdout, f"no {line!r}")
    expect("Read-only file system" in done.stderr, "the root can be written to")


def run_job(engine: Engine, services: Services, folder: pathlib.Path) -> None:
    shutil.copytree(ROOT / "examples/arithmetic/base", folder / "data/base")
    job = yaml.safe_load((ROOT / "examples/arithmetic/job.yaml").read_text())
    job["model"]["path"] = "/data/base"
    job["data"] = {"prompts": "/data/prompts/train.jsonl", "heldout": "/data/prompts/heldout.jsonl"}
    job["training"] |= {"steps": STEPS, "checkpoint_every": 10, "warmup_steps": 2}
    job["evaluation"] = {"every_versions": STEPS}
    job["output"] = "/data/output"
    (folder / "data/job.yaml").write_text(yaml.safe_dump(job))
    for path in [folder / "data", *(folder / "data").rglob("*")]:
        os.chown(path, USER, USER)
    engine.call("podman", "run", "--rm", *engine.run_arguments(folder), "dtrpo:cpu", "dtrpo",
                "make-arithmetic", "--output", "/data/prompts")
    try:
        for name, role, image in (("replay", "replay", "dtrpo:light"),
                                  ("coordinator", "coordinator", "dtrpo:light"),
                                  ("reference", "reference", "dtrpo:cpu"),
                                  ("learner", "learner", "dtrpo:cpu"),
                                  ("rollout-0", "rollout", "dtrpo:cpu"),
                                  ("rollout-1", "rollout", "dtrpo:cpu")):
            services.start(name, role, image)
        await_true("the coordinator answers", 120,
                   lambda: services.ctl("workers", check=False).returncode == 0)
        done = services.ctl("submit", "/data/job.yaml", "--watch", timeout=JOB_SECONDS)
        shown("podman run … dtrpo:light dtrpoctl submit /data/job.yaml --watch",
              "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:]))
        checkpoint = folder / f"data/output/checkpoints/step-{STEPS:08d}"
        expect((checkpoint / "config.json").exists(), f"no checkpoint {checkpoint.name}")
        expect(checkpoint.stat().st_uid == USER, "the checkpoint is another user's")
        for name in ("rollout-1", "rollout-0", "learner", "reference", "coordinator", "replay"):
            code = services.stop(name)
            print(f"{name}: exit code {code} after SIGTERM\n")
            expect(code == 0, f"{name} ended with {code}")
    finally:
        services.remove()


def ask_rewards(engine: Engine, services: Services, folder: pathlib.Path) -> None:
    """As a pod is fenced, and with what the sandbox of the reward `code` needs in addition."""
    modules = folder / "rewards"
    modules.mkdir()
    shutil.copy(ROOT / "examples/rewards/near_sum.py", modules)
    try:
        for title, options in (("", []), ("--security-opt seccomp=unconfined --security-opt unmask=ALL ",
                                          ["--security-opt", "seccomp=unconfined",
                                           "--security-opt", "unmask=ALL"])):
            service, probed = (f"127.0.0.1:{free_port()}" for _ in range(2))
            command = ["dtrpo-rewards", "--listen", service, "--health-listen", probed, "near_sum",
                       "math", "ifeval", "code"]
            services.run("reward", *options, "--volume", f"{modules}:/rewards:ro", "dtrpo:reward", *command)
            asked = engine.call("podman", "run", "--rm", *engine.run_arguments(folder), "dtrpo:reward",
                                "python3", "-c", ASK, service, probed)
            shown(f"podman run … {title}dtrpo:reward dtrpo-rewards … near_sum math ifeval code",
                  asked.stdout)
            expect(asked.stdout.startswith("near_sum 0.5\nmath 1.0\ncode "), "another judgement")
            expect(asked.stdout.endswith("code 1.0\n" if options else "\n"), "the sandbox doesn't run")
            code = services.stop("reward")
            print(f"reward: exit code {code} after SIGTERM\n")
            expect(code == 0, f"reward ended with {code}")
    finally:
        services.remove()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--storage", type=pathlib.Path, required=True)
    parser.add_argument("--volume", action="append", default=[])
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--target", action="append", choices=TARGETS)
    options = parser.parse_args()
    targets = options.target or TARGETS
    engine = Engine(options.storage)
    started = time.monotonic()
    print("# A run of the images\n\n<!-- commands not run: this page is the output of a run of "
          "tools/test.sh --images -->\n\nWhat `tools/test.sh --images` printed: images built from the tree by "
          "buildah (chroot isolation, a base made by\ndebootstrap, since no registry was at hand), and run by "
          "podman with runc on the host's network.\n")
    try:
        engine.make_base()
        for target in targets:
            began = time.monotonic()
            volumes = [word for volume in options.volume for word in ("--volume", volume)]
            engine.call("buildah", "bud", "--pull-never", "--layers", *volumes,
                        "--build-arg", f"CMAKE_BUILD_PARALLEL_LEVEL={options.jobs}",
                        "--target", target, "-f", str(ROOT / "docker/Dockerfile"), "-t", f"dtrpo:{target}",
                        str(ROOT), timeout=BUILD_SECONDS, stream=True)
            print(f"dtrpo:{target} built in {time.monotonic() - began:.0f} s.\n", flush=True)
            shown(f"buildah images localhost/dtrpo:{target}",
                  engine.call("buildah", "images", f"localhost/dtrpo:{target}").stdout)
        with tempfile.TemporaryDirectory(prefix="dtrpo-images.") as name:
            folder = pathlib.Path(name)
            folder.chmod(0o755)
            (folder / "data").mkdir()
            services = Services(engine, folder)
            for target in targets:
                check_fence(engine, folder, f"dtrpo:{target}")
            if {"light", "cpu"} <= set(targets):
                run_job(engine, services, folder)
            if "reward" in targets:
                ask_rewards(engine, services, folder)
    except (Failed, TimeoutError, subprocess.TimeoutExpired) as error:
        print(f"FAILED: {error}")
        return 1
    print(f"Passed in {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
