"""Plants one wrong arrow at a time in a small repository and sees that check_layers names it."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tools"))
import check_layers  # noqa: E402

CLEAN = {
    "common/base/CMakeLists.txt": "dtrpo_library(NAME common_base SRCS a.cc DEPS absl::status)\n",
    "common/base/a.cc": "#include <string>\n",
    "common/model/CMakeLists.txt":
        "dtrpo_library(NAME common_model TORCH SRCS m.cc DEPS common_base)\n",
    "common/model/m.cc": '#include "common/base/a.h"\n#include <torch/types.h>\n',
    "common/wire/CMakeLists.txt":
        "dtrpo_library(NAME common_wire SRCS w.cc DEPS dtrpo_proto gRPC::grpc++)\n",
    "common/wire/w.cc": '#include "proto/dtrpo/v1/replay.pb.h"\n#include <grpcpp/grpcpp.h>\n',
    "services/replay/CMakeLists.txt":
        "dtrpo_library(NAME replay_lib SRCS r.cc DEPS common_wire)\n"
        "dtrpo_binary(NAME dtrpo-replay SRCS main.cc DEPS replay_lib)\n",
    "services/replay/r.cc": '#include "common/wire/w.h"\n',
    "tools/CMakeLists.txt": "dtrpo_library(NAME cli_lib SRCS t.cc DEPS common_base)\n",
    "tools/t.cc": '#include "services/replay/r.h"\n',
}


class CheckLayersTest(unittest.TestCase):
    def check(self, changes: dict[str, str]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder).resolve()
            for name, text in (CLEAN | changes).items():
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return check_layers.check(root)

    def assert_finds(self, expected: str, changes: dict[str, str]):
        errors = self.check(changes)
        self.assertTrue(any(expected in error for error in errors), f"{expected!r} not in {errors}")

    def test_accepts_arrows_that_go_down(self):
        self.assertEqual(self.check({}), [])

    def test_finds_an_include_that_goes_up(self):
        self.assert_finds("common/base/a.cc:2: common/base may not include common/model/m.h",
                          {"common/base/a.cc": '#include <string>\n#include "common/model/m.h"\n'})

    def test_finds_a_service_that_includes_another(self):
        self.assert_finds("services/replay may not include services/learner/l.h",
                          {"services/replay/r.cc": '#include "services/learner/l.h"\n'})

    def test_finds_an_algorithm_room_that_knows_grpc(self):
        self.assert_finds("common/model/m.cc:1: common/model may not know gRPC",
                          {"common/model/m.cc": "#include <grpcpp/grpcpp.h>\n"})
        self.assert_finds("common/model may not include proto/dtrpo/v1/job.pb.h",
                          {"common/model/m.cc": '#include "proto/dtrpo/v1/job.pb.h"\n'})

    def test_finds_a_library_that_links_upwards(self):
        self.assert_finds("common/base/CMakeLists.txt:1: common_base may not link common_wire",
                          {"common/base/CMakeLists.txt":
                           "dtrpo_library(NAME common_base SRCS a.cc\n  DEPS common_wire)\n"})

    def test_finds_an_outside_library_linked_by_the_wrong_room(self):
        self.assert_finds("common_base may not link Prometheus",
                          {"common/base/CMakeLists.txt":
                           "dtrpo_library(NAME common_base SRCS a.cc DEPS prometheus-cpp::core)\n"})
        self.assert_finds("common_wire may not be a TORCH library",
                          {"common/wire/CMakeLists.txt":
                           "dtrpo_library(NAME common_wire TORCH SRCS w.cc)\n"})

    def test_finds_libtorch_behind_a_torch_free_program(self):
        self.assert_finds("LibTorch reached by dtrpo-replay -> replay_lib -> common_model",
                          {"services/replay/CMakeLists.txt":
                           "dtrpo_library(NAME replay_lib SRCS r.cc DEPS common_model)\n"
                           "dtrpo_binary(NAME dtrpo-replay SRCS main.cc DEPS replay_lib)\n"})

    def test_finds_a_room_that_is_not_in_the_table(self):
        self.assert_finds("room common/misc is not in the table", {"common/misc/x.cc": "int x;\n"})


if __name__ == "__main__":
    unittest.main()
