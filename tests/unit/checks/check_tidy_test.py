"""Plants one finding at a time in a small repository and sees that check_tidy names it."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tools"))
import check_tidy  # noqa: E402

CLEAN = {
    "common/base/CMakeLists.txt": "dtrpo_library(NAME common_base SRCS a.cc HDRS a.h)\n",
    "common/base/a.h": "#pragma once\n",
    "common/base/a.cc": '#include "common/base/a.h"\n',
    "README.md": "See build/release/work/model and https://example.org/home/page.\n",
}


class CheckTidyTest(unittest.TestCase):
    def check(self, changes: dict[str, str]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder).resolve()
            for name, text in (CLEAN | changes).items():
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return check_tidy.check(root)

    def assert_finds(self, expected: str, changes: dict[str, str]):
        errors = self.check(changes)
        self.assertTrue(any(expected in error for error in errors), f"{expected!r} not in {errors}")

    def test_accepts_a_tidy_repository(self):
        self.assertEqual(self.check({}), [])

    def test_finds_a_file_that_is_never_built(self):
        self.assert_finds("tests/unit/base/b_test.cc:1: named by no CMakeLists.txt",
                          {"tests/unit/base/b_test.cc": "int x;\n"})

    def test_does_not_take_a_commented_name_for_a_registration(self):
        self.assert_finds("common/base/b.cc:1: named by no CMakeLists.txt",
                          {"common/base/b.cc": "int x;\n",
                           "common/base/CMakeLists.txt":
                           "dtrpo_library(NAME common_base SRCS a.cc HDRS a.h)  # b.cc\n"})

    def test_knows_the_main_file_of_a_fuzzer(self):
        files = {"tests/fuzz/json_fuzz.cc": "int x;\n"}
        self.assert_finds("tests/fuzz/json_fuzz.cc:1: named by no CMakeLists.txt", files)
        files["tests/fuzz/CMakeLists.txt"] = "dtrpo_fuzzer(NAME json SRCS a.cc)\n"
        self.assertEqual(self.check(files), [])

    def test_finds_a_long_file(self):
        self.assert_finds("common/base/a.cc:450: 451 lines", {"common/base/a.cc": "\n" * 451})

    def test_finds_leftovers(self):
        self.assert_finds("common/base/a.cc:2: unfinished work",
                          {"common/base/a.cc": "int x;\n// TO" "DO: more\n"})

    def test_finds_paths_of_one_machine(self):
        self.assert_finds("README.md:1: absolute path", {"README.md": "cd /ho" "me/me/dtrpo\n"})

    def test_finds_headers_without_a_guard(self):
        self.assert_finds("common/base/a.h:1: no #pragma once", {"common/base/a.h": "int x;\n"})

    def test_finds_grpc_status_outside_the_service_shell(self):
        self.assert_finds("common/base/a.cc:1: grpc::Status belongs",
                          {"common/base/a.cc": "grpc::Status F();\n"})


if __name__ == "__main__":
    unittest.main()
