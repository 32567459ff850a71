"""Whether this run is under the newest version of transformers, where deprecations are errors."""

from importlib.metadata import version

from packaging.version import Version

from _tools.versions import pins

# The package stops using what the newest version deprecates before it is removed there.
STRICT = Version(version("transformers")) >= Version(pins.newest())
