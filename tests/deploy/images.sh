#!/usr/bin/env bash
# tools/test.sh --images: builds the images, with the caches of this machine, and runs the test.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${DTRPO_CACHE:-$HOME/.cache/dtrpo}
"$here/../../tools/deps/images.sh"
python=$("$here/../../tools/deps/python.sh")/bin/python
mkdir -p "$cache/images"/{downloads,ccache,storage}
options=(--storage "$cache/images/storage"
         --volume "$cache/images/downloads:/var/cache/dtrpo"
         --volume "${CCACHE_DIR:-$cache/images/ccache}:/var/cache/ccache")
# Authorities of this machine's network, so that downloads inside the build are trusted, too.
if [[ -d /usr/local/share/ca-certificates ]]; then
  options+=(--volume /usr/local/share/ca-certificates:/usr/local/share/ca-certificates:ro)
fi
exec nice "$python" "$here/images_test.py" "${options[@]}" --jobs "$(nproc)"
