"""How many jobs a launch command asks for, as far as the command itself says it."""

import pytest

from poms.webservice.rules.jobsub_options import jobs_asked


@pytest.mark.parametrize(("command", "jobs"), [
    ("jobsub_submit -G sbnd -N 10 file://run.sh", 10),
    ("jobsub_submit -N5 file://run.sh", 5),
    ("fife_launch -c gen.cfg -Osubmit.N=12", 12),
    ("fife_launch -c gen.cfg -O submit.N=12", 12),
    ("fife_launch -c gen.cfg -Osubmit.N=12 -Osubmit.N=3", 3),
])
def test_the_number_of_jobs_stands_in_the_command(command, jobs):
    """By jobsub's option or by the launcher's override of it; the last one wins."""
    assert jobs_asked(command) == jobs


@pytest.mark.parametrize("command", [
    "", "fife_launch -c gen.cfg", "run --N 5", "run -N 0", "run -N many", "run x-N 5", "echo -Nothing", "run -N 5x",
])
def test_a_command_that_does_not_say_leaves_it_to_its_script(command):
    """A guess would be worse than no number."""
    assert jobs_asked(command) is None
