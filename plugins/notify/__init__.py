"""Channels by which people are told of what they watch: mail, and webhooks."""
