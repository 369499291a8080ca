"""The ``avssl`` command: parse, build, call."""
