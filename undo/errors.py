"""What an undo refuses, one class per fact. The docstring is the message; {} takes the value.

UndoError
    UsageError: the request itself is wrong
    NotPossible: this database or this role cannot do it
"""


class UndoError(Exception):
    """The undo failed."""

    sqlstate = "RB001"

    def __init__(self, *values: object) -> None:
        super().__init__((type(self).__doc__ or "").format(*values))


class UsageError(UndoError):
    """{}"""


class UnknownTag(UsageError):
    """no change and no gap has the tag {!r}"""


class UnknownSession(UsageError):
    """no session "{}" is known: a session is PID.MICROS, as SHOW SESSIONS lists it"""


class UnknownTransaction(UsageError):
    """nothing is recorded of transaction {}"""


class UnknownRelation(UsageError):
    """no table "{}" is known here"""


class UnknownColumn(UsageError):
    """no column "{}" is known here: name it as table.column"""


class UnknownRole(UsageError):
    """no role "{}" is known here"""


class UnknownApplication(UsageError):
    """no session of an application "{}" is known"""


class UnknownAddress(UsageError):
    """no session of a client at {} is known"""


class UnknownStatement(UsageError):
    """no statement with {!r} in it is known: those that passed no proxy are not"""


class UnknownRestorePoint(UsageError):
    """no restore point "{}" is known"""


class UnknownUndo(UsageError):
    """no undo {} is known"""


class AlreadyRedone(UsageError):
    """undo {} was redone already, by {}"""


class NothingSelected(UsageError):
    """nothing is selected: name a tag, a session, transactions, times, tables or a role"""


class UnknownPolicy(UsageError):
    """no policy "{}" is known: one of {}"""


class UndoAmongOthers(UsageError):
    """transaction {} is itself an undo: take it back alone, by its id, without other selectors"""


class NothingToFence(UsageError):
    """a fence holds back a TAG, a ROLE or an APPLICATION, or what several of them fit together, and
    none is named: add one; an undo by other selectors can follow a FENCE of its own"""


class AlreadyFenced(UsageError):
    """that is fenced already, by {} at {}"""


class NotFenced(UsageError):
    """no fence was set with these selectors: SHOW FENCES lists those that stand"""


class NotIgnored(UsageError):
    """{} is not on the list: SHOW IGNORED has those that are"""


class NotInBin(UsageError):
    """nothing in the bin is or was called {!r}: SHOW BIN (hotrollback bin list) shows what is"""


class AmbiguousInBin(UsageError):
    """{!r} is several things in the bin: name one by its id: {}"""


class NameTaken(UsageError):
    """{} is there already: bring it back under another name with AS (--as)"""


class NoSchema(UsageError):
    """schema "{}" is not there: make it, or bring it back into another one with AS (--as)"""


class OnlyValues(UsageError):
    """{} are values of a column, which come back with the undo of what took them away"""


class BadFilter(UsageError):
    """{}"""


class NotPossible(UndoError):
    """{}"""


class NotInstalled(NotPossible):
    """the undo log is not installed in this database: run hotrollback install"""


class ForeignLog(NotPossible):
    """the log was written in another cluster or database (system identifier {}, this is {}):
    its transactions and relations mean something else here, so it can be read but not undone.
    hotrollback uninstall, then install, begin a log of this database"""


class NeedsReplicaRole(NotPossible):
    """{} can only be restored while its triggers or foreign keys are off, and this role may not
    SET session_replication_role: GRANT SET ON PARAMETER session_replication_role TO it"""


class AlwaysTrigger(NotPossible):
    """{} has a trigger or rule that is enabled ALWAYS ({}): it would act again during the undo"""


class LagUnknown(NotPossible):
    """how far standbys lag is not shown to this role: GRANT pg_monitor TO it"""


class BinHolds(NotPossible):
    """the bin still holds {}, which nothing would find again without the log: bring back what is
    wanted (hotrollback bin restore) and let go of the rest (hotrollback bin purge, and by their
    names those that are pinned) while a proxy serves; or, to let go of it all, DROP SCHEMA
    hotrollback_bin CASCADE. Nothing was changed"""


class BinNeeded(NotPossible):
    """what is in use is in schema hotrollback_bin, since something else had its name when the table
    that needs it came back: {}. Give it another name (ALTER .. RENAME TO) and a schema of yours
    (ALTER .. SET SCHEMA). No table was changed"""


class StillNeeded(NotPossible):
    """{} cannot go: {} needs it, and is not in the bin"""


class PlanNotMet(UndoError):
    """{} on {}: {} rows were planned and {} were touched; everything was rolled back"""


class NotRestored(UndoError):
    """{}: {} rows are not what they were meant to be after the undo; everything was rolled back"""


class Refused(UndoError):
    """the server refused a row: {}. Nothing was changed"""


class NotReversible(UndoError):
    """the schema cannot be what it was: {}. Nothing was changed"""


class NoRole(UndoError):
    """{} comes back with rights of {}, and there is no such role any more: CREATE ROLE, and try
    again. Nothing was changed"""


class RowsLocked(UndoError):
    """rows of the selection are locked by a transaction that did not end within {}: nothing was
    changed. See who it is in pg_stat_activity, and try again"""


class NoScript(UndoError):
    """there is no script of this undo: {}"""


class PlanMoved(UndoError):
    """the plan no longer holds: {}. Make a new one, and look at it"""


class StillOpen(UndoError):
    """transactions that may belong to the selection did not end within {}: {}. Nothing was
    changed"""


class TooBusy(UndoError):
    """the rows changed faster than they could be locked ({} attempts); nothing was changed"""


class CutOff(UndoError):
    """{} batches of undo {} are done and stay done, but it could not go on: {}. The same request
    continues it; REDO {} takes it back"""


class RedoCutOff(UndoError):
    """{} batches are redone and stay so, but it could not go on: {}. The same REDO continues"""
