"""Launching from a configuration file (poms-launch) and running inside a job (poms-wrap).

For machines without the FIFE tools: reads their launch configuration format and speaks SAM's HTTP API.
Neither program knows the POMS service: a launch script calls the one, a batch job the other.
"""
