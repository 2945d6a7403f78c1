"""Serves the rewards of modules: python -m dtrpo_rewards MODULE... (docs/rewards.md)."""

import argparse
import importlib
import os
import sys

from dtrpo_rewards.registry import REWARDS
from dtrpo_rewards.server import serve

SHIPPED = ("math", "ifeval", "code")


def main() -> None:
    parser = argparse.ArgumentParser(prog="dtrpo-rewards", description=__doc__)
    parser.add_argument("modules", nargs="+", metavar="MODULE",
                        help="a module with @reward functions, found as by `import` or in this folder; "
                        f"or one that comes with the package: {', '.join(SHIPPED)}; "
                        "several as words or with commas")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT",
                        help="default 127.0.0.1:0, a free port")
    parser.add_argument("--workers", type=int, default=2, help="worker processes; default 2")
    parser.add_argument("--port-file", help="where the address is written, once it serves")
    parser.add_argument("--health-listen", default="", metavar="HOST:PORT",
                        help="a second port, in plain text, for probes: grpc.health.v1, live and ready")
    parser.add_argument("--tls", nargs=3, metavar=("CERTIFICATE", "KEY", "CA"),
                        help="PEM files, read again when they change; callers must have a certificate "
                        "of that CA, of role rollout, client or admin")
    parser.add_argument("--insecure", action="store_true",
                        help="allows an address that isn't loopback without --tls")
    parser.add_argument("--list", action="store_true",
                        help="prints the rewards of the modules instead of serving them")
    arguments = parser.parse_args()
    sys.path.insert(0, os.getcwd())
    modules = [f"dtrpo_rewards.{name}_rewards" if name in SHIPPED else name
               for word in arguments.modules for name in word.split(",")]
    for module in modules:
        importlib.import_module(module)
    if arguments.list:
        for entry in REWARDS.values():
            print(f"{entry.name}: {entry.description}")
        return
    serve(arguments.listen, workers=arguments.workers, modules=modules,
          tls=tuple(arguments.tls) if arguments.tls else None, insecure=arguments.insecure,
          health_address=arguments.health_listen, port_file=arguments.port_file)


if __name__ == "__main__":
    main()
