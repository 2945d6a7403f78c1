"""Makes the typed stubs of proto/dtrpo/v1/reward.proto when the package is built."""

import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
PROTO = ROOT / "proto" / "dtrpo" / "v1" / "reward.proto"


def make_stubs(folder: pathlib.Path) -> None:
    """Writes dtrpo_rewards/reward_pb2.py, its gRPC half and both .pyi below `folder`."""
    # Beside this Python, or where pip's isolated build has it.
    beside = pathlib.Path(sysconfig.get_path("scripts")) / "protoc-gen-mypy"
    plugin = beside if beside.exists() else shutil.which("protoc-gen-mypy")
    with tempfile.TemporaryDirectory() as work:
        source = pathlib.Path(work) / "dtrpo_rewards" / "reward.proto"
        source.parent.mkdir()
        shutil.copy(PROTO, source)
        options = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={work}", *options,
             f"--plugin=protoc-gen-mypy={plugin}", f"--plugin=protoc-gen-mypy_grpc={plugin}_grpc",
             str(source)],
            check=True)


class BuildWithStubs(build_py):
    def run(self) -> None:
        super().run()
        make_stubs(pathlib.Path(self.build_lib))


setup(cmdclass={"build_py": BuildWithStubs})
