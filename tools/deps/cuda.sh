#!/usr/bin/env bash
# Fetches what compiling and linking for NVIDIA GPUs needs (no GPU, driver or toolkit): LibTorch's
# GPU part and headers, into a cache outside the tree. Does nothing when it is there. Prints the
# folder. About 1.7 GB are fetched and 0.5 GB kept. A machine that runs the programs needs the rest
# of the wheels too: `pip install torch==2.11.0` brings them.
#
#   DTRPO_CACHE     where the copy is kept; default ~/.cache/dtrpo
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
requirements=$here/cuda-requirements.txt
cache=${DTRPO_CACHE:-$HOME/.cache/dtrpo}
# cmake/FindLibTorchCuda.cmake computes the same name.
target=$cache/libtorch-cuda-$(sha256sum "$requirements" | cut -c1-8)

if [[ -f $target/lib/libtorch_cuda.so ]]; then
  echo "$target"
  exit 0
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/.cuda.XXXXXX")
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
mkdir -p "$work/out/lib" "$work/out/include"
# One wheel at a time, so that the disk holds only the largest beside what is kept.
while read -r line; do
  [[ -z $line || $line == \#* ]] && continue
  echo "$line" >"$work/one.txt"
  "$work/venv/bin/python" -m pip --disable-pip-version-check --quiet download \
    --no-deps --require-hashes --requirement "$work/one.txt" --only-binary=:all: \
    --implementation cp --abi cp311 --abi none --python-version 3.11 \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
    --platform manylinux_2_25_x86_64 --platform manylinux_2_18_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --dest "$work" >&2
  case $line in
    torch==*) unzip -q -j "$work"/torch-*.whl torch/lib/libtorch_cuda.so torch/lib/libc10_cuda.so \
                torch/lib/libtorch_cuda_linalg.so -d "$work/out/lib" ;;
    *) unzip -q -o "$work"/*.whl 'nvidia/*/include/*' -d "$work"
       cp -r "$work"/nvidia/*/include/. "$work/out/include/"
       if unzip -l "$work"/*.whl | grep -q 'libcudart\.so'; then
         unzip -q -j "$work"/*.whl 'nvidia/cu13/lib/libcudart.so.*' -d "$work/out/lib"
       fi ;;
  esac
  rm -rf "$work"/*.whl "$work/nvidia"
done <"$requirements"

mv -T "$work/out" "$target" 2>/dev/null || [[ -f $target/lib/libtorch_cuda.so ]]
echo "$target"
