"""`tinychat teach`: judge answers in a row, and make a better model of what was judged."""

from typing import Annotated

from cyclopts import Parameter

from tinychat.cli.models import PLACE, Place, Run, open_model
from tinychat.cli.output import tell
from tinychat.cli.sampling import SAMPLING, Rules
from tinychat.config.sampling import draw_seed


def teach_command(
    run: Run,
    /,
    *,
    system: Annotated[str, Parameter(show_default=False)] = "",
    sampling: Rules = SAMPLING,
    place: Place = PLACE,
    live: Annotated[bool, Parameter(negative="")] = False,
    json_lines: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Teach a model by talking: one prompt, four answers, say which is best.

    Type a prompt, or press Enter for one in the manner of what the model learnt from. Then a key:
    1 to 4 picks the best answer, r writes a better one, s skips, u takes the last judgement back,
    t trains on all of them, q ends. What is judged lies in .chats/feedback.jsonl beside the runs,
    where the page keeps it too. Training makes a new run and never touches the old one; old and new
    are compared then, and the new one is accepted, or not, or d decides later. RUN without a step
    is what was accepted last of all that it was taught to be.

    Input may also come through a pipe, one line each: a prompt (or an empty line), then a key.

        tinychat teach demo
        printf '\\n1\\n\\n2\\nq\\n' | tinychat teach demo --json-lines

    Parameters
    ----------
    system
        What the model is told before each prompt.
    live
        Learn after each judgement, on a copy: the next answers come from what it has learnt, and
        val_loss tells what that cost. Taking a judgement back takes its step back. At the end the
        copy is accepted or not; it stays as a run of its own, which `tinychat teach` goes on with.
    json_lines
        For programs: everything that happens as one JSON object a line on stdout.
    """
    from tinychat.cli.teach_decision import Decisions
    from tinychat.cli.teach_live import LiveTeaching
    from tinychat.cli.teach_loop import ANSWERS, TeachLoop
    from tinychat.cli.teach_training import Training
    from tinychat.cli.teach_view import view_of
    from tinychat.conversations import Feedback, Teaching, not_learnt_yet
    from tinychat.engine import Engine, with_seeds
    from tinychat.runs import find_model, list_checkpoints
    from tinychat.text import prompts_of_run
    from tinychat.words import inert

    seed = draw_seed() if sampling.seed is None else sampling.seed
    with_seeds(sampling.rules(seed), ANSWERS)  # refuse what cannot be, before anything is loaded
    shelf = place.shelf()
    folder, step = find_model(run, shelf.checkpoints)
    taught = Teaching(shelf.checkpoints).newest_accepted(folder.name) if step is None else None
    if taught and taught.step not in list_checkpoints(shelf.checkpoints / taught.run):
        tell(f"{inert(taught.label)} was accepted and is gone, so {inert(folder.name)} answers")
        taught = None
    model = open_model(shelf, taught.label if taught else run)
    feedback, view = Feedback(shelf.checkpoints), view_of(json_lines)
    greeting = [f"{inert(model.label)} is taught here."]
    if taught:
        greeting[0] = f"{inert(model.label)}, accepted as {inert(folder.name)}, is taught here."
    greeting.append("Say which of four answers is the best. ? tells the keys, q ends.")
    if not model.is_chat:
        greeting.append("It has learnt texts, not conversations: it goes on with a prompt.")
    view.greet(greeting)
    with Engine(batch_rows=ANSWERS) as engine:
        decisions = Decisions(engine, shelf, view, sampling, system, feedback)
        learner = None
        if live:
            learner = LiveTeaching(shelf, view, place, decisions, model, feedback.path)
            learner.begin()
        elif waiting := decisions.waiting(model):
            view.tell(
                "waits", f"{inert(waiting)} waits for your decision: d decides", label=waiting
            )
        training = Training(view, place, decisions, feedback.path, shelf.checkpoints)
        TeachLoop(
            engine,
            model,
            view,
            feedback,
            sampling,
            prompts=prompts_of_run(model.run),
            seed=seed,
            system=system,
            since=lambda: not_learnt_yet(feedback, shelf.checkpoints, model.name),
            train=training,
            decide=decisions.again,
            live=learner,
        ).run()
    return 0
