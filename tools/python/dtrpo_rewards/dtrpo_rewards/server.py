"""The gRPC service of proto/dtrpo/v1/reward.proto over a pool of worker processes."""

from __future__ import annotations

import pathlib
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from dtrpo_rewards import registry, reward_pb2, reward_pb2_grpc
from dtrpo_rewards.pool import Pool
from dtrpo_rewards.registry import REWARDS, Item, Judgement

MAX_ITEMS = 1024
MAX_MESSAGE_BYTES = 64 << 20
# A call is answered with what there is so long before its deadline.
MARGIN_SECONDS = 0.5
LONGEST_CALL_SECONDS = 3600.0
# Over TLS: who may ask, by the role in the caller's certificate (common/rpc/access_table.cc).
_URI = "spiffe://dtrpo/role/"
_CALLERS = {"Judge": ("rollout", "client", "admin"),
            "ListRewards": ("rollout", "client", "admin", "coordinator")}


class _Service(reward_pb2_grpc.RewardServiceServicer):
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def ListRewards(self, request, context):  # noqa: N802 (gRPC's name)
        _check_caller(context, "ListRewards")
        rewards = [
            reward_pb2.ListRewardsResponse.Reward(name=entry.name, description=entry.description)
            for entry in REWARDS.values()
        ]
        return reward_pb2.ListRewardsResponse(rewards=rewards)

    def Judge(self, request, context):  # noqa: N802
        _check_caller(context, "Judge")
        entry = REWARDS.get(request.reward)
        if entry is None:
            context.abort(grpc.StatusCode.NOT_FOUND,
                          f"no reward '{request.reward}'; there are: {', '.join(sorted(REWARDS))}")
        if len(request.items) > MAX_ITEMS:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT,
                          f"{len(request.items)} items; at most {MAX_ITEMS}")
        if len({item.id for item in request.items}) != len(request.items):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "two items have the same id")
        response = reward_pb2.JudgeResponse()
        asked, items = [], []
        for item in request.items:
            try:
                items.append(Item(item.prompt, item.answer, item.expected,
                                  registry.parse_data(item.data_json), item.finished, item.tokens))
                asked.append(item.id)
            except ValueError as error:
                response.results.add(id=item.id, error=f"data_json: {error}")
        try:
            batches = self._pool.submit(request.reward, items)
        except queue.Full:
            context.abort(grpc.StatusCode.UNAVAILABLE, "too many answers wait to be judged")
        left = context.time_remaining() or LONGEST_CALL_SECONDS
        deadline = time.monotonic() + max(0.0, min(left, LONGEST_CALL_SECONDS) - MARGIN_SECONDS)
        size = max(1, entry.batch)
        for number, batch in enumerate(batches):
            ids = asked[number * size:(number + 1) * size]
            try:
                results = batch.result(max(0.0, deadline - time.monotonic()))
            except futures.TimeoutError:
                batch.cancel()
                results = ["not judged before the call's deadline"] * len(ids)
            for item_id, result in zip(ids, results):
                self._add(response, item_id, result)
        return response

    @staticmethod
    def _add(response, item_id: str, result: Judgement | str) -> None:
        out = response.results.add(id=item_id)
        if isinstance(result, str):
            out.error = result
        else:
            out.judgement.reward = result.reward
            out.judgement.correct = bool(result.correct)
            out.judgement.reason = result.reason


def _check_caller(context, method: str) -> None:
    identity = context.auth_context()
    if identity.get("transport_security_type") != [b"ssl"]:
        return
    uris = [uri.decode() for uri in identity.get("peer_uri", [])]
    role = uris[0].removeprefix(_URI) if len(uris) == 1 and uris[0].startswith(_URI) else "none"
    if role not in _CALLERS[method]:
        context.abort(grpc.StatusCode.PERMISSION_DENIED,
                      f"{method}: not for a certificate of role '{role}'")


