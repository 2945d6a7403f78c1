#!/usr/bin/env bash
# tools/test.sh --images [--target NAME].. : builds the images, with the caches of this machine, and runs
# the test.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${DTRPO_CACHE:-$HOME/.cache/dtrpo}
"$here/../../tools/deps/images.sh"
python=$("$here/../../tools/deps/python.sh")/bin/python
libtorch=$("$here/../../tools/deps/libtorch.sh")
ccache=$(ccache --get-config cache_dir)
mkdir -p "$cache/images"/{downloads,storage} "$ccache"
# The folders inside are those of any user's build, so that its objects are found again.
options=(--storage "$cache/images/storage"
         --volume "$cache/images/downloads:/root/.cache/dtrpo"
         --volume "$libtorch:/root/.cache/dtrpo/$(basename "$libtorch"):ro"
         --volume "$ccache:/root/.cache/ccache")
# Authorities of this machine's network, so that downloads inside the build are trusted, too.
if [[ -d /usr/local/share/ca-certificates ]]; then
  options+=(--volume /usr/local/share/ca-certificates:/usr/local/share/ca-certificates:ro)
fi
exec nice "$python" "$here/images_test.py" "${options[@]}" --jobs "$(nproc)" "$@"
