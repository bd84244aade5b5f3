"""The run directory: the only thing that trainer, monitor and chat share.

This room knows where everything lies (`layout`), what stands in it (`records`), how it is written
so that nothing acknowledged is lost (`durable`, `checkpoints`, `writer`), how it is read whatever
happened (`reader`), which attempt did which steps (`lineage`), what of it is damaged
(`inspection`), how a line proves those before it (`chain`), who holds it (`lock`), whether its
process lives (`liveness`), which checkpoints stay (`retention`), what a model grew from
(`ancestry`), what else may go (`cleanup`), how a second copy is kept (`mirror`), how much it all
takes (`space`), and how requests come in (`control`). It knows no tensors: a checkpoint is a folder
of named bytes here. Standard library and psutil only.
"""

from tinychat.runs.ancestry import (
    ELSEWHERE,
    FINE_TUNING,
    PREFERENCE_TUNING,
    PRETRAINING,
    Forebear,
    ancestry_of,
    family_words,
    read_ancestry,
)
from tinychat.runs.chain import chained, read_chain
from tinychat.runs.checkpoints import (
    CheckpointFiles,
    newest_good,
    publish_checkpoint,
    quarantine,
    read_checkpoint,
    sweep,
)
from tinychat.runs.cleanup import Cleanup, Freed, clean_up, plan_cleanup, size_of
from tinychat.runs.control import (
    COMMANDS,
    Command,
    ControlInbox,
    Refusal,
    send_command,
    wait_for_ack,
)
from tinychat.runs.durable import Disk, LineLog, remove_tree, replace_file
from tinychat.runs.find import find_model, find_run, is_foreign
from tinychat.runs.inspection import (
    CheckpointReport,
    Inspection,
    LogReport,
    inspect_checkpoint,
    inspect_run,
)
from tinychat.runs.layout import (
    AttemptPaths,
    RunPaths,
    checkpoint_label,
    checkpoint_name,
    checkpoint_step,
    default_checkpoints,
    descendant_name,
    folder_label,
    list_checkpoints,
    resumable_checkpoints,
)
from tinychat.runs.lineage import (
    Break,
    Stretch,
    breaks,
    lineage_line,
    lineage_words,
    maker,
    stretches,
)
from tinychat.runs.liveness import (
    ProcessIdentity,
    TrueState,
    is_process_of,
    process_identity,
    true_state,
)
from tinychat.runs.lock import RunLock, lock_is_held
from tinychat.runs.mirror import Mirror, check_mirror, why_not_a_copy
from tinychat.runs.pins import pin, pinned, unpin
from tinychat.runs.reader import Log, Row, RunReader, list_runs
from tinychat.runs.records import (
    FORMAT,
    STATES,
    WAITS_FOR_JUDGEMENT,
    AttemptRecord,
    BestCheckpoint,
    EvalRow,
    EventRow,
    Generation,
    LastCommand,
    MirrorStatus,
    ReplayRecord,
    RunRecord,
    SampleRow,
    State,
    Status,
    TrainRow,
    TuneRecord,
)
from tinychat.runs.retention import (
    KeepRule,
    Pruned,
    Retention,
    newest_until,
    plan_retention,
    prune,
    retention_of,
)
from tinychat.runs.space import CheckpointSizes, Peak, free_at, on_disk, plan_peak, taken_by
from tinychat.runs.writer import RunWriter

__all__ = [
    "COMMANDS",
    "ELSEWHERE",
    "FINE_TUNING",
    "FORMAT",
    "PREFERENCE_TUNING",
    "PRETRAINING",
    "STATES",
    "WAITS_FOR_JUDGEMENT",
    "AttemptPaths",
    "AttemptRecord",
    "BestCheckpoint",
    "Break",
    "CheckpointFiles",
    "CheckpointReport",
    "CheckpointSizes",
    "Cleanup",
    "Command",
    "ControlInbox",
    "Disk",
    "EvalRow",
    "EventRow",
    "Forebear",
    "Freed",
    "Generation",
    "Inspection",
    "KeepRule",
    "LastCommand",
    "LineLog",
    "Log",
    "LogReport",
    "Mirror",
    "MirrorStatus",
    "Peak",
    "ProcessIdentity",
    "Pruned",
    "Refusal",
    "ReplayRecord",
    "Retention",
    "Row",
    "RunLock",
    "RunPaths",
    "RunReader",
    "RunRecord",
    "RunWriter",
    "SampleRow",
    "State",
    "Status",
    "Stretch",
    "TrainRow",
    "TrueState",
    "TuneRecord",
    "ancestry_of",
    "breaks",
    "chained",
    "check_mirror",
    "checkpoint_label",
    "checkpoint_name",
    "checkpoint_step",
    "clean_up",
    "default_checkpoints",
    "descendant_name",
    "family_words",
    "find_model",
    "find_run",
    "folder_label",
    "free_at",
    "inspect_checkpoint",
    "inspect_run",
    "is_foreign",
    "is_process_of",
    "lineage_line",
    "lineage_words",
    "list_checkpoints",
    "list_runs",
    "lock_is_held",
    "maker",
    "newest_good",
    "newest_until",
    "on_disk",
    "pin",
    "pinned",
    "plan_cleanup",
    "plan_peak",
    "plan_retention",
    "process_identity",
    "prune",
    "publish_checkpoint",
    "quarantine",
    "read_ancestry",
    "read_chain",
    "read_checkpoint",
    "remove_tree",
    "replace_file",
    "resumable_checkpoints",
    "retention_of",
    "send_command",
    "size_of",
    "stretches",
    "sweep",
    "taken_by",
    "true_state",
    "unpin",
    "wait_for_ack",
    "why_not_a_copy",
]
