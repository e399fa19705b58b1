"""A transparent proxy in front of PostgreSQL that has every write recorded.

Glossary; each word is used for one thing only.

message      one frame of the frontend/backend protocol
statement    one SQL statement with the places of its clauses
relation     what the catalog says of a table
plan         what is sent instead of a statement, and how the answers are put right
session      one client's life, as state and bytes; a link is its two sockets
worker       a process that serves sessions; the supervisor is its parent
console      the virtual database on the admin socket, where operators give commands

The path of a write: net -> session -> sql -> catalog -> capture -> session -> net; the rest leaves
session as they came. Of an operator's command: cli -> console_client -> admin -> undo.
"""
