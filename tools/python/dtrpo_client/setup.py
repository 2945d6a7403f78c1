"""Makes the typed stubs of the job API when the package is built: dtrpo_client.v1.*_pb2."""

import pathlib
import subprocess
import sys
import sysconfig
import tempfile

from setuptools import setup
from setuptools.command.build_py import build_py

PROTOS = pathlib.Path(__file__).resolve().parent.parent.parent.parent / "proto" / "dtrpo" / "v1"
USED = ("common", "job", "weights", "coordinator")  # the coordinator's and what it imports


def make_stubs(folder: pathlib.Path) -> None:
    """Writes dtrpo_client/v1/*_pb2.py, the gRPC half and the .pyi files below `folder`."""
    scripts = pathlib.Path(sysconfig.get_path("scripts"))
    with tempfile.TemporaryDirectory() as work:
        package = pathlib.Path(work) / "dtrpo_client" / "v1"
        package.mkdir(parents=True)
        for name in USED:
            text = (PROTOS / f"{name}.proto").read_text()
            # A package of their own, beside which others made of the same files can be installed.
            (package / f"{name}.proto").write_text(
                text.replace('import "proto/dtrpo/v1/', 'import "dtrpo_client/v1/'))
        options = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={work}", *options,
             f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
             f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
             *map(str, sorted(package.glob("*.proto")))],
            check=True)
    (folder / "dtrpo_client" / "v1" / "__init__.py").touch()


class BuildWithStubs(build_py):
    def run(self) -> None:
        super().run()
        make_stubs(pathlib.Path(self.build_lib))


setup(cmdclass={"build_py": BuildWithStubs})
