"""What is done about a conflict: one function a policy, from the kind of conflict to a resolution.

Pure. A new policy is a function in a file of its own and a row of POLICIES.
"""

from collections.abc import Callable
from typing import Final

from undo.model import Kind, Resolution
from undo.policies.abort import abort
from undo.policies.cascade import cascade
from undo.policies.force import force
from undo.policies.merge import merge
from undo.policies.skip import skip

Policy = Callable[[Kind], Resolution]

POLICIES: Final[dict[str, Policy]] = {
    "abort": abort,
    "skip": skip,
    "merge": merge,
    "cascade": cascade,
    "force": force,
}
