"""Names of the log: schema, tables, columns, op letters, triggers. The only place that spells them
for Python; the migrations spell them for SQL.
"""

from typing import Final

SCHEMA: Final = "hotrollback"
BIN: Final = "hotrollback_bin"

CHANGE: Final = "hotrollback.change"
COMMAND: Final = "hotrollback.command"
GAP: Final = "hotrollback.gap"
SESSION: Final = "hotrollback.session"
STATEMENT: Final = "hotrollback.statement"
RELATION: Final = "hotrollback.relation"
RESTORE_POINT: Final = "hotrollback.restore_point"
UNDO: Final = "hotrollback.undo"
UNDONE: Final = "hotrollback.undone"
META: Final = "hotrollback.meta"
EPOCH: Final = "hotrollback.epoch"

INSERT: Final = "I"
UPDATE: Final = "U"
DELETE: Final = "D"
OPS: Final = (INSERT, UPDATE, DELETE)
# Of whole tables: made, and moved away by an undo.
CREATE: Final = "C"
REMOVE: Final = "B"
MOVES: Final = (CREATE, REMOVE)

# What a writer may give; the rest says who it is and comes from defaults.
GIVEN: Final = (
    "old_tid",
    "new_tid",
    "relid",
    "new_relid",
    "key",
    "fingerprint",
    "op",
    "stale",
    "before",
    "after",
)

# A row without its images: the log was full when it was written, and a gap says so.
NOT_KEPT: Final = "-"

# In the text of a statement that records its rows itself, so that their triggers need not
# (unrecorded_v1 in 0005_triggers.sql); in no other text of ours.
RECORDS_ITSELF: Final = "hotrollback_w"
CAPTURE_TRIGGER: Final = "hotrollback_capture"
TRUNCATE_TRIGGER: Final = "hotrollback_truncate"
TABLE_TRIGGERS: Final = (CAPTURE_TRIGGER, TRUNCATE_TRIGGER)
FULL_TRIGGER: Final = "hotrollback_full"  # on a partition of the log
EVENT_TRIGGERS: Final = ("hotrollback_ddl", "hotrollback_drop")
PARTITION_PREFIX: Final = "change_"
LATER: Final = "change_later"  # the partition of all days that have none of their own yet

# Taken by install, uninstall and upkeep; held shared by a proxy that serves the database.
LOCK_INSTALL: Final = 0x686F74726F6C6C01
LOCK_SERVING: Final = 0x686F74726F6C6C02
LOCK_UNDO: Final = 0x686F74726F6C6C03
# With the number of a fence: held by the undo that it is for.
LOCK_FENCE: Final = 0x686F7473
