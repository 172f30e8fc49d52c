"""Programs that stand before jobsub_submit on launch hosts and tell POMS what was submitted.

Invariant: whatever is wrong with POMS, jobs are submitted as if nothing were between, and the report is kept
until it can be sent.
"""
