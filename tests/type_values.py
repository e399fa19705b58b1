"""Edge values of every built-in type, as SQL expressions that mean the same under any settings."""

from typing import Final

# Types whose values only the server itself makes: their input functions refuse everything.
NO_INPUT: Final = {
    *("gtsvector", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list"),
    *("pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"),
}

# Made before the values are: objects that reg* values name, and types of users.
OBJECTS: Final = """
CREATE SCHEMA "Odd ""sch.ema";
CREATE TABLE "Odd ""sch.ema"."Ta.ble" (id integer);
CREATE FUNCTION "Odd ""sch.ema"."fun,ction"(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE TYPE "Odd ""sch.ema"."en um" AS ENUM ('', 'a b', 'quo"te', 'nul', 'null', 'back\\slash');
CREATE TYPE public.pair AS (number float8, "a ""b" jsonb, days date[], span tstzrange, words text);
CREATE DOMAIN public.amount AS numeric(12, 4) CHECK (VALUE IS NULL OR VALUE > -1000000);
CREATE TYPE public.floats AS RANGE (SUBTYPE = float8, MULTIRANGE_TYPE_NAME = public.many_floats);
"""

TEXTS: Final = (
    "''",
    "'null'",
    "'NULL'",
    "' white '",
    "E'quo\"te '' back\\\\slash \\t \\n \\r \\x01 \\u007f \\ufffd'",
    "E'\\U0001F600 \\u00e9 e\\u0301 \\u202e'",
    "'{\"a\": [1, null]}'",
    "repeat('ab' || chr(228) || '\"\\', 200000)",
)

RANGES: Final = {
    "int4range": ("'empty'", "'[1,5)'", "'(,)'", "'[5,)'"),
    "int8range": ("'empty'", "'[-9223372036854775808,5)'"),
    "numrange": ("'empty'", "'[1.50,1.5]'", "'(-infinity,NaN]'", "'(,7]'"),
    "daterange": ("'[infinity,)'", "'[0044-03-15 BC,2024-02-29)'"),
    "tsrange": ("'[2024-01-02 03:04:05.000006,)'", "'[0044-03-15 BC,infinity]'"),
    "tstzrange": ("'[2024-10-27 00:59:59.5+00,2024-10-27 01:30+00)'", "'[-infinity,infinity)'"),
}

VALUES: Final[dict[str, tuple[str, ...]]] = {
    "bool": ("true", "false"),
    "int2": ("-32768", "32767"),
    "int4": ("-2147483648", "2147483647"),
    "int8": ("-9223372036854775808", "9223372036854775807"),
    "numeric": (
        *("'NaN'", "'Infinity'", "'-Infinity'", "1.000", "1.0", "0.00", "'-0.0'", "1e-400"),
        *("'1e1000'", "123456789012345678901234567890.123456789012345678901234567890"),
    ),
    "float4": ("'-0'", "'NaN'", "'Infinity'", "1.1::float4", "'1.17549435e-38'", "'1e-45'"),
    "float8": (
        *("'-0'", "'NaN'", "'Infinity'", "'-Infinity'", "0.1::float8 + 0.2::float8"),
        *("'5e-324'", "'1.7976931348623157e308'", "1e15::float8 / 3"),
    ),
    "money": ("'1234567.89'", "'-0.01'", "'-92233720368547758.08'"),
    "text": TEXTS,
    "varchar": TEXTS,
    "bpchar": ("'a  '", "''", "'  '"),
    "name": ("'a \"b'", "repeat('n', 63)"),
    '"char"': ("'a'", "''", "'\"'", "'\\'", '(200 - 256)::"char"'),
    "bytea": (
        "decode('', 'hex')",
        "decode('00ff5c27', 'hex')",
        "decode(repeat('0a1b', 9999), 'hex')",
    ),
    "date": ("'infinity'", "'-infinity'", "'0044-03-15 BC'", "'5874897-12-31'", "'2024-02-03'"),
    "timestamp": ("'infinity'", "'0044-03-15 12:00 BC'", "'2024-02-03 04:05:06.000007'"),
    "timestamptz": (
        *("'infinity'", "'-infinity'", "'0044-03-15 12:00:00+00 BC'", "'1883-01-01 00:00:00.5+00'"),
        *("'2024-10-27 00:30:00+00'", "'2024-10-27 01:30:00+00'", "'294276-12-31 23:59:59+00'"),
    ),
    "time": ("'24:00'", "'00:00:00.000001'"),
    "timetz": ("'24:00-15:59'", "'01:02:03.4+05:30:07'"),
    "interval": (
        *("make_interval(years => -1, months => 2, days => -3, hours => 4, mins => -5)",),
        *("make_interval(secs => -0.000001)", "make_interval(days => 31)", "make_interval()"),
        *("make_interval(months => 1, days => -1, secs => 59.999999)",),
        "make_interval(years => 178000000)",
    ),
    "uuid": ("'00000000-0000-0000-0000-0000000000ff'",),
    "inet": ("'192.168.0.1/24'", "'::1'", "'10.0.0.1/32'"),
    "cidr": ("'192.168.0.0/24'", "'::/0'"),
    "macaddr": ("'08:00:2b:01:02:03'",),
    "macaddr8": ("'08:00:2b:01:02:03:04:05'",),
    "bit": ("B'1'", "B'0'"),
    "varbit": ("B''", "B'010'", "repeat('01', 500)::varbit"),
    "json": (
        *("'null'", '\'{"b":1,  "a":2,"b":3}\'', "'1E400'", "' [1 , -0, 1.0] '", "'\"x\"'"),
        "E'\"\\\\u00e9\\\\n\"'",
    ),
    "jsonb": ("'null'", "'{}'", '\'{"a": null, "b": [1.00, -0]}\'', "'\"null\"'", "'[]'"),
    "jsonpath": ("'$.a[*] ? (@ > 1.5)'", "'strict $.\"x y\"'"),
    "xml": ("''", "'<a b=\"1\">&lt;x/></a>'", "'text <b/> more'"),
    "tsvector": ("''", "'a:1A,3 ''b c'':2'"),
    "tsquery": ("''", "'a & !(b:*A | ''c d'' <2> e)'"),
    "point": ("'(-0,NaN)'", "point(0.1::float8 + 0.2::float8, 1e308)"),
    "lseg": ("'[(0.1,-0),(1e300,3)]'",),
    "path": ("'((0,0),(1,1.1))'", "'[(0,0),(1,1)]'"),
    "box": ("'(3,4),(1,0.30000000000000004)'",),
    "polygon": ("'((0,0),(0,1.1),(1,1))'",),
    "line": ("'{1,-0.1,0.30000000000000004}'",),
    "circle": ("'<(0.1,0.2),0.30000000000000004>'",),
    "oid": ("4294967295::oid", "0::oid"),
    "xid": ("'4294967295'",),
    "xid8": ("'18446744073709551615'",),
    "cid": ("'7'",),
    "tid": ("'(4294967295,65535)'",),
    "pg_lsn": ("'FFFFFFFF/FFFFFFFF'", "'0/0'"),
    "pg_snapshot": ("'10:20:10,14,15'",),
    "txid_snapshot": ("'10:20:10,14,15'",),
    "refcursor": ("'a \"b'",),
    "aclitem": ("makeaclitem(0, 10, 'SELECT', true)",),
    "int2vector": ("'1 -2'", "''"),
    "oidvector": ("'1 4294967295'",),
    "regclass": ("""'"Odd ""sch.ema"."Ta.ble"'""", "4000000000::oid::regclass", "0::oid::regclass"),
    "regproc": ("""'"Odd ""sch.ema"."fun,ction"'""", "4000000000::oid::regproc"),
    "regprocedure": ("""'"Odd ""sch.ema"."fun,ction"(integer)'""",),
    "regoper": ("'pg_catalog.||/'", "0::oid::regoper"),
    "regoperator": ("'pg_catalog.+(integer,integer)'", "'pg_catalog.-(none,integer)'"),
    "regtype": ("""'"Odd ""sch.ema"."en um"'""", "'integer'", "4000000000::oid::regtype"),
    "regrole": ("'postgres'", "4000000000::oid::regrole"),
    "regnamespace": ("""'"Odd ""sch.ema"'""",),
    "regconfig": ("'pg_catalog.german'", "4000000000::oid::regconfig"),
    "regdictionary": ("'pg_catalog.simple'",),
    "regcollation": ("""'pg_catalog."C"'""", "4000000000::oid::regcollation"),
    **RANGES,
    **{
        name.replace("range", "multirange"): (
            "'{}'",
            *(f"{name.replace('range', 'multirange')}({name} {value})" for value in values),
        )
        for name, values in RANGES.items()
    },
    # Types of users.
    '"Odd ""sch.ema"."en um"': ("''", "'a b'", "'quo\"te'", "'nul'", "'null'", "E'back\\\\slash'"),
    "public.amount": ("1.5", "-0.0001"),
    "public.floats": ("'[-0,0.30000000000000004)'", "'empty'"),
    "public.many_floats": ("'{[-0,0.30000000000000004)}'",),
    "public.pair": (
        "ROW('-0', 'null', '[3:4]={2024-02-03,NULL}', '[2024-02-03 04:05:06+00,)', '')",
        "ROW(0.1::float8 + 0.2::float8, NULL, NULL, NULL, 'a\"b')",
        "ROW(NULL, NULL, NULL, NULL, NULL)",
    ),
}

# Types of contrib modules, where the server has them.
CONTRIB: Final = {
    "hstore": ('\'a=>1, "b \\"c"=>NULL\'', "''"),
    "citext": ("'aB'", "''"),
    "ltree": ("'Top.Science'", "''"),
    "cube": ("'(0.1,0.30000000000000004),(1,-0)'",),
    "seg": ("'1.50 .. 2'", "'>1e10'"),
    "isn": (),
}
