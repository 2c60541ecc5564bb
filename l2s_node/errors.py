"""Everything that l2s-node raises on purpose.

    L2SError                  one sentence: what was wrong and what to do
    ├── ConfigError           a command line, a TOML file, a preset or a knob's value
    ├── RoomError             a source or a sink that can't be opened or named
    │   ├── NotFoundError     the name is not there; the message lists what is
    │   ├── MissingError      the room can't be used on this machine: a package, a driver or a desktop is missing
    │   └── ClosedError       its user closed it, which is no failure
    ├── ModelError            weights or a card that are missing, foreign or broken
    ├── EngineError           an engine that can't build or run a generator
    ├── LookError             a shader that can't be read, compiled or run
    ├── ControlError          a port in use, a malformed packet
    └── TrainError            too few pictures, nothing to resume

Foreign errors are translated at the border where they appear (``raise RoomError(...) from err``), so that
whoever runs a show reads one sentence and whoever debugs it sees the cause.
"""


class L2SError(Exception):
    """The root; its text is one clear sentence for the person at the desk."""


class ConfigError(L2SError):
    """A command line, a TOML file, a preset or a knob's value is wrong."""


class RoomError(L2SError):
    """A source or a sink can't be opened, read or written."""


class NotFoundError(RoomError):
    """Nothing of that name is there; the message lists what is."""


class MissingError(RoomError):
    """The room can't be used on this machine, whatever the address; the message has the remedy."""


class ClosedError(RoomError):
    """Its user closed it, as a window: no failure."""


class ModelError(L2SError):
    """Weights or their card are missing, foreign or broken."""


class EngineError(L2SError):
    """An engine can't build or run this generator here."""


class LookError(L2SError):
    """A look's file can't be read, compiled or run; the message names file and line."""


class ControlError(L2SError):
    """A control port can't be opened, or what arrived can't be read."""


class TrainError(L2SError):
    """Training can't start or go on: too few pictures, nothing to resume."""
