#!/usr/bin/env bash
# Makes the virtual environment that the tests' Python programs run in (clients, TensorBoard's
# reader), in a cache outside the tree, from the pinned wheels of python-requirements.txt. Does
# nothing when it is there. Prints the folder; its Python is bin/python.
#
#   DTRPO_CACHE     where it is kept; default ~/.cache/dtrpo
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
requirements=$here/python-requirements.txt
cache=${DTRPO_CACHE:-$HOME/.cache/dtrpo}
# cmake/DtrpoPython.cmake computes the same name.
target=$cache/python-$(sha256sum "$requirements" | cut -c1-8)

if [[ -f $target/complete ]]; then
  echo "$target"
  exit 0
fi

mkdir -p "$cache"
# An environment knows its own path, so it is made in place, by one caller at a time.
exec 9>"$target.lock"
flock 9
if [[ ! -f $target/complete ]]; then
  rm -rf "$target"
  python3 -m venv "$target"
  "$target/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps \
    --only-binary=:all: --requirement "$requirements" >&2
  touch "$target/complete"
fi
echo "$target"
