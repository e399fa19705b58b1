"""Types of columns, and a few values of each, as what the server reads: edges, and words alike, so
that rows collide.

What orders and compares may be a key; everything else is only kept.
"""

from typing import Final

# Made once in each database.
OBJECTS: Final = """
CREATE TYPE public.mood AS ENUM ('', 'sad', 'quo"te', 'null');
CREATE TYPE public.pair AS (number float8, "a ""b" jsonb, days date[], words text);
CREATE DOMAIN public.amount AS numeric(12, 4) CHECK (VALUE IS NULL OR VALUE > -1000000);
CREATE TYPE public.floats AS RANGE (SUBTYPE = float8);
"""

KEYS: Final[dict[str, tuple[str, ...]]] = {
    "int": ("1", "2", "3", "4"),
    "bigint": ("1", "2", "3", "-9223372036854775808"),
    "text": ("a", "it's", "z\\", ""),
    "varchar(5)": ("a", "b", " ", "a,b)"),
    "uuid": ("00000000-0000-0000-0000-0000000000ff", "00000000-0000-0000-0000-000000000000"),
    "date": ("2024-02-03", "infinity", "0044-03-15 BC"),
    "timestamptz": ("2024-10-27 00:30:00+00", "-infinity", "1883-01-01 00:00:00.5+00"),
    "numeric(6,2)": ("1.00", "1.50", "-0.01", "NaN"),
    "public.mood": ("", "sad", 'quo"te', "null"),
    "bytea": ("\\x", "\\x00ff5c27", "\\x61"),
}

OTHERS: Final[dict[str, tuple[str, ...]]] = {
    "bool": ("true", "false"),
    "int2": ("-32768", "32767"),
    "numeric": ("1.000", "1.0", "-Infinity", "1e-400", "0.00"),
    "float4": ("-0", "0", "1.1", "1e-45"),
    "float8": ("-0", "0", "NaN", "0.30000000000000004", "5e-324"),
    "money": ("1234567.89", "-0.01"),
    "bpchar": ("a  ", "", "  "),
    "name": ('a "b"',),
    '"char"': ("a", "", '"'),
    "timestamp": ("infinity", "0044-03-15 12:00 BC", "2024-02-03 04:05:06.000007"),
    "time": ("24:00", "00:00:00.000001"),
    "timetz": ("24:00-15:59", "01:02:03.4+05:30:07"),
    "interval": ("-1 years 2 mons -3 days 04:00:00", "31 days", "1 mon", "-00:00:00.000001"),
    "inet": ("192.168.0.1/24", "::1"),
    "cidr": ("192.168.0.0/24",),
    "macaddr": ("08:00:2b:01:02:03",),
    "bit(3)": ("101", "000"),
    "varbit": ("", "010"),
    "json": ("null", '{"b":1,  "a":2,"b":3}', "1E400", " [1 , -0]", '"x"'),
    "jsonb": ("null", "{}", '{"a": null, "b": [1.00, -0]}', '"null"'),
    "jsonpath": ("$.a[*] ? (@ > 1.5)",),
    "tsvector": ("", "a:1A,3 'b c':2"),
    "tsquery": ("", "a & !(b:*A | 'c d' <2> e)"),
    "point": ("(-0,NaN)", "(0.1,1e308)"),
    "box": ("(3,4),(1,0.30000000000000004)",),
    "circle": ("<(0.1,0.2),0.30000000000000004>",),
    "pg_lsn": ("FFFFFFFF/FFFFFFFF", "0/0"),
    "oid": ("4294967295", "0"),
    "regtype": ("integer", "public.mood", "4000000000"),
    "xid8": ("18446744073709551615",),
    "int4range": ("empty", "[1,5)", "(,)"),
    "datemultirange": ("{}", "{[2024-01-01,infinity)}"),
    "public.floats": ("[-0,0.30000000000000004)", "empty"),
    "int[]": ("{}", "[0:1]={1,NULL}", "{{1,2},{3,4}}"),
    "text[]": ("{}", '{"",NULL,"NULL","a,\\"b"}'),
    "jsonb[]": ('{"null",NULL}',),
    "float8[]": ("{-0,NaN}",),
    "public.amount": ("1.5", "-0.0001"),
    "public.pair": ('(-0,null,"[3:4]={2024-02-03,NULL}","a""b")', "(,,,)"),
    "int2vector": ("1 -2", ""),
}

VALUES: Final = {**KEYS, **OTHERS}
