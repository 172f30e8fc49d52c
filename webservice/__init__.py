"""POMS, the Production Operations Management System: version only."""

__version__ = "5.0.0.dev1"
