"""Whether this run is under the newest version of transformers, where deprecations are errors."""

from importlib.metadata import version

from packaging.version import Version

from _tools.versions import pins

# What the newest version deprecates is to go from here before it goes from there.
STRICT = Version(version("transformers")) >= Version(pins.newest())
