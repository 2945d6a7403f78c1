#!/usr/bin/env python3
"""Writes the dashboards (deploy/grafana/*.json) and the alert rules (deploy/prometheus/rules.yaml, and
as an object of the Prometheus operator in deploy/components/monitoring).

Usage: generate.py [--check]     --check: writes nothing, fails when a file isn't what would be written
"""

import pathlib
import sys
import textwrap

from alerts import rules_yaml
from dashboards import DASHBOARDS

HERE = pathlib.Path(__file__).resolve().parent
PROMETHEUS_RULE = """apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: dtrpo
spec:
"""


def outputs() -> dict:
    files = {HERE / f"{name}.json": make() for name, make in DASHBOARDS.items()}
    files[HERE.parent / "prometheus" / "rules.yaml"] = rules_yaml()
    files[HERE.parent / "components" / "monitoring" / "rules.yaml"] = (
        PROMETHEUS_RULE + textwrap.indent(rules_yaml(), "  "))
    return files


def main() -> int:
    stale = [path for path, text in outputs().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path} isn't what deploy/grafana/generate.py makes; run it", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(outputs()[path])
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
