"""Makes a tar with the image busybox:stable from the host's static busybox (Debian: busybox-static). No registry, no builder.

python examples/image.py busybox.tar && setpoint image load busybox.tar
"""

import sys
from pathlib import Path

from setpoint.testing.images import busybox_archive

REFERENCE = "docker.io/library/busybox:stable"

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: image.py FILE.tar")
    busybox_archive(Path(sys.argv[1]), reference=REFERENCE)
    print(f"wrote {sys.argv[1]} with {REFERENCE}")
