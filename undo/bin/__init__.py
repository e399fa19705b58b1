"""The recycle bin: tables that were dropped or taken away, and values of columns that are gone.

entry    a table in the bin, or what is kept of the columns of one by one statement
id       tells it from others that had the same name: the table's number, or what the kept values'
         table is called
"""
