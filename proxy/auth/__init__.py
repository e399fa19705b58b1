"""Authentication where it cannot be relayed: SCRAM between two TLS connections. Sans-I/O.

A *dialogue* is what passes between a client and the server until the one is let in by the other.
A *secret* is what is known of a role's password: its *verifier*, as the server keeps it, or the
*password* itself. *Keys* are what both sides of SCRAM calculate with. A *binding* ties an exchange
to the certificate that the client was shown. Not: where secrets come from (proxy.net).
"""
