"""The table of kinds of components: how one is made, dropped, given its name, and altered."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from undo.schema import attached, columns, others, relations
from undo.schema.component import Component, Image
from undo.schema.words import Statements

Make = Callable[[Component], Statements]
Change = Callable[[Component, Image], Statements]


def _nothing(_one: Component, _then: Image) -> Statements:
    return []


@dataclass(frozen=True, slots=True)
class Kind:
    """`rank`: what is made first, and dropped last. `anew`: what has another definition afterwards
    is dropped and made again."""

    rank: int
    create: Make
    drop: Make
    rename: Change
    alter: Change = _nothing
    last: Change = _nothing  # when all else is there
    replace: Change | None = None  # what may do instead of making it anew
    anew: tuple[str, ...] = ()  # fields of the image


_RENAME, _DROP = relations.rename, relations.drop
KINDS: Final[dict[str, Kind]] = {
    "extension": Kind(0, others.create_extension, others.drop_extension, others.rename_extension,
                      others.alter_extension),
    "schema": Kind(1, others.create_schema, others.drop, others.rename_schema, relations.common),
    "enum": Kind(2, others.create_enum, others.drop, others.rename_routine, others.alter_enum),
    "domain": Kind(2, others.create_domain, others.drop, others.rename_routine,
                   others.alter_domain),
    "range": Kind(2, others.create_range, others.drop, others.rename_routine, relations.common),
    "base type": Kind(2, others.cannot_create, others.drop, others.rename_routine,
                      relations.common),
    "composite type": Kind(2, relations.create_composite, _DROP, _RENAME, relations.common),
    "sequence": Kind(3, relations.create_sequence, _DROP, _RENAME, relations.alter_sequence,
                     relations.last_of_table),
    "function": Kind(4, others.create_routine, others.drop, others.rename_routine,
                     relations.common, anew=("definition",), replace=others.replace_routine),
    "procedure": Kind(4, others.create_routine, others.drop, others.rename_routine,
                      relations.common, anew=("definition",), replace=others.replace_routine),
    "aggregate": Kind(5, others.cannot_create, others.drop, others.rename_routine,
                      relations.common),
    "table": Kind(6, relations.create_table, _DROP, _RENAME, relations.alter_table,
                  relations.last_of_table),
    "foreign table": Kind(6, relations.create_foreign, _DROP, _RENAME, relations.alter_foreign),
    "column": Kind(7, columns.create, columns.drop, columns.rename, columns.alter,
                   anew=("generated",)),
    "attribute": Kind(7, columns.create_attribute, columns.drop_attribute, columns.rename_attribute,
                      columns.alter_attribute),
    "view column": Kind(10, columns.say, columns.unsay, columns.never, columns.alter),
    "constraint": Kind(8, attached.create_constraint, attached.drop_constraint,
                       attached.rename_constraint, attached.alter_on, anew=("definition",)),
    "index": Kind(8, attached.create_index, attached.drop_index, attached.rename_index,
                  attached.alter_index, anew=("definition",)),
    "view": Kind(9, relations.create_view, _DROP, _RENAME, relations.alter_view,
                 anew=("definition",), replace=relations.replace_view),
    "materialized view": Kind(9, relations.create_materialized, _DROP, _RENAME,
                              relations.alter_materialized, relations.last_of_table,
                              anew=("definition",)),
    "statistics": Kind(10, attached.create_statistics, attached.drop_statistics,
                       attached.rename_statistics, attached.alter_statistics,
                       anew=("definition",)),
    "trigger": Kind(10, attached.create_trigger, attached.drop_on, attached.rename_trigger,
                    attached.alter_firing, anew=("definition",)),
    "rule": Kind(10, attached.create_rule, attached.drop_on, attached.rename_trigger,
                 attached.alter_firing, anew=("definition",)),
    "policy": Kind(10, attached.create_policy, attached.drop_on, attached.rename_trigger,
                   attached.alter_on, anew=("command", "permissive", "roles", "using", "check")),
    "other": Kind(11, others.cannot_create, others.drop_other, _nothing),
}  # fmt: skip
