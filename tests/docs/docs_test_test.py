"""Tests of docs_test.py itself: it fails on what it should fail on."""

import pathlib
import tempfile
import unittest

import docs_test


def check(text: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        return docs_test.complaints(pathlib.Path(folder), docs_test.blocks("p.md", text))


class MarksTest(unittest.TestCase):
    def test_commands_without_a_mark_are_an_error_with_page_and_line(self) -> None:
        (wrong,) = check("words\n\n    dtrpoctl list\n")
        self.assertIn("p.md:3: commands", wrong)
        self.assertEqual(len(check("```\n$bin/dtrpo up\n```\n")), 1)

    def test_a_mark_counts_for_the_next_block_only(self) -> None:
        self.assertEqual(check("<!-- run -->\n\n    dtrpoctl list\n"), [])
        self.assertEqual(len(check("<!-- run -->\n\n    dtrpoctl list\n\nwords\n\n    dtrpoctl get\n")), 1)
        self.assertEqual(len(check("<!-- run -->\n\nwords\n\n    dtrpoctl list\n")), 1)

    def test_a_page_may_say_why_nothing_of_it_is_run(self) -> None:
        self.assertEqual(check("<!-- commands not run: a cluster -->\n\n    kubectl get pods\n"), [])

    def test_another_test_must_be_there(self) -> None:
        self.assertIn("there is no tests/x.py",
                      check("<!-- run by tests/x.py -->\n\n    dtrpoctl list\n")[0])

    def test_yaml_and_drawings_are_no_commands(self) -> None:
        self.assertEqual(check("```yaml\ntools/x: 1\n```\n\n    a --> b\n"), [])


class RunTest(unittest.TestCase):
    def run_text(self, text: str) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "examples").mkdir()
            (root / "tools/python").mkdir(parents=True)
            return docs_test.run_page(root, root, docs_test.blocks("p.md", text))

    def test_a_command_that_fails_is_told_with_its_output(self) -> None:
        (wrong,) = self.run_text("<!-- run -->\n\n    echo here; false\n")
        self.assertIn("ended with 1:\nhere", wrong)

    def test_blocks_share_a_folder_and_go_in_order(self) -> None:
        self.assertEqual(self.run_text(
            "<!-- run A=b -->\n\n    echo $A > file\n\nthen\n\n<!-- run -->\n\n    cat file | grep b\n"), [])

    def test_a_background_command_is_awaited_and_ended(self) -> None:
        self.assertEqual(self.run_text(
            "<!-- run until: up -->\n\n    echo up; sleep 100\n\n<!-- run -->\n\n    echo next\n"), [])


if __name__ == "__main__":
    unittest.main()
