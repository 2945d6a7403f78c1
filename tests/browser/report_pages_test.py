#!/usr/bin/env python3
"""Two evaluations of the example's base model and their comparison, opened and clicked through in
Chromium: what the pages show is what the JSON files say, and they ask for nothing but themselves.

Usage: report_pages_test.py SOURCE_DIR BIN_DIR
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

from chromium import Chromium

SOURCE = pathlib.Path(sys.argv[1])
BIN = pathlib.Path(sys.argv[2])
HOME, END = 36, 35  # key codes

VISIBLE = "[...document.querySelectorAll('{}')].filter(e => e.checkVisibility()).length"


def dtrpo(*arguments: str) -> str:
    result = subprocess.run([BIN / "dtrpo", *arguments], capture_output=True, text=True,
                            timeout=300, check=False)
    if result.returncode != 0:
        raise AssertionError(f"dtrpo {' '.join(arguments)}: {result.stderr}")
    return result.stdout


class ReportPagesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="dtrpo_browser_")
        folder = pathlib.Path(cls.scratch.name)
        for name, policies in (("a", "--thresholds=0.6,1"), ("b", "--thresholds=0.3,1")):
            dtrpo("eval", "--model", str(SOURCE / "examples/arithmetic/base"), "--data",
                  str(SOURCE / "examples/evaluation/sums.jsonl"), "--layout", "gsm8k", "--template",
                  str(SOURCE / "examples/evaluation/sums_template.txt"), "--verifier", "number",
                  "--max-new-tokens", "4", "--threads", "1", policies, "--run", str(folder / name))
        dtrpo("compare", str(folder / "a"), str(folder / "b"), "--unmask-a", "threshold:0.6",
              "--unmask-b", "threshold:0.3", "--output", str(folder / "compared"))
        cls.folder = folder
        cls.browser = Chromium(str(folder / "profile"))

    @classmethod
    def tearDownClass(cls):
        cls.browser.__exit__()
        cls.scratch.cleanup()

    def open(self, path: pathlib.Path) -> None:
        self.browser.open(path.as_uri())
        self.page = path.as_uri()

    def tearDown(self):
        for method, params in self.browser.events:
            self.assertNotEqual(method, "Runtime.exceptionThrown", params)
            if method == "Log.entryAdded":
                self.assertNotEqual(params["entry"]["level"], "error", params)
            if method == "Network.requestWillBeSent":
                self.assertEqual(params["request"]["url"], self.page)

    def visible(self, selector: str) -> int:
        return self.browser.evaluate(VISIBLE.format(selector))

    def check_slider(self, view: str) -> None:
        """Takes an open answer back to before its first step and to its end."""
        slider = f"{view}.querySelector('input')"
        pieces = self.browser.evaluate(f"{view}.querySelectorAll('.piece').length")
        masked = f"{view}.querySelectorAll('.piece.masked').length"
        self.assertGreater(pieces, 0)
        self.assertEqual(self.browser.evaluate(masked), 0)
        self.browser.click(slider)
        self.browser.press("Home", HOME)
        self.assertEqual(self.browser.evaluate(masked), pieces)
        self.assertEqual(self.browser.evaluate(f"{view}.querySelector('output').value"), "0")
        self.browser.press("End", END)
        self.assertEqual(self.browser.evaluate(masked), 0)

    def test_the_report_of_a_run_has_table_plot_and_answers(self):
        self.open(self.folder / "a" / "report.html")
        policies = json.loads((self.folder / "a" / "summary.json").read_text())["policies"]
        self.assertEqual([p["unmask"] for p in policies], ["threshold:0.6", "threshold:1"])
        table = self.browser.evaluate("document.querySelector('#policies').innerText")
        for policy in policies:
            self.assertIn(f"{policy['estimates'][0]['value'] * 100:.1f} %", table)
            self.assertIn(f"{policy['tokens_per_forward']:.3f}", table)
        self.assertEqual(self.visible("#efficiency circle"), len(policies))

        every = self.visible("#answers > details")
        self.browser.click("document.querySelector('button[data-show=is-wrong]')")
        wrong = self.visible("#answers > details")
        self.browser.click("document.querySelector('button[data-show=is-right]')")
        self.assertEqual(self.visible("#answers > details.is-wrong"), 0)
        self.assertEqual(self.visible("#answers > details") + wrong, every)
        self.assertEqual(self.visible("#answers .denoising"), 0)  # closed
        first = "document.querySelector('#answers > details.is-right')"
        self.browser.click(f"{first}.querySelector('summary')")
        self.assertEqual(self.visible("#answers .denoising"), 1)
        self.check_slider(f"{first}.querySelector('.denoising')")

    def test_the_comparison_shows_what_flipped_with_both_answers_side_by_side(self):
        self.open(self.folder / "compared" / "comparison.html")
        policy = json.loads((self.folder / "compared" / "comparison.json").read_text())["policies"][0]
        flipped = len(policy["gained"]) + len(policy["lost"])
        self.assertGreater(flipped, 0, "choose thresholds that differ")
        every = self.visible("#questions-0 > details")
        self.assertEqual(every, min(100, policy["differences"][0]["questions"] - flipped) + flipped)
        for kind in ("gained", "lost"):
            self.browser.click(f"document.querySelector('button[data-show={kind}]')")
            self.assertEqual(self.visible("#questions-0 > details"), len(policy[kind]))
            names = self.browser.evaluate(
                "[...document.querySelectorAll('#questions-0 > details:not([hidden]) > summary')]"
                ".map(e => e.textContent.split(':')[0])")
            self.assertEqual(names, policy[kind])

        self.browser.click("document.querySelector('button[data-show=\"\"]')")
        self.assertEqual(self.visible("#questions-0 > details"), every)
        item = "document.querySelector('details.gained, details.lost')"
        self.browser.click(f"{item}.querySelector('summary')")
        self.assertEqual(self.visible(".two .denoising"), 2)
        top, other = (f"{item}.querySelectorAll('.two > div')[{i}].getBoundingClientRect()"
                      for i in (0, 1))
        self.assertTrue(self.browser.evaluate(f"{top}.top === {other}.top && "
                                              f"{top}.right <= {other}.left"))
        self.check_slider(f"{item}.querySelectorAll('.denoising')[1]")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
