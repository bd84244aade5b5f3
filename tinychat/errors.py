"""Every error that tinychat raises on purpose. The text of each is one sentence for a person.

TinychatError                   the root; the command line catches it once, prints it, and leaves
├── SettingsError               what was asked for cannot be done as asked            exit 2
│   ├── RunNotFoundError        no run or checkpoint of that name
│   └── RunExistsError          that name is taken
├── DataError                   a corpus, tokenizer or token file is not as it must be  exit 1
│   └── NoDataError             what was named as data is not there or holds nothing  exit 2
├── RunError                    a run cannot start or go on                           exit 1
│   ├── RunBusyError            another trainer holds the run's lock
│   ├── CheckpointError         a checkpoint is missing, damaged or does not fit
│   │   └── NoCheckpointError   the run has published none yet
│   ├── HalfDoneError           a way back was begun and could not be finished; a resume does it
│   └── TrainingError           training itself failed (not a number, out of memory)
├── EngineError                 an answer could not be made (out of memory)           exit 1
│   └── EngineBusyError         as many requests wait as may
├── ServerError             the port cannot be had                                exit 1
├── ConversationError           a chat, a rating or a vote cannot be kept or read exit 1
└── FormatError                 a file was made by a newer tinychat                   exit 1
"""


class TinychatError(Exception):
    """Root of the tree. `exit_code` is what the command line leaves with."""

    exit_code = 1


class SettingsError(TinychatError):
    """A setting, flag or name is wrong. All problems that were found stand in `problems`."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RunNotFoundError(SettingsError):
    """No run, folder or checkpoint answers to the given name."""


class RunExistsError(SettingsError):
    """A new run was to get a name that is taken."""


class DataError(TinychatError):
    """A corpus, a tokenizer or a token file cannot be used."""


class NoDataError(DataError):
    """What was named as data is not there, or there is nothing in it."""

    exit_code = 2


class RunError(TinychatError):
    """A run cannot be started, resumed or continued."""


class RunBusyError(RunError):
    """Another trainer holds this run's lock."""


class CheckpointError(RunError):
    """A checkpoint is missing, damaged, or does not fit what it is loaded into."""


class HalfDoneError(RunError):
    """A run went back a step and could not finish that: it must end, and a resume finishes it."""


class NoCheckpointError(CheckpointError):
    """The run has not published any checkpoint."""


class TrainingError(RunError):
    """Training failed in a way that going on would not mend."""


class EngineError(TinychatError):
    """The engine could not make an answer."""


class EngineBusyError(EngineError):
    """The engine's queue is full: ask again later."""


class ServerError(TinychatError):
    """A server cannot listen where it was told to."""


class ConversationError(TinychatError):
    """A conversation, a rating or a vote cannot be kept or read."""


class FormatError(TinychatError):
    """A file carries a higher `format` than this version of tinychat knows."""
