"""What a screen needs of runs - look, follow, judge, draw, ask, start - without any screen.

    look     `overview`: runs in a few numbers each; `states`: how a state is shown; `lines`: both
             as text; `details`: all that the screen of one run shows
    follow   `history`: a run's logs read once and followed, on `tail` (files that grow) and `table`
             (their numbers)
    judge    `health`: notes that a person can act on
    draw     `curves`: what of a column is drawn; `schedule`: the learning rate ahead; `plot`: the
             picture in characters
    ask      `requests`: commands sent, pending until acknowledged
    start    `plan`: what a run would cost, asked of a child process; `launch`: a run as a session
             of its own, and the end of one that does not obey

Modules are imported by their names: listing runs needs a third of what the screen of one costs to
import. Nothing here knows tensors or a terminal library, and `plot` alone knows plotext.
"""
