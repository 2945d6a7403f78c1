"""Submits a job file and prints its progress and its end.

usage: submit_and_watch.py COORDINATOR JOB.yaml [--ca FILE --certificate FILE --key FILE]
"""

import argparse
import pathlib
import sys

from dtrpo_client import Client, Tls
from dtrpo_client.v1 import coordinator_pb2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("coordinator", help="host:port")
    parser.add_argument("job", type=pathlib.Path, help="the job file")
    for name in ("ca", "certificate", "key"):
        parser.add_argument(f"--{name}", type=pathlib.Path, help="PEM file, for TLS")
    arguments = parser.parse_args()
    tls = Tls(arguments.ca, arguments.certificate, arguments.key) if arguments.ca else None
    with Client(arguments.coordinator, tls=tls) as client:
        sizes = client.dry_run(arguments.job).sizes
        print(f"a learner needs {sizes.learner_bytes} bytes, a push {sizes.push_bytes}")
        job_id = client.submit(arguments.job)
        state = coordinator_pb2.JOB_STATE_UNSPECIFIED
        for status in client.watch(job_id):
            for step in status.steps:
                print(f"{job_id}: step {step.step} of {status.total_steps}, "
                      f"loss {step.values['loss']:.4f}", flush=True)
            state = status.state
        print(f"{job_id}: {coordinator_pb2.JobState.Name(state)}")
        for event in client.events(job_id):
            print(f"  {event.kind}: {event.text}")
    return 0 if state == coordinator_pb2.SUCCEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
