"""Every error that vmr raises on purpose, in one small tree.

::

    VmrError
    ├── InvalidInputError (ValueError)      the caller's data is wrong; nothing was published
    │   ├── ExperimentFileError             an experiment file or schedule, with the place in it
    │   ├── EventTooLargeError              an event does not fit in a message
    │   └── QueryError                      a query or SQL statement that cannot be answered
    ├── ConflictError                       somebody else wrote first: read again, then retry
    ├── UnknownVmError (RuntimeError)       no VM of this uuid is part of the experiment
    ├── LogUnavailableError (ConnectionError)   the log cannot be reached or used
    │   ├── ServerNotFoundError             nothing listens there
    │   ├── CredentialError                 the server does not accept the credential
    │   ├── JetStreamMissingError           the server keeps no streams
    │   └── ProjectorMissingError           no projector answers queries
    │       └── ProjectorBehindError        the projector has not come to the asked sequence in time
    ├── PublishError                        an event was not acknowledged within the bounds
    ├── DataError                           something stored does not decode or does not match its hash
    │   ├── NotAnArchiveError               a file that is no archive of vmr's
    │   ├── DamagedArchiveError             an archive that is cut off, or whose parts do not match its manifest
    │   └── NewerArchiveError               an archive of a format that this version does not know
    └── GuestError                          a guest, or its agent, did not do what was asked
        ├── AgentError                      the agent answered with an error
        ├── AgentTimeoutError (TimeoutError)    no answer in time; the command may still run
        ├── AgentDisconnectedError (ConnectionError)    the socket closed or is not there
        └── GuestSetupError                 a guest cannot be built or booted

The leaves exist where a caller can act differently; everything else is told apart by its message.
"""

from __future__ import annotations


class VmrError(Exception):
    """Base of every error raised on purpose by vmr."""


class InvalidInputError(VmrError, ValueError):
    """The caller's data is wrong. Nothing was published."""


class ExperimentFileError(InvalidInputError):
    """An experiment file or a schedule is wrong; the message names file, place and mend."""


class EventTooLargeError(InvalidInputError):
    """An event does not fit in one message of the server, and is not of a kind that is split."""


class QueryError(InvalidInputError):
    """A query cannot be answered as it was asked."""


class ConflictError(VmrError):
    """The expected last sequence was not the last: somebody else wrote first."""


class UnknownVmError(VmrError, RuntimeError):
    """No VM of this uuid is part of the experiment. Nothing was changed."""


class LogUnavailableError(VmrError, ConnectionError):
    """The log cannot be reached, or cannot be used as a log."""


class ServerNotFoundError(LogUnavailableError):
    """Nothing listens at the server's address."""


class CredentialError(LogUnavailableError):
    """The server does not accept the credential."""


class JetStreamMissingError(LogUnavailableError):
    """The server runs without JetStream, or this account may not use it."""


class ProjectorMissingError(LogUnavailableError):
    """No projector answers queries for this database."""


class ProjectorBehindError(ProjectorMissingError):
    """The projector has not folded the log as far as it was asked to within the query's deadline."""


class PublishError(VmrError):
    """An event was not acknowledged within the bounded number of tries; it may or may not be stored."""


class DataError(VmrError):
    """Something stored does not decode, or does not match its hash."""


class NotAnArchiveError(DataError):
    """A file is no archive of vmr's."""


class DamagedArchiveError(DataError):
    """An archive is cut off, or something in it does not match its manifest: `vmr archive verify` says what is whole."""


class NewerArchiveError(DataError):
    """An archive has a format that this version of vmr does not know."""


class GuestError(VmrError):
    """A guest, or the agent in it, did not do what was asked."""


class AgentError(GuestError):
    """The guest agent answered with an error.

    Attributes:
        error_class: the agent's own class of the error, such as ``GenericError`` or ``CommandNotFound``.
        description: the agent's own words.

    """

    def __init__(self, command: str, error_class: str, description: str) -> None:
        super().__init__(f"{command}: {description} ({error_class})")
        self.command = command
        self.error_class = error_class
        self.description = description


class AgentTimeoutError(GuestError, TimeoutError):
    """The guest agent did not answer in time. The command may have run, or may still run."""


class AgentDisconnectedError(GuestError, ConnectionError):
    """The guest agent's socket closed, or is not there."""


class GuestSetupError(GuestError):
    """A guest cannot be built or booted; the message says what is missing and how to get it."""
