"""Five days of an experiment at its usual work, told through the services: what a shifter finds in the morning.

Nothing is written past the services but the names of people. Invariant: every list that can hold something does, and
every state that needs a person is there once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sqlalchemy import select

from poms.webservice.errors import BackendUnavailable
from poms.webservice.interfaces import JobState
from poms.webservice.model import CampaignStage, Experimenter, Submission
from poms.webservice.rules import naming
from poms.webservice.rules.permissions import ANALYSIS, PRODUCTION, SUPERUSER, Actor
from poms.webservice.rules.statuses import LIVE, Status
from poms.webservice.services import (
    campaigns,
    holds,
    launching,
    login_setup_tests,
    lookups,
    memberships,
    schedules,
    tasks,
    uploads,
    watches,
)
from poms.webservice.testing.bench.shape import Landmarks
from poms.webservice.testing.world import World

EXPERIMENT = "sbnd"
BEGIN = datetime(2026, 3, 2, 14, 5, tzinfo=UTC)
JOBS, FILES = 24, 24
NODES = ("fnpc7304", "fnpc17145", "wn-lhc-204", "grid-c-88")
SITES = ("FermiGrid", "RAL", "CERN", "UCSD")
OUT_OF_MEMORY = "Error from slot1_4@{node}: Docker job has gone over memory limit of 2000 Mb"

TEXT = """# {title}
[campaign]
experiment = sbnd
poms_role = {role}
name = {name}
campaign_keywords = {{"beam": "bnb"}}

[campaign_defaults]
vo_role = {vo_role}
software_version = v10_04_07
dataset_or_split_data = from_parent
completion_type = located
completion_pct = 95
param_overrides = [["-Oglobal.fcl_set=", "2026a"]]
merge_overrides = True
login_setup = {login}
job_type = sbnd_lar
{stages}
[login_setup {login}]
host = sbndgpvm01.fnal.gov
account = sbndpro
setup = source /cvmfs/sbnd.opensciencegrid.org/products/sbnd/setup_sbnd.sh

[job_type sbnd_gen]
launch_script = fife_launch -c sbnd_mc.cfg --stage gen
parameters = [["-Oglobal.version=", "%(version)s"], ["-Osubmit.N=", "24"]]
output_file_patterns = gen_%.root

