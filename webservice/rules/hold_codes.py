"""What HTCondor's HoldReasonCode means, in plain words, and what a person can do about it.

Not the text that came with a particular hold (JobRecord.hold_reason). Invariant: every code has a meaning here,
also one that nobody has heard of yet.
"""

from __future__ import annotations

from dataclasses import dataclass

SPOOLING = 16
OUT_OF_RESOURCES = 34


@dataclass(frozen=True, slots=True)
class HoldMeaning:
    """``title`` names the cause; ``remedy`` says what usually helps; ``fault`` whose matter it is.

    ``fault`` is ``job`` (its request or its program), ``files`` (input or output), ``site`` (machine or batch
    system), ``person`` (somebody held it) or ``none`` (nothing is wrong).
    """

    title: str
    remedy: str
    fault: str


_UNKNOWN = HoldMeaning("Held for a reason this version does not know", "Read the hold reason; ask the site.", "site")
_EC2 = HoldMeaning("A cloud instance could not be used", "Ask the people who run the cloud resource.", "site")

MEANINGS: dict[int, HoldMeaning] = {
    1: HoldMeaning("Held by a person", "Release the job when the cause is gone.", "person"),
    2: HoldMeaning("The job's execution service reported an error", "Read the hold reason; release to try again.",
                   "site"),
    3: HoldMeaning("The job's own policy held it", "Read the hold reason; the submit options set this policy.", "job"),
    4: HoldMeaning("Credentials are missing or bad", "Renew the token or proxy, then release.", "person"),
    5: HoldMeaning("A policy expression of the job has no value", "Correct the job's policy expressions; submit again.",
                   "job"),
    6: HoldMeaning("The program could not be started", "Check the executable, its first line and its rights.", "job"),
    7: HoldMeaning("The file for standard output could not be opened", "Check the output directory's rights and space.",
                   "files"),
    8: HoldMeaning("The file for standard input could not be opened", "Check that the input file exists.", "files"),
    9: HoldMeaning("The output stream could not be opened", "Check the output directory.", "files"),
    10: HoldMeaning("The input stream could not be opened", "Check that the input file exists.", "files"),
    11: HoldMeaning("File transfer was not understood by the other side", "Release to try again; ask the site if it "
                    "comes back.", "site"),
    12: HoldMeaning("Output could not be brought back", "Check that the job writes the files it promises, and space "
                    "and rights where they go.", "files"),
    13: HoldMeaning("Input could not be brought to the job", "Check that the input files exist and can be read.",
                    "files"),
    14: HoldMeaning("The job's directory cannot be used", "Check that the initial directory exists.", "files"),
    15: HoldMeaning("Submitted on hold", "Release the job when it should run.", "person"),
    SPOOLING: HoldMeaning("Waiting for its input files to arrive", "None; if it stays so, the submit was interrupted: "
                          "remove these jobs.", "none"),
    17: HoldMeaning("The job's record at the submit side is inconsistent", "Release to try again.", "site"),
    18: HoldMeaning("File transfer broke off at the submit side", "Release to try again.", "site"),
    19: HoldMeaning("A hook that prepares the job failed", "Ask the site.", "site"),
    20: HoldMeaning("The time at which it was to start has passed", "Submit again.", "job"),
    21: HoldMeaning("The machine's policy held it", "Read the hold reason; often too much memory, disk or time.",
                    "job"),
    22: HoldMeaning("The job's event log could not be opened", "Check the directory of the event log.", "files"),
    23: HoldMeaning("The account cannot be used on that machine", "Ask the site.", "site"),
    24: HoldMeaning("The job cannot be run again at the submit side", "Submit again.", "site"),
    25: HoldMeaning("Its times of day are not valid", "Correct the cron settings; submit again.", "job"),
    26: HoldMeaning("The batch system's policy held it", "Read the hold reason; often too much memory, disk or time.",
                    "job"),
    27: HoldMeaning("The batch system's policy has no value", "Ask the people who run the batch system.", "site"),
    28: HoldMeaning("The service that runs it elsewhere reported an error", "Ask the site.", "site"),
    29: HoldMeaning("Its glideins cannot be submitted", "Ask the people who run the glideins.", "site"),
    32: HoldMeaning("Its input is larger than allowed", "Ask for less input in each job.", "job"),
    33: HoldMeaning("Its output is larger than allowed", "Write less output in each job.", "job"),
    OUT_OF_RESOURCES: HoldMeaning("It used more than it asked for", "Ask for more memory or disk and run it again.",
                                  "job"),
    35: HoldMeaning("The container image cannot be used", "Check the image's name and that the site can reach it.",
                    "job"),
    36: HoldMeaning("Its checkpoint could not be stored or read", "Check the checkpoint's destination.", "files"),
    **dict.fromkeys(range(37, 43), _EC2),
    43: HoldMeaning("The script before the job failed", "Read the script's output.", "job"),
    44: HoldMeaning("The script after the job failed", "Read the script's output.", "job"),
    45: HoldMeaning("The machine's containers do not work", "Release to try elsewhere; tell the site.", "site"),
    46: HoldMeaning("It ran longer than allowed in all", "Ask for a longer lifetime, or do less in each job.", "job"),
    47: HoldMeaning("It ran longer than allowed", "Ask for a longer lifetime, or do less in each job.", "job"),
    48: HoldMeaning("A hook at the submit side failed", "Ask the people who run the batch system.", "site"),
}

# Policies of machine (21) and batch system (26) say by these subcodes what was exceeded: the same trouble should
# have the same code whoever noticed it.
_EXCEEDED_SUBCODES = (102, 104)


def meaning(code: int | None) -> HoldMeaning:
    """What a hold code means; codes that are not known are said to be so."""
    return MEANINGS.get(code, _UNKNOWN) if code is not None else _UNKNOWN


def normalise(code: int | None, subcode: int | None) -> int | None:
    """The code that tells most: a limit on memory or disk is 34, whichever policy enforced it."""
    return OUT_OF_RESOURCES if code in (21, 26) and subcode in _EXCEEDED_SUBCODES else code
