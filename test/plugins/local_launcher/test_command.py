"""The arguments of jobsub_submit: the same as fife_launch's, one by one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from poms.plugins.local.launcher import command, configuration
from poms.webservice.errors import Invalid

SBND = Path(__file__).parents[2] / "data/launch/sbnd_launch.cfg"
BEFORE = ["-G", "sbnd", "-N", "5", "--resource-provides=usage_model=OPPORTUNISTIC,DEDICATED,OFFSITE",
          "--generate-email-summary", "--expected-lifetime=3h", "--memory=2000MB"]
SETUP = ["--debug", "--find_setups",
         "--source-unquote", "/cvmfs/sbnd.opensciencegrid.org/products/sbnd/setup_sbnd.sh",
         "--setup-unquote", "sbndcode%20v06_48_00_MCC%20-q%20e14%3Aprof"]
PASSED = ["-e", "IFDH_DEBUG", "-e", "SAM_EXPERIMENT", "-e", "SAM_GROUP", "-e", "SAM_STATION"]


def arguments(path: Path, *overrides: str, **environment: str) -> list[str]:
    settled = configuration.read(path)
    configuration.settle(settled, overrides=[configuration.parse_override(item) for item in overrides])
    inside = command.launch_environment(settled, {"PATH": os.environ["PATH"], **environment})
    return command.submit_arguments(settled, inside, command.find_wrapper(settled, inside))


def of(tmp_path: Path, text: str, *overrides: str, **environment: str) -> list[str]:
    path = tmp_path / "launch.cfg"
    path.write_text(text)
    return arguments(path, *overrides, **environment)


def after_wrapper(found: list[str]) -> list[str]:
    return found[next(n for n, word in enumerate(found) if word.startswith("file://")) + 1:]


def output_part(base: str) -> list[str]:
    return ["--addoutput", f"{base}.root", "--rename", "unique", "--dest", "/pnfs/sbnd/scratch/sbndpro/poms_test/",
            "--declare_metadata", "--metadata_extractor", "sam_metadata_dumper", "--add_location"]


def test_first_stage_gives_exactly_the_known_command():
    """An experiment's configuration without dataset: every argument in its place, no stray backslash."""
    found = arguments(SBND, FIFE_UTILS_DIR="/opt/fife")

    assert found == [*PASSED, *BEFORE, "file://///opt/fife/libexec/fife_wrap", *SETUP, "--limit", "1",
                     "--appvers", "v06_48_00_MCC", *output_part("gen"), "--exe", "lar", "--", "-c", "override_me.fcl",
                     "-o", "gen.root", "-s"]


def test_later_stage_gives_exactly_the_known_command():
    """As POMS starts a later stage: ids passed on, dataset last among the submit options, multifile in the job."""
    found = arguments(
        SBND, "global.version=v06_48_00_MCC", "submit.dataset=poms_depends_776_1", "job_setup.multifile=True",
        "global.basename=g4", "global.fclfile=standard_g4_sbnd.fcl",
        FIFE_UTILS_DIR="/opt/fife", POMS_CAMPAIGN_ID="42", POMS_TASK_ID="777")

    assert found == [*PASSED, "-e", "POMS_CAMPAIGN_ID", "-e", "POMS_TASK_ID", *BEFORE,
                     "--dataset_definition=poms_depends_776_1", "file://///opt/fife/libexec/fife_wrap", *SETUP,
                     "--multifile", "--limit", "1", "--appvers", "v06_48_00_MCC", *output_part("g4"), "--exe", "lar",
                     "--", "-c", "standard_g4_sbnd.fcl", "-o", "g4.root", "-s"]


def test_wrapper_is_poms_wrap_without_the_fife_tools():
    """Where FIFE_UTILS_DIR is not set the job runs poms-wrap, by its absolute path, an executable file."""
    path = next(word for word in arguments(SBND) if word.startswith("file://")).removeprefix("file://")

    assert Path(path).resolve() == command.OWN_WRAPPER
    assert os.access(path, os.X_OK)


