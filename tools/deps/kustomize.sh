#!/usr/bin/env bash
# Builds kustomize, which renders deploy/ for the tests, into a cache outside the tree. Does nothing
# when it is there. Prints the program.
#
#   DTRPO_CACHE     where it is kept; default ~/.cache/dtrpo
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=v5.7.1
cache=${DTRPO_CACHE:-$HOME/.cache/dtrpo}
target=$cache/kustomize-$version

if [[ ! -x $target/kustomize ]]; then
  PATH=$("$here/go.sh"):$PATH
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/.kustomize.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  CGO_ENABLED=0 GOBIN=$work go install -trimpath -ldflags "-s -w" \
    "sigs.k8s.io/kustomize/kustomize/v5@$version" >&2
  mkdir -p "$target"
  mv "$work/kustomize" "$target/kustomize"
fi
echo "$target/kustomize"
