"""The raw reference of a poll: HTCondor's own library asks a schedd for counts, once for each line of input.

A process of its own, because the library has one configuration for a whole process. Prints the seconds of each.
"""

from __future__ import annotations

import os
import sys
import time

CONSTRAINT = "POMS4_SUBMISSION_ID =!= undefined"
ATTRIBUTES = ["POMS4_SUBMISSION_ID", "JobStatus", "HoldReasonCode"]


def main() -> None:
    # Before the library is loaded, which reads its configuration then.
    os.environ["CONDOR_CONFIG"] = os.devnull
    import htcondor2

    address, name = sys.argv[1:]
    schedd = htcondor2.Schedd(htcondor2.Collector(address).locate(htcondor2.DaemonType.Schedd, name))
    for _ in sys.stdin:
        began = time.perf_counter()
        schedd.query(CONSTRAINT, ATTRIBUTES, opts=htcondor2.QueryOpt.GroupBy)
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
