"""The admin console: a virtual database `hotrollback` that speaks PostgreSQL's protocol.

command      a row of the one table (commands): its words, clauses, columns, permission, function
clause       what may follow a command: words and a value, in any order
call         a command with the values of its clauses: what a text means
answer       the rows of a result set
courtesy     what drivers and psql send by themselves, and an answer that lets them go on

Not: sockets, how an undo works.
"""
