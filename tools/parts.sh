#!/usr/bin/env bash
# Installs the Debian packages that a purpose needs and that are missing; says which. Purposes: python node demo test bench vm.
set -euo pipefail

declare -A PACKAGES=(
  [python]="python3 python3-venv"
  [node]="containerd runc"
  [demo]="busybox-static"
  [test]="busybox-static iproute2 procps strace docker-registry skopeo tini"
  [bench]="docker.io"
  [vm]="qemu-system-x86 qemu-utils mmdebstrap e2fsprogs"
)

missing=()
for purpose in "$@"; do
  for package in ${PACKAGES[$purpose]}; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" && continue
    # A program that is there by other means serves as well.
    case $package in
      python3) command -v python3 >/dev/null && continue ;;
      python3-venv) python3 -c 'import ensurepip' 2>/dev/null && continue ;;
      containerd | runc | strace | tini) command -v "$package" >/dev/null && continue ;;
    esac
    missing+=("$package")
  done
done

[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ]; then
  echo "these packages are missing and only root can install them: ${missing[*]}" >&2
  exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# A service that the package would start has no place on a machine that only tests: the suite starts its own.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d.setpoint
chmod +x /usr/sbin/policy-rc.d.setpoint
[ -e /usr/sbin/policy-rc.d ] || { mv /usr/sbin/policy-rc.d.setpoint /usr/sbin/policy-rc.d; trap 'rm -f /usr/sbin/policy-rc.d' EXIT; }
rm -f /usr/sbin/policy-rc.d.setpoint
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
