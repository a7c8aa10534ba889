"""What strangers may send: files, specs, names, folders, links. Some hundred cases, each with what must hold of it."""

from tests.hostile import checkpoints, day, doors, images, names, pages, specs

ALL = [*checkpoints.CASES, *specs.CASES, *images.CASES, *names.CASES, *pages.CASES, *doors.CASES, *day.CASES]
