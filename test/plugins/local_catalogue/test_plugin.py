"""What the plugin offers at start-up, and that its tables are what its revisions make."""

from __future__ import annotations

import multiprocessing
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pluggy

from poms.plugins.local import catalogue as plugin
from poms.plugins.local.catalogue import projects, tables
from poms.plugins.local.catalogue.backend import LocalCatalogue
from poms.plugins.local.catalogue.projects import Consumer
from poms.webservice import hookspecs, migrations
from poms.webservice.interfaces import DataBackend, PluginContext


def test_the_plugin_comes_in_by_its_entry_point() -> None:
    """It is registered like anybody else's, and every hook it has is one of POMS'."""
    manager = pluggy.PluginManager("poms")
    manager.add_hookspecs(hookspecs)
    found = [each for each in entry_points(group="poms") if each.name == "local_catalogue"]
    manager.register(found[0].load())
    manager.check_pending()

    assert [offer.name for offers in manager.hook.poms_data_backends() for offer in offers] == ["local"]


def test_the_offer_makes_a_catalogue(site: Any) -> None:
    """The factory of the offer gives a working data backend, with the options of its own section."""
    offer = plugin.poms_data_backends()[0]
    backend = offer.factory(site.context())

    assert isinstance(backend, DataBackend)
    assert backend.health().ok
    assert offer.section in [section.name for section in plugin.poms_settings()]


def test_the_revisions_make_the_tables(site: Any) -> None:
    """A database that was brought up to date has exactly the tables, columns and indexes of the model."""
    assert [line for line in migrations.check(site.url, plugin.poms_databases())
            if line.startswith("local_catalogue")] == []


def test_every_row_has_its_experiment() -> None:
    """Each table begins with the plugin's prefix and knows whose rows it holds."""
    for table in tables.metadata.sorted_tables:
        assert table.name.startswith(plugin.poms_databases()[0].prefix)
        assert not table.c.experiment.nullable


def _drain(url: str, directory: Path, now: Any, number: int, found: Any) -> None:
    """A process of its own that takes files until there are no more."""
    context = PluginContext(experiment="samdev", options={}, data_dir=directory, database_url=url,
                            public_url="http://localhost", clock=lambda: now, secret=str)
    catalogue, names = LocalCatalogue(context), []
    with catalogue.writing() as scope:
        process = projects.establish(scope, "p", Consumer(job=f"job.{number}"))
    while True:
        with catalogue.writing() as scope:
            handed = projects.next_file(scope, "p", process)
            if handed.kind == "file":
                projects.set_file_state(scope, "p", process, handed.file_name, "consumed")
                names.append(handed.file_name)
        if handed.kind == "none":
            break
    found.put(names)


def test_several_processes_share_the_files(site: Any, tmp_path: Path) -> None:
    """Web server and agents are different processes on one database: each file goes out once."""
    names = [f"f{number:02}" for number in range(40)]
    site.declare(*names)
    catalogue = site.catalogue()
    catalogue.define("ds", "file_name %")
    catalogue.create_project("p", "ds", "mc")
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    workers = [context.Process(target=_drain, args=(site.url, tmp_path, site.clock(), number, found))
               for number in range(2)]
    for worker in workers:
        worker.start()
    taken = [name for _ in workers for name in found.get(timeout=120)]
    for worker in workers:
        worker.join()

    assert sorted(taken) == names