def _credentials(paths: tuple[str, str, str]) -> grpc.ServerCredentials:
    """Of (certificate, key, CA), read again for every new connection: a renewal needs no restart."""
    def read() -> tuple[bytes, ...]:
        return tuple(pathlib.Path(path).read_bytes() for path in paths)

    def configuration() -> grpc.ServerCertificateConfiguration:
        certificate, key, ca = in_use
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=ca)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal in_use
        try:
            now = read()
        except OSError as error:
            print(f"dtrpo-rewards: certificates stay as they are: {error}", file=sys.stderr, flush=True)
            return None
        if now == in_use:
            return None
        in_use = now
        return configuration()

    in_use = read()
    return grpc.dynamic_ssl_server_credentials(
        configuration(), renewed, require_client_authentication=True)


def _is_loopback(address: str) -> bool:
    host = address.rsplit(":", 1)[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


class RewardServer:
    """Serves the rewards that were registered when it is made.

    modules: imported by every worker process; the rewards of a script that is run itself need none.
    tls: (certificate, key, CA) in PEM files; callers must have a certificate of that CA, of role
        rollout, client or admin. Addresses other than loopback need it, or `insecure`.
    health_address: of a second port, in plain text, that answers grpc.health.v1 alone, for "live" and
        "ready". Empty: none.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:0",
        *,
        workers: int = 2,
        modules: Sequence[str] = (),
        tls: tuple[str, str, str] | None = None,
        insecure: bool = False,
        health_address: str = "",
    ) -> None:
        if not REWARDS:
            raise ValueError("there is no reward: decorate a function with @reward(NAME)")
        if workers < 1:
            raise ValueError(f"workers: {workers}; at least 1")
        if tls is None and not insecure and not _is_loopback(address):
            raise ValueError(f"{address} isn't loopback: give certificates, or say insecure")
        self._pool = Pool(workers, modules)
        self._server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=64),
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.so_reuseport", 0),
            ],
        )
        reward_pb2_grpc.add_RewardServiceServicer_to_server(_Service(self._pool), self._server)
        if tls is None:
            port = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, _credentials(tls))
        self.address = f"{address.rsplit(':', 1)[0]}:{port}"
        self._server.start()
        self._health = health.HealthServicer()
        for service in ("", "live", "ready"):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._health_server: grpc.Server | None = None
        if health_address:
            self._health_server = grpc.server(futures.ThreadPoolExecutor(max_workers=4),
                                              options=[("grpc.so_reuseport", 0)])
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._health_server)
            port = self._health_server.add_insecure_port(health_address)
            self.health_address = f"{health_address.rsplit(':', 1)[0]}:{port}"
            self._health_server.start()

    @property
    def pool(self) -> Pool:
        return self._pool

    def drain(self) -> None:
        """Not ready any more; calls are still answered."""
        for service in ("", "ready"):
            self._health.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)

    def stop(self, grace: float = 10.0) -> None:
        """Calls under way have `grace` seconds to end; what they asked is asked again after that."""
        self.drain()
        self._server.stop(grace).wait()
        self._pool.close()
        if self._health_server is not None:
            self._health_server.stop(0).wait()


def serve(
    address: str = "127.0.0.1:0",
    *,
    workers: int = 2,
    modules: Sequence[str] = (),
    tls: tuple[str, str, str] | None = None,
    insecure: bool = False,
    health_address: str = "",
    port_file: str | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT. Call it under `if __name__ == "__main__":`."""
    server = RewardServer(address, workers=workers, modules=modules, tls=tls, insecure=insecure,
                          health_address=health_address)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    print(f"dtrpo-rewards: {', '.join(sorted(REWARDS))} on {server.address}, {workers} processes",
          file=sys.stderr, flush=True)
    if port_file:
        path = pathlib.Path(port_file)
        half = path.with_name(path.name + ".new")
        half.write_text(server.address + "\n")
        half.rename(path)
    stopped.wait()
    server.stop()
