"""What tests need, POMS' own and those of plugins elsewhere: fixtures, builders, fakes, contract kits.

Use it with ``pytest_plugins = ["poms.webservice.testing.fixtures"]``. Fakes exist for the interfaces
only, and pass the same contract kits as the real back ends; nothing of POMS itself is ever faked.
"""

from __future__ import annotations

try:
    import pytest
except ImportError:  # The fakes are of use without pytest too.
    pass
else:
    pytest.register_assert_rewrite("poms.webservice.testing.data", "poms.webservice.testing.splits",
                                   "poms.webservice.testing.jobs")
