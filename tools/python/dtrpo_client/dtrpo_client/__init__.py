"""A client of dTRPO's job API.

    from dtrpo_client import Client

    with Client("127.0.0.1:7171") as client:
        job = client.submit({"name": "add", "model": {"path": "/models/base"}, ...})
        for status in client.watch(job):
            print(status.step, status.total_steps)

Messages are those of proto/dtrpo/v1/coordinator.proto (docs/api.md), here as dtrpo_client.v1.
"""

from dtrpo_client.client import FINAL_STATES, Client, ServiceError, Tls, job_spec

__all__ = ["FINAL_STATES", "Client", "ServiceError", "Tls", "job_spec"]
