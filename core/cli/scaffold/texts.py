"""The files around a new plugin that are not Python.

Words that are filled in: `my_plugin` and `my-plugin`, and those in capitals.
"""

from __future__ import annotations

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "fusion-my-plugin"
version = "0.1.0"
description = "SUMMARY"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["modal-fusion>=VERSION"]

[project.optional-dependencies]
test = ["pytest>=8"]

# fusion loads the modules that are named here; one module may hold several plugins.
[project.entry-points.fusion]
my_plugin = "fusion_my_plugin"

[tool.setuptools]
py-modules = ["fusion_my_plugin"]

[tool.pytest.ini_options]
testpaths = ["tests"]

[tool.ruff]
line-length = 100
"""

README = """\
# fusion-my-plugin

SUMMARY.

A plugin for fusion (the distribution `modal-fusion`), of the kind KIND.

## Install

```sh
python -m pip install -e ".[test]"
fusion plugins show my_plugin
```

`-e` takes the module from here: what you change counts at once.

## Test

```sh
python -m pytest
CHECK
```

The tests are fusion's conformance suite for this kind of plugin, and numbers computed by hand.
`fusion plugins check` runs the same suite and says in words what fails, and what a call costs.

## Run

```sh
RUN
```

`fusion plugins show my_plugin` prints its parameters, and what to write after `--set`.

## Is it worth anything?

```sh
JUDGE
```

JUDGED

## Change it

`fusion_my_plugin.py` is all there is: a class, its docstring, which is what `fusion plugins show`
prints, and the hook that registers it. Raise `version` in the class whenever its numbers change,
and `version` in `pyproject.toml` with every release. `api_version` says for which contract it was
written, and stays until fusion says otherwise.

## Publish

Choose a licence first: put its text into `LICENSE` and its name into `pyproject.toml`
(`license = "..."` below `[project]`). Without one nobody may use the plugin.

```sh
python -m pip install build twine
python -m build
python -m twine upload dist/*
```
"""

WORKFLOW = """\
name: test

on: [push, pull_request]

jobs:
  test:
    runs-on: ubuntu-latest
    strategy:
      matrix:
        python: ["3.11", "3.13"]
    env:
      # torch without CUDA, a tenth of the size.
      PIP_EXTRA_INDEX_URL: https://download.pytorch.org/whl/cpu
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: ${{ matrix.python }}
      # To test against another fusion, set the repository's variable MODAL_FUSION to what pip
      # takes, for example git+https://HOST/REPOSITORY
      - run: python -m pip install "${{ vars.MODAL_FUSION || 'modal-fusion' }}"
      - run: python -m pip install ".[test]"
      - run: python -m pytest
      - run: fusion --strict-plugins plugins check my_plugin
"""

GITIGNORE = """\
__pycache__/
*.egg-info/
.pytest_cache/
.venv/
build/
dist/
compare/
repairs/
runs/
samples/
"""