[job_type sbnd_lar]
launch_script = fife_launch -c sbnd_mc.cfg
parameters = [["-Oglobal.version=", "%(version)s"], ["-Osubmit.dataset=", "%(dataset)s"]]
output_file_patterns = %.root
recoveries = [["consumed_status", [["-Osubmit.memory=", "4000MB"]]], ["pending_files", []]]
"""


@dataclass(frozen=True)
class Told:
    """A campaign of the story: its number, those of its stages, and who made it."""

    campaign_id: int
    owner: Actor
    stages: Mapping[str, int] = field(default_factory=dict)


def people(world: World) -> dict[str, Actor]:
    """The people of the experiment; the first is the one who looks at the pictures."""
    made = {name: world.person(name, role, EXPERIMENT)
            for name, role in (("lortiz", SUPERUSER), ("hkim", PRODUCTION), ("tbauer", PRODUCTION))}
    world.person("lortiz", PRODUCTION, "dune")
    names = {"lortiz": ("Lena", "Ortiz"), "hkim": ("Hana", "Kim"), "tbauer": ("Tom", "Bauer")}
    with world.core.db.write() as session:
        for row in session.scalars(select(Experimenter)):
            row.first_name, row.last_name = names[row.username]
            row.session_experiment, row.session_role = EXPERIMENT, PRODUCTION
    return {name: replace(actor, role=PRODUCTION) for name, actor in made.items()}


def tell(world: World) -> Landmarks:
    """Everything, up to this morning; what the pages of the pictures are about."""
    return _Story(world).tell()


class _Story:
    def __init__(self, world: World) -> None:
        self.world, self.core, self.clock = world, world.core, world.core.clock
        self.people = people(world)
        world.batch.jobs_per_launch = JOBS
        self.catalogue = world.catalogue(EXPERIMENT)

    def tell(self) -> Landmarks:
        chain = self._chain()
        first = self._done(chain)
        self._scan()
        self._keepup()
        self._approval()
        running = self._working(chain)
        self._quiet(chain)
        self._personal(chain)
        self._settle()
        self._agents_are_well()
        with self.core.db.read() as session:
            batch_id = session.get_one(Submission, running).jobsub_job_id or ""
            live = tuple(session.scalars(select(Submission.submission_id)
                                         .where(Submission.status_id.in_([int(each) for each in LIVE]))))
        return Landmarks(
            experiment=EXPERIMENT, role=PRODUCTION, username="lortiz", campaign_id=chain.campaign_id,
            stage_id=chain.stages["detsim"], submission_id=running, batch_id=batch_id.replace("@", ".0@", 1),
            launched_submission_id=running, live_submission_ids=live, old_submission_id=first,
            half_submission_id=running)

    # ------------------------------------------------------------------------------------ campaigns

    def _chain(self) -> Told:
        """The campaign that most pictures are about: six stages, a fork, a pattern."""
        made = self._save("bnb_cosmics_2026a", "Beam and cosmics, spring 2026", "hkim", _stages(
            {"gen": None, "g4": "gen", "detsim": "g4", "reco": "detsim", "anatree": "reco", "caf": "reco"}))
        text = campaigns.version_text(self.core, made.owner, made.campaign_id)
        for version, message in (("v10_04_08", "the fix of the wire response"), ("v10_04_09", "light yield of March")):
            self._wait(hours=2)
            text = text.replace("software_version = v10_04_07", f"software_version = {version}")
            campaigns.save_text(self.core, made.owner, text.encode(), source="web", message=message)
            text = text.replace(version, "v10_04_07")
        return made

    def _scan(self) -> None:
        """A scan of parameters that is all done."""
        made = self._save("genie_tune_scan", "Four tunes", "hkim", (
            '\n[campaign_stage scan]\ndataset_or_split_data = [["G18_10a", "G18_10b"], ["nominal", "high"]]\n'
            "cs_split_type = multiparam\njob_type = sbnd_gen\nstage_type = generator\ncompletion_type = complete\n"))
        for _ in range(4):
            number = self._launch(made, "scan")
            self._run(number)
            self._end(number)
        campaigns.add_tag(self.core, made.owner, [made.campaign_id], "spring26")

    def _keepup(self) -> None:
        """Data as it is taken, by a schedule; the last launch came to nothing."""
        made = self._save("keepup_run18", "Data of run 18 as it comes", "tbauer", (
            "\n[campaign_stage decode]\ndataset_or_split_data = run18_raw\ncs_split_type = drainingn(10)\n"))
        self.catalogue.dataset("run18_raw", 60, run=18)
        schedules.set_schedule(self.core, made.owner, made.stages["decode"], cron="0 */6 * * *")
        for _ in range(3):
            number = self._launch(made, "decode")
            self._run(number)
            self._process(number)
            self._end(number)
        self.world.fakes.transport.fail(BackendUnavailable("sbndgpvm01.fnal.gov: No route to host"))
        self._launch(made, "decode")
        self.world.fakes.transport.heal()
        self.world.batch.answer("refused")
        self._launch(made, "decode")

    def _approval(self) -> None:
        """Somebody has to look before it goes on."""
        made = self._save("rockbox_nue", "Electron neutrinos with rock muons", "tbauer", (
            "\n[campaign_stage gen]\ndataset_or_split_data = None\njob_type = sbnd_gen\nstage_type = generator\n"
            "completion_type = complete\n\n[campaign_stage look]\nstage_type = approval\n\n[campaign_stage reco]\n"
            "\n[dependencies look]\ncampaign_stage_1 = gen\nfile_pattern_1 = %.root\n"
            "\n[dependencies reco]\ncampaign_stage_1 = look\nfile_pattern_1 = %.root\n"))
        self._generate(self._launch(made, "gen"))
        self._settle()

    def _quiet(self, chain: Told) -> None:
        """Campaigns at which nothing happens: one held, one put away, one of an analysis."""
        wiremod = self._save("wiremod_systematics", "Detector systematics", "hkim", _stages(
            {"gen": None, "vary": "gen"}))
        holds.hold_stages(self.core, wiremod.owner, [wiremod.stages["vary"], wiremod.stages["gen"]], hold=True,
                          reason="waiting for the new calibration")
        for _ in range(3):
            launching.launch(self.core, wiremod.owner, launching.LaunchRequest(
                wiremod.stages["gen"], f"story {self.clock().isoformat()}"))
            self._wait(minutes=7)
        old = self._save("mc_challenge_2025", "Last year's", "hkim", _stages({"gen": None, "reco": "gen"}))
        campaigns.set_active(self.core, old.owner, [old.campaign_id], False)
        student = replace(self.people["lortiz"], role="analysis")
        self._save("numu_selection", "Selection for the thesis", student, (
            "\n[campaign_stage select]\ndataset_or_split_data = run18_raw\ncs_split_type = nfiles(20)\n"))
        campaigns.add_tag(self.core, chain.owner, [chain.campaign_id, wiremod.campaign_id], "spring26")
        campaigns.add_tag(self.core, chain.owner, [chain.campaign_id], "bnb")

    def _personal(self, chain: Told) -> None:
        """What the one who looks keeps for herself, and a login setup that she tried."""
        lena = self.people["lortiz"]
        login_setup_tests.request(self.core, lena, 1, "story")
        for claimed in login_setup_tests.claim(self.core, "agent one", 1):
            login_setup_tests.work_on(self.core, claimed)
        watches.watch(self.core, lena, campaign_id=chain.campaign_id)
        uploads.store(self.core, lena, "good_runs_18.txt", b"18001\n18002\n18004\n" * 400)
        uploads.store(self.core, lena, "overlay_weights.json", b"{}" * 9000)
        self._newcomers(replace(lena, role=SUPERUSER))

    def _newcomers(self, superuser: Actor) -> None:
        """People that came, one who got more to do and one who left."""
        for name, first, last in (("mruiz", "Marta", "Ruiz"), ("okeller", "Ole", "Keller")):
            memberships.add(self.core, superuser, memberships.Added(name, ANALYSIS, first, last), reason="a student")
        memberships.change(self.core, superuser, "role", ["mruiz"], role=PRODUCTION, reason="does shifts from now on")
        memberships.change(self.core, superuser, "end", ["okeller"])

    # --------------------------------------------------------------------------- what happens to them

    def _done(self, chain: Told) -> int:
        """The campaign's first pass, from the generator to the end, with a recovery on the way."""
        first = self._launch(chain, "gen")
        self._generate(first)
        self._settle()
        for _ in range(6):
            for number in self._live(chain):
                self._run(number)
                self._process(number, short=number == first + 1)
                self._end(number)
        return first

    def _working(self, chain: Told) -> int:
        """This morning's pass: jobs run, some have failed, some are held for their memory."""
        self._generate(self._launch(chain, "gen"))
        self._settle()
        g4 = self._live(chain)[-1]
        self._run(g4)
        self._process(g4)
        self._end(g4)
        running = self._live(chain)[-1]
        self._wait(minutes=40)
        self._run(running, 19)
        jobs = self.world.batch.of(running)
        self._process(running, count=8)
        for job in jobs[1:8]:
            self._end_job(job.batch_id)
        for job in jobs[8:10]:
            self._end_job(job.batch_id, JobState.FAILED, exit_code=134)
        for number, job in enumerate(jobs[10:13]):
            self.world.batch.change_job(job.batch_id, JobState.HELD, hold_code=34,
                                        hold_reason=OUT_OF_MEMORY.format(node=NODES[number]))
        self.world.batch.write_text(jobs[0].batch_id, "stdout", _OUTPUT)
        self._settle()
        self._generate(self._launch(chain, "gen"), finished=False)
        return running

    def _launch(self, told: Told, stage: str) -> int:
        outcome = launching.launch(self.core, told.owner, launching.LaunchRequest(
            told.stages[stage], f"story {self.clock().isoformat()}"))
        if outcome.submission_id is None:
            raise RuntimeError(f"the story breaks off: {stage} was not launched: {outcome.message}")
        self.world.work_on_launches()
        self._wait(minutes=4)
        self._settle()
        return outcome.submission_id

    def _generate(self, number: int, *, finished: bool = True) -> None:
        """A generator's jobs run, and their files are in the catalogue."""
        self._run(number, None if finished else 9)
        if finished:
            self.catalogue.dataset(naming.dependency_dataset(number, 1), FILES, prefix=f"gen_{number}")
            self._end(number)

    def _run(self, number: int, count: int | None = None) -> None:
        for place, job in enumerate(self.world.batch.of(number)[:count]):
            self.world.batch.change_job(
                job.batch_id, JobState.RUNNING, started_at=self.clock(), attempts=1, memory_asked_mb=2000,
                site=SITES[place % 4], node=f"{NODES[place % 4]}.fnal.gov")
        self._wait(minutes=6)
        self._settle()

    def _process(self, number: int, *, short: bool = False, count: int | None = None) -> None:
        submission = self.world.get(number)
        if submission.project:
            with self.core.db.read() as session:
                version = session.get_one(CampaignStage, submission.campaign_stage_id).software_version
            self.catalogue.process(submission.project, 20 if short else count, suffix=f"s{number}", version=version)

    def _end(self, number: int) -> None:
        self._wait(hours=1, minutes=20)
        for job in self.world.batch.of(number):
            if not job.state.is_final:
                self._end_job(job.batch_id)
        self._settle()
        self._wait(minutes=12)
        self._settle()

    def _end_job(self, batch_id: str, state: JobState = JobState.COMPLETED, exit_code: int = 0) -> None:
        place = int(batch_id.partition(".")[2].partition("@")[0])
        self.world.batch.change_job(
            batch_id, state, exit_code=exit_code, wall_seconds=4000.0 + 97 * place, cpu_seconds=3100.0 + 83 * place,
            memory_used_mb=1400 + 23 * place, ended_at=self.clock())

    def _settle(self) -> None:
        """The agents' round: look, wrap up, launch what is owed, look again."""
        self.world.poll()
        self.world.wrap_up(EXPERIMENT)
        self.world.work_on_launches()
        self.world.poll()

    def _live(self, told: Told) -> list[int]:
        return [each.submission_id for each in self.world.submissions(campaign_id=told.campaign_id)
                if Status(each.status_id) in LIVE or each.status_id == int(Status.NEW)]

    def _agents_are_well(self) -> None:
        """Every duty was done just now."""
        for name in ("poll:fake", "housekeeping", "archive", "notify", *(
                f"{duty}:{EXPERIMENT}" for duty in ("schedules", "wrapup", "upkeep"))):
            lease = tasks.take(self.core, name, "agent one", 60)
            if lease is not None:
                tasks.finish(self.core, lease, next_at=self.clock(), message="done")

    # ------------------------------------------------------------------------------------ small things

    def _save(self, name: str, title: str, owner: str | Actor, stages: str) -> Told:
        actor = self.people[owner] if isinstance(owner, str) else owner
        is_production = actor.role == PRODUCTION
        text = TEXT.format(name=name, title=title, role=actor.role, stages=stages,
                           vo_role="Production" if is_production else "Analysis",
                           login="sbnd_gpvm" if is_production else "my_gpvm")
        saved = campaigns.save_text(self.core, actor, text.encode(), source="web", message="from the plan of February")
        if saved.problems:
            raise RuntimeError(f"the story breaks off: {name} cannot be saved: {saved.problems}")
        names = [line[len("[campaign_stage "):-1] for line in stages.splitlines()
                 if line.startswith("[campaign_stage ")]
        self._wait(minutes=9)
        return Told(int(saved.campaign_id or 0), actor,
                    {each: lookups.find_stage_id(self.core, EXPERIMENT, name, each) for each in names})

    def _wait(self, **parts: float) -> None:
        self.clock.advance(**parts)  # type: ignore[attr-defined]


def _stages(needs: Mapping[str, str | None]) -> str:
    """Sections of stages, each with the one that it needs; None for the generator."""
    made = []
    for name, before in needs.items():
        if before is None:
            made.append(f"\n[campaign_stage {name}]\ndataset_or_split_data = None\njob_type = sbnd_gen\n"
                        "stage_type = generator\ncompletion_type = complete\n")
        else:
            made.append(f'\n[campaign_stage {name}]\nparam_overrides = [["--stage=", "{name}"]]\n'
                        f"\n[dependencies {name}]\ncampaign_stage_1 = {before}\nfile_pattern_1 = %.root\n")
    return "".join(made)


_OUTPUT = b"""%MSG-i MF_INIT_OK:  lar 03-Mar-2026 09:12:44 UTC
Messagelogger initialization complete.
Begin processing the 1st record. run: 18 subRun: 4 event: 1 at 03-Mar-2026 09:12:58 UTC
Begin processing the 2nd record. run: 18 subRun: 4 event: 2 at 03-Mar-2026 09:13:11 UTC
TrigReport ---------- Event summary -------------
TrigReport Events total = 50 passed = 50 failed = 0
Art has completed and will exit with status 0.
"""
