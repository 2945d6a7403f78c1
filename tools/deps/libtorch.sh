#!/usr/bin/env bash
# Fetches LibTorch from the pinned `torch` wheel and unpacks (does not install) what a CPU build
# needs into a cache outside the tree. Does nothing when it is there. Prints the folder.
#
#   DTRPO_LIBTORCH  your own LibTorch (a folder with include/ and lib/): nothing is fetched
#   DTRPO_CACHE     where the copy is kept; default ~/.cache/dtrpo
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
requirements=$here/libtorch-requirements.txt

if [[ -n ${DTRPO_LIBTORCH:-} ]]; then
  if [[ ! -f $DTRPO_LIBTORCH/lib/libtorch_cpu.so ]]; then
    echo "libtorch.sh: DTRPO_LIBTORCH=$DTRPO_LIBTORCH has no lib/libtorch_cpu.so" >&2
    exit 1
  fi
  echo "$DTRPO_LIBTORCH"
  exit 0
fi

cache=${DTRPO_CACHE:-$HOME/.cache/dtrpo}
version=$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' "$requirements")
# cmake/FindLibTorch.cmake computes the same name.
target=$cache/libtorch-$version-$(sha256sum "$requirements" | cut -c1-8)

if [[ -f $target/lib/libtorch_cpu.so ]]; then
  echo "$target"
  exit 0
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/.libtorch.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Debian's python3 has no pip of its own; a throw-away environment does. The wheel is chosen by
# tags, not by the local Python: only headers and shared libraries are used.
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip --disable-pip-version-check --quiet download \
  --no-deps --require-hashes --requirement "$requirements" --only-binary=:all: \
  --implementation cp --abi cp311 --abi none --python-version 3.11 \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 \
  --platform manylinux2014_x86_64 --dest "$work" >&2

# google/ is an old protobuf and would shadow the system's; pybind11/ is of no use without Python.
unzip -q "$work"/torch-*.whl 'torch/include/*' 'torch/lib/libc10.so' 'torch/lib/libtorch.so' \
  'torch/lib/libtorch_cpu.so' 'torch/lib/libgomp.so.1' '*.dist-info/licenses/*' \
  -x 'torch/include/google/*' 'torch/include/pybind11/*' -d "$work"
unzip -q -j "$work"/nvidia_cuda_runtime-*.whl 'nvidia/cu13/lib/libcudart.so.*' -d "$work/torch/lib"
unzip -q -j "$work"/nvidia_cuda_cupti-*.whl 'nvidia/cu13/lib/libcupti.so.*' -d "$work/torch/lib"
mv "$work"/torch-*.dist-info/licenses "$work/torch/licenses"

# One rename, so that a second caller never sees half a copy; the loser of a race drops its own.
mv -T "$work/torch" "$target" 2>/dev/null || [[ -f $target/lib/libtorch_cpu.so ]]
echo "$target"
