#!/usr/bin/env bash
# Builds a Kubernetes control plane (etcd, kube-apiserver, kube-controller-manager, kube-scheduler),
# kubectl and KWOK (nodes and pods without machines) from Go modules pinned here. Does nothing when
# they are there; prints their folder. The first time takes about 10 minutes of CPU, 2 GiB of memory
# and 8 GB of disk under Go's own caches; 350 MB are kept.
#
#   DTRPO_CACHE     where the programs are kept; default ~/.cache/dtrpo
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kubernetes=v1.36.3
kwok=v0.8.0
cache=${DTRPO_CACHE:-$HOME/.cache/dtrpo}
# Whatever decides what is built is in the name.
version=$kubernetes-$(cat "$here"/build.sh "$here"/go.* "$here"/etcd/go.* | sha256sum | cut -c1-8)
target=$cache/kubecp-$version

if [[ -x $target/kube-apiserver ]]; then
  echo "$target"
  exit 0
fi

PATH=$("$here/../deps/go.sh"):$PATH
mkdir -p "$cache"
work=$(mktemp -d "$cache/.kubecp.XXXXXX")
trap 'rm -rf "$work"' EXIT
export CGO_ENABLED=0 GOFLAGS="-trimpath ${GOFLAGS:-}"

build() {  # build FOLDER PACKAGE [LINKER FLAGS]
  local started=$SECONDS
  nice go -C "$here/$1" build -ldflags "-s -w ${3:-}" -o "$work/$(basename "${2%/v3}")" "$2" >&2
  echo "kubecp: $2 built ($((SECONDS - started)) s)" >&2
}

build etcd go.etcd.io/etcd/server/v3
mv "$work/server" "$work/etcd"
started=$SECONDS
GOBIN=$work nice go install -ldflags "-s -w" sigs.k8s.io/kwok/cmd/kwok@$kwok >&2
echo "kubecp: kwok $kwok built ($((SECONDS - started)) s)" >&2
minor=${kubernetes#v1.}
said="-X k8s.io/component-base/version.gitVersion=$kubernetes \
  -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=${minor%.*}"
for program in kubectl kube-scheduler kube-controller-manager kube-apiserver; do
  build . k8s.io/kubernetes/cmd/$program "$said"
done

# One rename, so that a second caller never sees half a copy; the loser of a race drops its own.
chmod 755 "$work"
mv -T "$work" "$target" 2>/dev/null || [[ -x $target/kube-apiserver ]]
echo "$target"
