"""The agent: launches, polls, wraps up, cleans. Any number may run against one database; none is special."""

from poms.webservice.agent.loop import Agent, run

__all__ = ["Agent", "run"]
