#!/usr/bin/env python3
"""Checks that the learner of the CUDA build has the GPU's collectives, and the ordinary one hasn't.

Neither program is started: the GPU's libraries are not on a machine without one.

Usage: tests/cuda/cuda_link_test.py <learner with CUDA> <learner>
"""

import subprocess
import sys


def needed(program: str) -> str:
    return subprocess.run(["readelf", "--dynamic", program], check=True, capture_output=True,
                          text=True).stdout


def wanted(program: str) -> str:
    """Symbols that the program takes from shared libraries."""
    return subprocess.run(["nm", "--demangle", "--dynamic", "--undefined-only", program],
                          check=True, capture_output=True, text=True).stdout


def main() -> int:
    with_cuda, without = sys.argv[1:]
    errors = []
    for library in ("libtorch_cuda.so", "libc10_cuda.so"):
        if library not in needed(with_cuda):
            errors.append(f"{with_cuda} doesn't need {library}")
        if library in needed(without):
            errors.append(f"{without} needs {library}")
    nccl = "c10d::ProcessGroupNCCL::ProcessGroupNCCL"
    if nccl not in wanted(with_cuda):
        errors.append(f"{with_cuda} doesn't use {nccl}")
    if nccl in wanted(without):
        errors.append(f"{without} uses {nccl}")
    for error in errors:
        print(error)
    if not errors:
        print("cuda_link_test: the CUDA build compiles and links, NCCL included")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
