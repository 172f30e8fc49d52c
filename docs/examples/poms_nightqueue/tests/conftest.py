"""The fixtures of POMS' test kits."""

pytest_plugins = ["poms.webservice.testing.fixtures"]
