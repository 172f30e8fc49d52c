"""Maps the top-level folders to the packages poms.webservice, poms.plugins, ...; all else is in pyproject.toml."""

from setuptools import find_namespace_packages, find_packages, setup

CODE = ("webservice", "plugins")
DATA = ("templates", "static", "sql")
CACHES = ("*__pycache__*",)

code = [name for folder in CODE for name in [folder, *(f"{folder}.{each}" for each in find_packages(folder))]]
# A folder of data is a package to setuptools, named or not; the ones that are not named it warns of, at length.
data = [name for folder in DATA
        for name in [folder, *(f"{folder}.{each}" for each in find_namespace_packages(folder, exclude=CACHES))]]

setup(
    package_dir={f"poms.{folder}": folder for folder in CODE + DATA},
    packages=[f"poms.{name}" for name in code + data],
    package_data={f"poms.{name}": ["*"] for name in data},
    data_files=[("etc/poms", ["poms.ini"])],
)
