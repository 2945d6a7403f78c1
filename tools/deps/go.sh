#!/usr/bin/env bash
# Prints the folder of a Go that the Go programs of the tests (kustomize, the Kubernetes control
# plane) can be built with. Without one in PATH: Debian's is too old for them but can fetch a newer
# toolchain as the Go module that it is published as, checked against Go's checksum database.
#
#   DTRPO_CACHE     where the toolchain is kept; default ~/.cache/dtrpo
set -euo pipefail

wanted=1.26.3
cache=${DTRPO_CACHE:-$HOME/.cache/dtrpo}
target=$cache/go-$wanted

new_enough() {
  [[ $(printf '%s\n' "$1" "$wanted" | sort -V | head -n1) == "$wanted" ]]
}

present=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true)
if [[ -n $present ]] && new_enough "${present#go}"; then
  dirname "$(command -v go)"
  exit 0
fi

if [[ ! -x $target/bin/go ]]; then
  if [[ -z $present ]]; then
    echo "go.sh: no go in PATH; tools/deps/install.sh installs Debian's" >&2
    exit 1
  fi
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/.go.XXXXXX")
  trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
  module=golang.org/toolchain@v0.0.1-go$wanted.linux-amd64
  GOTOOLCHAIN=local GOMODCACHE=$work/modules go mod download "$module" >&2
  cp -r "$work/modules/$module" "$work/go"
  chmod -R u+w "$work/go"
  chmod +x "$work"/go/bin/* "$work"/go/pkg/tool/*/*  # a module's files aren't executable
  mv -T "$work/go" "$target" 2>/dev/null || [[ -x $target/bin/go ]]
fi
echo "$target/bin"
