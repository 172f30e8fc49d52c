"""The demonstration: a fresh service, a sample campaign, and the whole of it run before your eyes.

The real server and the real agent as processes of their own, restarted if they die; a client that uploads,
launches and approves over HTTP like any other; the outcome read from the service's database. What is printed last
with ``--json`` is read by other programs: keep the keys.
"""
