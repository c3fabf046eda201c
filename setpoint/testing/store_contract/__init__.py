"""The contract of :class:`state.store.Store`, as tests. Every store passes all of it, unchanged.

Use: subclass the classes below in a test module, and give them a fixture ``store`` that yields a fresh, open store whose
namespace ``default`` exists. Nothing here knows where objects are kept. A container in these tests stays as it was declared:
no reconciler may run beside it.
"""

from __future__ import annotations

from setpoint.testing.store_contract.applying import ApplyContract
from setpoint.testing.store_contract.creating import CreateContract
from setpoint.testing.store_contract.deleting import DeleteContract
from setpoint.testing.store_contract.objects import (
    CONFIGMAPS as CONFIGMAPS,
)
from setpoint.testing.store_contract.objects import (
    CONTAINERS as CONTAINERS,
)
from setpoint.testing.store_contract.objects import (
    DEADLINE_S as DEADLINE_S,
)
from setpoint.testing.store_contract.objects import (
    NO_UID as NO_UID,
)
from setpoint.testing.store_contract.objects import (
    Watching as Watching,
)
from setpoint.testing.store_contract.objects import (
    apply_one as apply_one,
)
from setpoint.testing.store_contract.objects import (
    configmap as configmap,
)
from setpoint.testing.store_contract.objects import (
    container as container,
)
from setpoint.testing.store_contract.objects import (
    key as key,
)
from setpoint.testing.store_contract.objects import (
    meta as meta,
)
from setpoint.testing.store_contract.objects import (
    namespace as namespace,
)
from setpoint.testing.store_contract.objects import (
    owners as owners,
)
from setpoint.testing.store_contract.objects import (
    release as release,
)
from setpoint.testing.store_contract.objects import (
    secret as secret,
)
from setpoint.testing.store_contract.objects import (
    set_status as set_status,
)
from setpoint.testing.store_contract.objects import (
    told as told,
)
from setpoint.testing.store_contract.objects import (
    watching as watching,
)
from setpoint.testing.store_contract.reading import ReadContract
from setpoint.testing.store_contract.updating import PatchContract, UpdateContract
from setpoint.testing.store_contract.watching import WatchContract


class StoreContract(CreateContract, ReadContract, UpdateContract, PatchContract, DeleteContract, ApplyContract, WatchContract):
    """All of it."""
