"""How fast POMS is: data of a chosen size, measurements, and a table of ratios (``bin/bench``).

Every figure stands beside a reference that was measured in the same run on the same machine, because
absolute figures of one machine say nothing about another. What is measured is the real thing: the
server as a process over HTTP, the services on a real database; only outside systems are replaced.
"""