def test_configured_wrapper_of_ones_own_is_used(tmp_path):
    """A wrapper that has nothing to do with FIFE_UTILS_DIR is taken in any case, its variables expanded."""
    assert "file:////opt/w.sh" in of(tmp_path, "[global]\nwrapper = file://$W/w.sh\n", W="/opt")


def test_repeated_options_lose_their_number(tmp_path):
    """lines_0, lines_1 ... are one option many times, in [submit] and [job_setup]."""
    found = of(tmp_path, "[global]\n[submit]\nlines_0 = '+A=1 2'\nlines_15 = +B=2\n[job_setup]\nexport_0 = A=1\n"
               "export_1 = B=é\n")

    assert found[:2] == ["--lines=+A=1 2", "--lines=+B=2"]
    assert after_wrapper(found) == ["--export-unquote", "A%3D1", "--export-unquote", "B%3D%C3%A9"]


def test_submit_options_take_their_three_forms(tmp_path):
    """One letter with its value, True without, all else with an equals sign; False is a value like any other."""
    found = of(tmp_path, "[global]\n[submit]\nN = 3\nonsite = True\noffsite = False\nblank =\nM = a b\nq = '--'\n")

    assert found[:-1] == ["-N", "3", "--onsite", "--offsite=False", "--blank=", "-M", "a", "b", "-q", "--"]


def test_values_with_dollar_are_expanded_by_bash(tmp_path):
    """$(...), variables and quotes work in [submit], [executable] and see what [env_pass] exports."""
    found = of(tmp_path, '[global]\ngroup = g\n[env_pass]\nWHERE = $HOME/x y\n[submit]\nN = $(echo 3)\n'
               'memory = "$WHERE"\n[executable]\nname = `echo lar`\narg_1 = $GROUP$WHERE\narg_2 = $NOWHERE\n',
               HOME="/h")

    assert found[:5] == ["-e", "WHERE", "-N", "3", "--memory=/h/x y"]
    assert after_wrapper(found) == ["--exe", "lar", "--", "g/h/x", "y"]


@pytest.mark.parametrize("text", ["a;touch canary", "a&b", "(x)", "a|b", ">canary", "*", "~", "#x", "!x", "é"])
def test_values_without_dollar_never_meet_a_shell(tmp_path, monkeypatch, text):
    """Shell signs in a plain value arrive as they are written."""
    monkeypatch.chdir(tmp_path)

    assert " ".join(of(tmp_path, f"[global]\n[submit]\nxx = {text}\n")[:-1]) == f"--xx={text}"
    assert not (tmp_path / "canary").exists()


def test_file_name_patterns_are_not_expanded(tmp_path, monkeypatch):
    """A star beside a variable stays a star, whatever lies in the directory of the launch."""
    monkeypatch.chdir(tmp_path)

    assert of(tmp_path, "[global]\n[submit]\nxx = $HOME/*\n", HOME=str(tmp_path))[0] == f"--xx={tmp_path}/*"


@pytest.mark.parametrize(("text", "message"), [('"open', "submit/x.*quotation"), ("$(exit 3", "submit/x.*bash")])
def test_unmatched_quotes_are_named(tmp_path, text, message):
    """Quotes and brackets that do not match name section and option."""
    with pytest.raises(Invalid, match=message):
        of(tmp_path, f"[global]\n[submit]\nx = {text}\n")


def test_flags_are_given_only_when_true(tmp_path):
    """A flag of the wrapper appears without a value, or not at all."""
    found = of(tmp_path, "[global]\n[job_setup]\nmultifile = True\ngetconfig = False\nself_destruct_timer = 5\n")

    assert after_wrapper(found) == ["--multifile", "--self_destruct_timer", "5"]


def test_quoted_sections_keep_dollars_for_the_job(tmp_path):
    """dest and rename are expanded in the job, not here."""
    found = of(tmp_path, "[global]\n[job_output]\ndest = $HOME/${fname}\nrename = %(_fname)s\n", HOME="/h")

    assert after_wrapper(found) == ["--dest", "$HOME/${fname}", "--rename", r"\${fname}"]


