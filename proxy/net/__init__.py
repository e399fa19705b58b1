"""Sockets: the only asyncio in the data path. Not: SQL, what messages mean."""
