#!/usr/bin/env bash
# Fetches the definitions of cert-manager's and the Prometheus operator's objects that deploy/ uses, from
# the Go modules of both, checked against Go's checksum database. Does nothing when they are there. Prints
# their folder.
#
#   DTRPO_CACHE     where they are kept; default ~/.cache/dtrpo
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
certmanager=github.com/cert-manager/cert-manager@v1.18.2
prometheus=github.com/prometheus-operator/prometheus-operator@v0.85.0
cache=${DTRPO_CACHE:-$HOME/.cache/dtrpo}
target=$cache/crds-${certmanager##*@}-${prometheus##*@}

if [[ ! -d $target ]]; then
  PATH=$("$here/go.sh"):$PATH
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/.crds.XXXXXX")
  trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
  mkdir "$work/crds"
  export GOMODCACHE=$work/modules
  go mod download -modcacherw "$certmanager" "$prometheus" >&2
  cp "$GOMODCACHE/$certmanager"/deploy/crds/crd-{certificates,issuers}.yaml \
    "$GOMODCACHE/$prometheus"/example/prometheus-operator-crd/*_{podmonitors,prometheusrules}.yaml \
    "$work/crds"
  mv -T "$work/crds" "$target" 2>/dev/null || [[ -d $target ]]
fi
echo "$target"
