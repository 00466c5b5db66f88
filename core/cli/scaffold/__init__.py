"""Generator of the packages of ``fusion plugins new``: one working plugin and its tests."""
