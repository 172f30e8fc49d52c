"""Split types: the ways to cut a stage's input into successive submissions; one small module each.

Queries are SAM dimensions. What was delivered is remembered in a position, a small document with a
version; the plain number of earlier installations is read as well (``positions``).
"""

from __future__ import annotations

from poms.plugins.splits.byexistingruns import ByExistingRuns
from poms.plugins.splits.byrun import ByRun
from poms.plugins.splits.draining import Draining
from poms.plugins.splits.drainingn import DrainingN
from poms.plugins.splits.limitn import LimitN
from poms.plugins.splits.list import List
from poms.plugins.splits.mod import Mod
from poms.plugins.splits.multiparam import MultiParam
from poms.plugins.splits.new import New
from poms.plugins.splits.nfiles import NFiles
from poms.plugins.splits.stagedfiles import StagedFiles
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import SplitType


@hookimpl
def poms_split_types() -> list[SplitType]:
    return [Draining(), DrainingN(), LimitN(), List(), Mod(), MultiParam(), NFiles(), ByRun(), ByExistingRuns(), New(),
            StagedFiles()]