def test_shorthands_reach_the_executable_as_variables_of_the_job(tmp_path):
    """_process and _fname in [executable] survive this shell and mean the job's variables."""
    found = of(tmp_path, "[global]\n[executable]\nname = x\narg_1 = %(_process)s\narg_2 = %(_fname)s\n", PROCESS="9")

    assert after_wrapper(found)[-2:] == ["${JOBSUBJOBSECTION:-$PROCESS}", "${fname}"]


def test_outputs_are_numbered_up_to_the_first_missing(tmp_path):
    """[job_output_1] gives --addoutput1 and so on; a gap ends the list; launch_dest_check stays here."""
    text = ("[global]\n[job_output]\naddoutput = a\n[job_output_1]\naddoutput = b\nadd_location = True\n"
            "launch_dest_check = False\nmetadata_extractor = dump 'it'\n[job_output_3]\naddoutput = c\n")

    assert after_wrapper(of(tmp_path, text)) == ["--addoutput", "a", "--addoutput1", "b", "--add_location1",
                                                 "--metadata_extractor_unquote1", "dump%20%27it%27"]


def test_executables_come_first_and_their_arguments_after(tmp_path):
    """All --exe, then the arguments of each behind its own --; a container runs the program inside."""
    text = ("[global]\n[executable]\nname = one\narg_1 = 'q r'\nexe_stdout = out.txt\n[executable_2]\nname = two\n"
            "apptainer = image:v1\narg_1 = z\n")

    assert after_wrapper(of(tmp_path, text)) == [
        "--exe", "one", "--exe_stdout0", "out.txt", "--exe", "apptainer", "--", "q r", "--", "exec", "--bind",
        "/cvmfs", "/cvmfs/singularity.opensciencegrid.org/fermilab/image:v1", "two", "z"]


def test_catalogue_and_family_are_passed_on_by_name_only(tmp_path):
    """The capability in the catalogue's address never stands in an argument; the recovery's parent is told."""
    found = of(tmp_path, "[global]\n", POMS_TASK_ID="9", POMS_PARENT_TASK_ID="4", POMS_CAMPAIGN_ID="",
               SAM_WEB_BASE_URL="http://127.0.0.1/key-secret/api")

    assert found[:-1] == ["-e", "POMS_TASK_ID", "-e", "POMS_PARENT_TASK_ID", "-e", "SAM_WEB_BASE_URL"]
    assert not any("secret" in word for word in found)


def test_option_that_no_wrapper_knows_is_refused_here(tmp_path):
    """With poms-wrap a mistyped option is found before the submission instead of in each job."""
    with pytest.raises(Invalid, match=r"job_setup/multfile.*no option 'multfile'"):
        of(tmp_path, "[global]\n[job_setup]\nmultfile = True\n")


def test_consumer_option_must_be_known(tmp_path):
    """[sam_consumer] takes the wrapper's options only."""
    with pytest.raises(Invalid, match="sam_consumer/limits"):
        of(tmp_path, "[global]\n[sam_consumer]\nlimits = 1\n")


def test_name_of_a_passed_variable_is_checked(tmp_path):
    """[env_pass] names that no environment can hold are refused."""
    with pytest.raises(Invalid, match="env_pass/A B"):
        of(tmp_path, "[global]\n[env_pass]\nA B = 1\n")


def test_jobsub_client_directory_comes_first_when_asked(tmp_path):
    """[poms_get_task_id] puts the client's own directory before a POMS wrapper on PATH."""
    path = tmp_path / "launch.cfg"
    path.write_text("[global]\n[poms_get_task_id]\n")
    settled = configuration.read(path)

    assert command.launch_environment(settled, {"PATH": "/a", "JOBSUB_CLIENT_DIR": "/c"})["PATH"] == "/c:/a"
