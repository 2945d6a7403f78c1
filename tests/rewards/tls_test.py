"""The reward service over TLS, with the certificates of `dtrpo certs` and the callers that it has: the
services' own client, as dtrpoctl runs it, and others that must be refused.

Usage: tls_test.py BIN_DIR [unittest arguments]
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import user_rewards  # noqa: F401  registers its rewards
from dtrpo_rewards import RewardServer, reward_pb2, reward_pb2_grpc

PATIENCE = 120  # seconds
BIN_DIR = pathlib.Path()


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([BIN_DIR / arguments[0], *arguments[1:]], capture_output=True, text=True,
                          timeout=PATIENCE, check=False)


def make_certificates(folder: pathlib.Path, *roles: str) -> None:
    done = run("dtrpo", "certs", "--dir", str(folder), *(w for r in roles for w in ("--role", r)))
    if done.returncode != 0:
        raise RuntimeError(done.stderr)


def files(folder: pathlib.Path, role: str) -> tuple[str, str, str]:
    return tuple(str(folder / role / name) for name in ("tls.crt", "tls.key", "ca.crt"))


class TlsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.certs = pathlib.Path(cls.folder.name) / "certs"
        make_certificates(cls.certs, "reward", "rollout", "learner", "client", "coordinator")
        cls.server = RewardServer(workers=1, modules=["user_rewards"], tls=files(cls.certs, "reward"),
                                  health_address="127.0.0.1:0")
        cls.addClassCleanup(cls.server.stop)

    def call(self, certs: pathlib.Path, role: str, method: str = "Judge"):
        certificate, key, _ = (pathlib.Path(path).read_bytes() for path in files(certs, role))
        authority = (self.certs / "reward/ca.crt").read_bytes()
        credentials = grpc.ssl_channel_credentials(authority, key, certificate)
        request = reward_pb2.ListRewardsRequest()
        if method == "Judge":
            request = reward_pb2.JudgeRequest(reward="length", items=[
                reward_pb2.RewardItem(id="a", answer="abc", finished=True)])
        with grpc.secure_channel(self.server.address, credentials) as channel:
            return getattr(reward_pb2_grpc.RewardServiceStub(channel), method)(request, timeout=PATIENCE)

    def refusal(self, *arguments) -> grpc.StatusCode:
        with self.assertRaises(grpc.RpcError) as raised:
            self.call(*arguments)
        return raised.exception.code()

    def test_the_services_own_client_is_answered(self):
        folder = pathlib.Path(self.folder.name)
        answer = {"responseTokens": [2, 3], "stopIndex": 1, "sampler": {"maxNewTokens": 2}}
        (folder / "items").write_text(json.dumps({
            "item": "12", "prompt": {"promptIndex": "0"},
            "pair": {"chosen": answer | {"text": "four", "reward": 4},
                     "rejected": answer | {"text": "three", "reward": 4}}}) + "\n")
        (folder / "data").write_text('{"prompt": "a number", "answer": "4"}\n')
        tls = [word for pair in zip(("--tls-certificate", "--tls-key", "--tls-ca"),
                                    files(self.certs, "client")) for word in pair]
        done = run("dtrpoctl", *tls, "judge", str(folder / "items"), "--data", str(folder / "data"),
                   "--verifier", "service:length", "--service", self.server.address)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("item 12 rejected: 4 is now 5", done.stdout)
        self.assertNotIn("chosen", done.stdout)

    def test_a_certificates_role_decides_who_may_ask(self):
        self.assertEqual(self.call(self.certs, "rollout").results[0].judgement.reward, 3)
        self.assertEqual(self.refusal(self.certs, "learner"), grpc.StatusCode.PERMISSION_DENIED)
        self.assertEqual(self.refusal(self.certs, "coordinator"), grpc.StatusCode.PERMISSION_DENIED)
        self.assertTrue(self.call(self.certs, "coordinator", "ListRewards").rewards)

    def test_strangers_get_no_connection(self):
        others = pathlib.Path(self.folder.name) / "others"
        make_certificates(others, "rollout")
        self.assertEqual(self.refusal(others, "rollout"), grpc.StatusCode.UNAVAILABLE)
        with grpc.insecure_channel(self.server.address) as channel:
            with self.assertRaises(grpc.RpcError) as raised:
                reward_pb2_grpc.RewardServiceStub(channel).ListRewards(
                    reward_pb2.ListRewardsRequest(), timeout=PATIENCE)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.UNAVAILABLE)

    def test_a_renewed_certificate_is_used_without_a_restart(self):
        def presented() -> bytes:
            with open(self.certs / "reward/tls.crt", "rb") as file:
                here = file.read()
            done = subprocess.run(
                ["openssl", "s_client", "-connect", self.server.address, "-alpn", "h2"],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
            first = here[here.index(b"-----BEGIN"):here.index(b"-----END")].strip()
            return first in done.stdout
        self.assertTrue(presented())
        make_certificates(self.certs, "reward")
        deadline = time.monotonic() + PATIENCE
        while not presented():
            self.assertLess(time.monotonic(), deadline)
        self.call(self.certs, "rollout")

    def test_probes_are_answered_in_plain_text_on_their_own_port(self):
        server = RewardServer(workers=1, modules=["user_rewards"], health_address="127.0.0.1:0")
        self.addCleanup(server.stop)
        with grpc.insecure_channel(server.health_address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            def status(service: str) -> str:
                answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE)
                return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
            self.assertEqual((status("live"), status("ready")), ("SERVING", "SERVING"))
            server.drain()
            self.assertEqual((status("live"), status("ready")), ("SERVING", "NOT_SERVING"))


if __name__ == "__main__":
    BIN_DIR = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
