"""The run folder: the single source of truth about a run. The run writes it; everything else only reads it.

May import `system` and `errors`, never torch: the dashboard and the supervisor read runs without it.
"""

from trimcore.runs.archive import brought, pack, unpack
from trimcore.runs.events import Event
from trimcore.runs.folder import (
    FILES,
    check_id,
    checkpoint_of,
    checkpoint_path,
    create,
    list_runs,
    list_unfinished,
    open_run,
    read_events,
    result_in,
    result_of,
    runs_folder,
)
from trimcore.runs.lineage import Parent, children, delete, parent_of, parents
from trimcore.runs.notes import Notes, launched_as, notes_of, write_notes
from trimcore.runs.place import Place, place_of, write_place
from trimcore.runs.requests import REQUESTS, request, requested
from trimcore.runs.shipped import EXAMPLE, check_own, is_shipped
from trimcore.runs.status import FINAL, STALLED_AFTER, Status, devices_of, state_of, update_status, write_exit

__all__ = [
    "EXAMPLE", "FILES", "FINAL", "REQUESTS", "STALLED_AFTER", "Event", "Notes", "Parent", "Place", "Status",
    "brought", "check_id", "check_own", "checkpoint_of", "checkpoint_path", "children", "create", "delete",
    "devices_of", "is_shipped", "launched_as", "list_runs", "list_unfinished", "notes_of", "open_run", "pack",
    "parent_of", "parents", "place_of", "read_events", "request", "requested", "result_in", "result_of",
    "runs_folder", "state_of", "unpack", "update_status", "write_exit", "write_notes", "write_place",
]  # fmt: skip
