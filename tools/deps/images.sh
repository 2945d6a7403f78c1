#!/usr/bin/env bash
# Installs what builds and runs the images without a container engine's daemon (tools/test.sh
# --images). Does nothing when it is there. Run as root.
set -euo pipefail

packages=(buildah podman runc debootstrap catatonit)
if ! dpkg-query -W "${packages[@]}" >/dev/null 2>&1; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq -o DPkg::Lock::Timeout=120 update
  apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "${packages[@]}" >/dev/null
fi
