"""The committed dashboards and alert rules: made by their generator, complete, and of metrics that exist.

Usage: dashboards_test.py REPOSITORY
"""

import json
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(sys.argv.pop(1)).resolve()
GRAFANA = ROOT / "deploy/grafana"
RULES = ROOT / "deploy/prometheus/rules.yaml"
RULE_TESTS = ROOT / "deploy/prometheus/rules_test.yaml"
METRIC = re.compile(r"\b(?:dtrpo|process)_[a-z_0-9]*[a-z0-9]")
VARIABLES = {"datasource", "namespace", "run", "pod"}


def base_name(metric: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", metric)


def registered() -> set:
    """The names in the files that define metrics. Calls have two sides that are put together there."""
    files = [*ROOT.glob("services/*/*_metrics.*"), ROOT / "common/runtime/process_metrics.cc",
             ROOT / "common/rpc/call_metrics.cc", ROOT / "common/base/wait_states.cc"]
    names = {name for path in files for name in re.findall(r'"((?:dtrpo|process)_[a-z_0-9]*[a-z0-9])"', path.read_text())}
    suffixes = re.findall(r'prefix_ \+ "(_[a-z_]+)"', (ROOT / "common/rpc/call_metrics.cc").read_text())
    return names | {f"dtrpo_rpc_{side}{suffix}" for side in ("server", "client") for suffix in suffixes}


def panels():
    for path in sorted(GRAFANA.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            if panel["type"] != "row":
                yield path.name, panel


def expressions() -> str:
    of_panels = [target["expr"] for _, panel in panels() for target in panel["targets"]]
    return "\n".join(of_panels + re.findall(r"expr: (.*)", RULES.read_text()))


class DashboardsTest(unittest.TestCase):
    def test_files_are_what_the_generator_makes(self):
        done = subprocess.run([sys.executable, GRAFANA / "generate.py", "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_each_metric_is_in_a_panel_or_a_rule_and_no_panel_names_another(self):
        shown = set(METRIC.findall(expressions()))
        known = registered()
        self.assertGreater(len(known), 80)
        self.assertEqual(known - shown - {base_name(name) for name in shown}, set(), "in no panel and no rule")
        self.assertEqual({name for name in shown if name not in known and base_name(name) not in known}, set(),
                         "in a panel or rule, but nobody defines it")

    def test_panels_have_unit_description_and_the_variables_datasource(self):
        for name, panel in panels():
            with self.subTest(dashboard=name, panel=panel["title"]):
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                self.assertTrue(panel["description"].endswith("."))
                self.assertTrue(all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"]))
                self.assertTrue(all("[5m]" not in target["expr"] for target in panel["targets"]))

    def test_dashboards_have_the_variables_and_no_gaps(self):
        for path in GRAFANA.glob("*.json"):
            dashboard = json.loads(path.read_text())
            with self.subTest(dashboard=path.name):
                self.assertEqual({one["name"] for one in dashboard["templating"]["list"]}, VARIABLES)
                taken = set()
                for panel in dashboard["panels"]:
                    at = panel["gridPos"]
                    cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
                    self.assertFalse(taken & cells, panel["title"])
                    self.assertLessEqual(at["x"] + at["w"], 24)
                    taken |= cells

    def test_each_alert_is_drawn_has_a_runbook_page_and_a_unit_test(self):
        rules = RULES.read_text()
        alerts = re.findall(r"- alert: (\w+)", rules)
        self.assertEqual(len(alerts), len(set(alerts)))
        for word in ("for", "severity", "summary", "runbook_url"):
            self.assertEqual(len(re.findall(rf"\b{word}: ", rules)), len(alerts), word)
        self.assertEqual({path.stem for path in (ROOT / "docs/runbooks").glob("*.md")}, set(alerts))
        drawn = {name for _, panel in panels() for name in re.findall(r"Alert: (\w+)", panel["description"])}
        self.assertEqual(drawn, set(alerts))
        for name in alerts:
            with self.subTest(alert=name):
                page = (ROOT / f"docs/runbooks/{name}.md").read_text()
                self.assertRegex(page, rf"^# {name}\n\n\S[\s\S]+\n## Look at\n[\s\S]+\n## Do\n")
                self.assertEqual(len(re.findall(rf"alertname: {name}\b", RULE_TESTS.read_text())), 2)

    def test_thresholds_of_panels_are_those_of_the_rules(self):
        rules = dict(re.findall(r'- alert: (\w+)\n +expr: (".*")', RULES.read_text()))
        for name, panel in panels():
            found = re.search(r"Alert: (\w+)", panel["description"])
            if not found:
                continue
            drawn = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]][1]
            compared = [float(number) for number in re.findall(r"[<>]=? ([\d.e+]+)", json.loads(rules[found.group(1)]))]
            with self.subTest(dashboard=name, panel=panel["title"]):
                self.assertIn(drawn, compared)

    def test_the_rules_fire_when_they_should(self):
        for command in (["check", "rules", RULES], ["test", "rules", RULE_TESTS]):
            done = subprocess.run(["promtool", *command], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
