"""Runs a short job over TLS with a real Prometheus that scrapes every service each second, and asks it the query of
every panel for that job, of every variable and of every annotation as Grafana would: no error, and no panel without
data. What the services expose must be in a panel or a rule, and the other way round; series of calls exist before the
first call, and none comes later.

Usage: live_dashboards_test.py REPOSITORY BIN_DIR
"""

import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from cluster import started, wait_for

METRIC = re.compile(r"\b(?:dtrpo|process)_[a-z_0-9]*[a-z0-9]")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def get(url: str) -> dict:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def filled(expr: str, run: str) -> str:
    # A range of the whole job: on a slow machine the last evaluation alone may take minutes.
    for name, value in {"$__rate_interval": "15m", "$__interval": "15s", "$namespace": "test", "$run": run,
                        "$pod": ".*"}.items():
        expr = expr.replace(name, value)
    return expr


def page(member: dict) -> str:
    with urllib.request.urlopen(f"http://{member['metrics']}/metrics", timeout=20) as answer:
        return answer.read().decode()


def scraped_names(members: dict) -> set:
    names = {name for member in members.values() for name in re.findall(r"^# TYPE (\S+)", page(member), flags=re.M)}
    return {name for name in names if METRIC.fullmatch(name)}


def calls(members: dict) -> set:
    """(member, series) of every count of calls, without its value."""
    return {(name, series) for name, member in members.items()
            for series in re.findall(r"^(dtrpo_rpc_\w+_handled_total{.*}) ", page(member), flags=re.M)}


def write_config(path: pathlib.Path, repository: pathlib.Path, members: dict) -> None:
    targets = [{"targets": [member["metrics"]], "labels": {"namespace": "test", "pod": name}}
               for name, member in members.items()]
    config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
              "rule_files": [str(repository / "deploy/prometheus/rules.yaml")],
              "scrape_configs": [{"job_name": "dtrpo", "static_configs": targets}]}
    path.write_text(json.dumps(config))  # JSON is YAML


def main() -> None:
    repository, bin_dir = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as folder, started(repository, bin_dir, folder, "--tls") as cluster:
        config = pathlib.Path(folder) / "prometheus.yml"
        write_config(config, cluster.repository, cluster.members())
        address = f"127.0.0.1:{free_port()}"
        api = f"http://{address}/api/v1/"
        prometheus = subprocess.Popen(["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb",
                                       f"--web.listen-address={address}", "--log.level=warn"])
        try:
            check(cluster, api)
        finally:
            prometheus.terminate()
            prometheus.wait(timeout=60)


def check(cluster, api: str) -> None:
    def query(expr: str) -> dict:
        return get(api + "query?" + urllib.parse.urlencode({"query": filled(expr, job)}))

    def all_are_scraped() -> bool:
        try:
            targets = get(api + "targets")["data"]["activeTargets"]
        except urllib.error.URLError:  # it is starting
            return False
        return len(targets) == len(cluster.members()) and all(target["health"] == "up" for target in targets)

    # A short job would be over before the first scrape, and then no rate would ever have been.
    wait_for("Prometheus to have scraped every service", all_are_scraped, seconds=120)
    counted = calls(cluster.members())
    job = cluster.submit(steps=12)
    wait_for(f"job {job} to succeed",
             lambda: json.loads(cluster.ctl("--json", "get", job))["state"] == "SUCCEEDED", seconds=240)

    dashboards = [json.loads(path.read_text()) for path in (cluster.repository / "deploy/grafana").glob("*.json")]
    queries = {(board["title"], panel["title"], target["expr"]) for board in dashboards
               for panel in board["panels"] if panel["type"] != "row" for target in panel["targets"]}

    def all_have_data() -> bool:
        missing = []
        for board, panel, expr in sorted(queries):
            answer = query(expr)
            assert answer["status"] == "success", f"{board}, {panel}: {expr}: {answer}"
            if not answer["data"]["result"]:
                missing.append(f"{board}, {panel}: {expr}")
        print("\n".join(["queries without data:", *missing]), flush=True)
        return not missing

    # The scrape that saw the end of the job may be to come.
    wait_for(f"data in all of {len(queries)} queries", all_have_data, seconds=60, poll=2)

    for board in dashboards:
        for annotation in board["annotations"]["list"]:
            assert query(annotation["expr"])["status"] == "success", annotation
        for variable in board["templating"]["list"]:
            if variable["type"] != "query":
                continue
            metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
            assert any(label in series["metric"] for series in query(metric)["data"]["result"]), variable

    rules = get(api + "rules")["data"]["groups"][0]["rules"]
    assert rules and all(rule["health"] == "ok" for rule in rules), [r for r in rules if r["health"] != "ok"]

    shown = set(METRIC.findall(" ".join([expr for _, _, expr in queries] + [rule["query"] for rule in rules])))
    shown |= {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    names = scraped_names(cluster.members())
    members = cluster.members()
    for member, method in (("coordinator", "SubmitJob"), ("replay", "Insert"), ("rollout-0", "PushWeights"),
                           ("reference", "Score"), ("learner", "GetBatch")):
        assert any(who == member and f'"{method}"' in series for who, series in counted), (member, method)
    assert calls(members) == counted, f"came with the first call: {calls(members) - counted}"
    assert len(names) > 80, names
    assert not names - shown, f"exposed, but in no panel or rule: {names - shown}"
    series = {f"{name}{suffix}" for name in names for suffix in ("", "_bucket", "_sum", "_count")}
    asked = set(METRIC.findall(" ".join(expr for _, _, expr in queries)))
    assert not asked - series, f"in a panel, but nobody exposes it: {asked - series}"
    print(f"{len(queries)} queries, {len(names)} metrics, {len(rules)} rules")


if __name__ == "__main__":
    main()
