"""How every table is captured, and why: for SHOW CAPTURE."""

from typing import Final

from undo.database import Database
from undo.triggers import WHY, needs

# With no other reasons than these, what is written to the table by name is still rewritten.
_BESIDES: Final = frozenset({"all_tables", "cascade", "view", "function"})


async def capture_state(db: Database) -> list[tuple[str, str, str]]:
    """(relation, how, why) of every table, by name. `how`: rewrite (the proxy records what passes),
    trigger (the table records whatever writes it), both with a comma (a trigger records what is not
    rewritten), none."""
    version = int(await db.fetchval("SELECT pg_catalog.current_setting('server_version_num')"))
    found = []
    for need in await needs(db):
        why = ", ".join(WHY.get(reason, reason) for reason in need.reasons)
        if "foreign_table" in need.reasons:
            found.append((need.relation, "none", why))
        elif need.enabled == "A":
            how = "rewrite, trigger" if _BESIDES.issuperset(need.reasons) else "trigger"
            found.append((need.relation, how, why or "attached earlier"))
        elif need.attached:
            found.append((need.relation, "none", "the capture trigger is disabled: run install"))
        elif version < 180000:
            told = "INSERT and DELETE only; UPDATE needs the capture trigger: run install"
            found.append((need.relation, "rewrite", told))
        elif need.reasons:
            how = "rewrite" if _BESIDES.issuperset(need.reasons) else "none"
            found.append((need.relation, how, f"{why}; needs a capture trigger: run install"))
        else:
            found.append((need.relation, "rewrite", ""))
    return sorted(found)
