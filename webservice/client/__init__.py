"""Talk to a POMS server from Python: ``Client("https://poms.example.org", experiment="sbnd").launch("mc/gen")``.

Needs the standard library and requests, nothing of the server. Refusals are raised as the conditions they are
(``poms.webservice.errors``); a server that does not answer is ``Unreachable``.
"""

from poms.webservice.client.calls import Client
from poms.webservice.client.connection import Connection, Unreachable
from poms.webservice.client.places import find_server

__all__ = ["Client", "Connection", "Unreachable", "find_server"]
