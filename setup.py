"""Maps the top-level folders to the packages poms.webservice, poms.plugins, ...; all else is in pyproject.toml."""

from setuptools import find_packages, setup

CODE = ("webservice", "plugins")
DATA = ("templates", "static", "sql")

setup(
    package_dir={f"poms.{folder}": folder for folder in CODE + DATA},
    packages=[f"poms.{folder}" for folder in CODE + DATA]
    + [f"poms.{folder}.{name}" for folder in CODE for name in find_packages(folder)],
    package_data={f"poms.{folder}": ["**/*"] for folder in DATA},
    data_files=[("etc/poms", ["poms.ini"])],
)
