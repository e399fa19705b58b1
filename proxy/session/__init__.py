"""One client's life, as state and bytes. Not: asyncio, sockets, time except as an argument.

`startup` brings a client and its server connection to the first ReadyForQuery and hands over to a
`Session`, which then owns both directions: bytes in, two lists of bytes out.
"""
