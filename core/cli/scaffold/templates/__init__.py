"""What ``fusion plugins new`` makes a package of: one plugin of each kind, and its tests.

Real modules, so that they are checked as the rest of the code is. They are read as text and
never imported by fusion: `my_plugin` and `MyPlugin` become the names of the new plugin, and an
import from a sibling becomes one from its module. They import fusion as a plugin does.
"""
