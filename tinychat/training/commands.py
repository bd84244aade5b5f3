"""What each command from the mailbox does to a trainer, between two steps."""

from typing import TYPE_CHECKING

from tinychat.errors import TrainingError
from tinychat.runs import Command
from tinychat.training.following import take_back

if TYPE_CHECKING:
    from tinychat.training.trainer import Trainer


def do(trainer: "Trainer", command: Command) -> str:
    """Obey a command; returns what was done. Raises TinychatError where it cannot be done."""
    step = trainer.progress.step
    match command.command:
        case "pause":
            if command.args.get("free"):
                raise TrainingError("giving memory back in a pause is not built yet")
            trainer.paused = True
            trainer.turn_to("paused", "until told to resume")
            return f"paused at step {step}"
        case "resume":
            trainer.paused = False
            trainer.turn_to("training")
            return f"going on at step {step}"
        case "checkpoint":
            if not trainer.checkpoint():
                raise TrainingError(f"the weights of step {step} were not finite: rolled back")
            return f"checkpoint of step {step} is saved"
        case "sample":
            trainer.sample(command.args.get("prompt"))
            return f"sampled at step {step}"
        case "evaluate":
            if trainer.evaluate():
                trainer.checkpoint()
            return f"evaluated at step {step}"
        case "undo":
            return take_back(trainer, command.args.get("judgement"), "as was asked for")
        case "stop":
            trainer.stop = bool(command.args.get("save", True))
            return f"stopping at step {step}"
        case "set":
            name, value = command.args.get("setting"), command.args.get("value")
            trainer.updates.settings = trainer.requests.change(str(name), value)
            return f"{name} is now {value}"
    raise TrainingError(f"there is no command {command.command!r}")
