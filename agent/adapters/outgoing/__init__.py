"""adapters/outgoing — requests to URLs that users wrote: the only way by which one leaves this host. Decides no rule: core/outgoing does.

Every connection is checked when it is made; a request has one of its own, but for those of one session. The name is looked up once, all of its addresses are checked,
and the connection goes to one of these and to no other; name and certificate stay those of the URL (Host, SNI). No proxy out of
the environment, no redirect followed, no cookie kept, no `.netrc` read, nothing sent a second time; an answer is read to a cap, and packed bodies stay packed.
"""

from agent.adapters.outgoing.client import OutgoingClient

__all__ = ["OutgoingClient"]
