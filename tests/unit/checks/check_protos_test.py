"""Tests of tools/check_protos.py, and the check itself. Takes the path of buf."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUF = sys.argv.pop(1)


def run(root, *arguments):
    return subprocess.run(
        [sys.executable, ROOT / "tools/check_protos.py", "--buf", BUF, "--root", root, *arguments],
        capture_output=True, text=True, timeout=120, check=False)


class CheckProtosTest(unittest.TestCase):

    def setUp(self):
        self._temporary = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self._temporary.name)
        shutil.copytree(ROOT / "proto", self.root / "proto")
        shutil.copy(ROOT / "buf.yaml", self.root)

    def tearDown(self):
        self._temporary.cleanup()

    def change(self, name, old, new):
        path = self.root / "proto/dtrpo/v1" / name
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new, 1))

    def test_the_protocol_is_clean_and_breaks_nobody(self):
        result = run(ROOT)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_a_field_that_is_gone_is_found(self):
        self.change("common.proto", "string build = 3;", "")
        result = run(self.root)
        self.assertEqual(result.returncode, 1)
        self.assertIn('field "3" with name "build"', result.stdout)
        self.assertIn("breaks users of release", result.stderr)

    def test_an_rpc_that_is_gone_is_found(self):
        self.change("reference.proto", "rpc Score(ScoreRequest) returns (ScoreResponse);", "")
        result = run(self.root)
        self.assertEqual(result.returncode, 1)
        self.assertIn('"Score"', result.stdout)

    def test_a_name_in_another_style_is_found(self):
        self.change("common.proto", "string build = 3;", "string build = 3; string newField = 900;")
        result = run(self.root)
        self.assertEqual(result.returncode, 1)
        self.assertIn("newField", result.stdout)

    def test_a_release_that_was_cut_is_what_counts_from_then_on(self):
        self.change("common.proto", "string build = 3;", "string build = 3; string later = 900;")
        cut = run(self.root, "--release", "0.10.0")
        self.assertEqual(cut.returncode, 0, cut.stdout + cut.stderr)
        self.assertIn("proto/releases/0.10.0.binpb", cut.stdout)
        self.change("common.proto", " string later = 900;", "")
        self.assertEqual(run(self.root).returncode, 1)


if __name__ == "__main__":
    unittest.main()
