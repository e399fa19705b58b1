"""Key words by what they may be in PostgreSQL's grammar (src/include/parser/kwlist.h, 15 to 18)."""

from typing import Final

# May be no identifier at all unless quoted.
RESERVED: Final = frozenset(
    b"""all analyse analyze and any array as asc asymmetric both case cast check collate column
    constraint create current_catalog current_date current_role current_time current_timestamp
    current_user default deferrable desc distinct do else end except false fetch for foreign from
    grant group having in initially intersect into lateral leading limit localtime localtimestamp
    not null offset on only or order placing primary references returning select session_user some
    symmetric table then to trailing true union unique user using variadic when where window
    with""".split()
)

# Names of functions or types; never of a column or an alias.
FUNCTION_OR_TYPE: Final = frozenset(
    b"""authorization binary collation concurrently cross current_schema freeze full ilike inner is
    isnull join left like natural notnull outer overlaps right similar tablesample
    verbose""".split()
)

NOT_A_COLUMN_ID: Final = RESERVED | FUNCTION_OR_TYPE

# Directly before a parenthesis these call no function that a user could have made, on any version.
# `substring` and `overlay` do: with commas between their arguments they are ordinary functions.
NOT_CALLED: Final = RESERVED | frozenset(
    b"""between bigint bit boolean char character coalesce dec decimal exists extract float greatest
    grouping inout int integer interval least national nchar none normalize nullif numeric out
    position precision real row setof smallint time timestamp treat trim values varchar
    xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot
    xmlserialize xmltable materialized like ilike similar isnull notnull overlaps is join inner
    outer cross full natural""".split()
)

# pg_operator of 18, and signs of the grammar.
BUILT_IN_SIGNS: Final = frozenset(
    b"""!! !~ !~* !~~ !~~* # ## #- #> #>> % & && &< &<| &> * *< *<= *<> *= *> *>= + - -> ->> -|- /
    < <-> << <<= <<| <= <> <@ <^ = > >= >> >>= >^ ? ?# ?& ?- ?-| ?| ?|| @ @-@ @> @? @@ @@@ ^ ^@ |
    |&> |/ |>> || ||/ ~ ~* ~<=~ ~<~ ~= ~>=~ ~>~ ~~ ~~* != => :: := .. ( ) [ ] , ; . :""".split()
)
