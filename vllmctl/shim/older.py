"""The older files of a log: NAME.log.1, the newest of them, to NAME.log.KEEP.

Each is plain, or compressed, with `.gz` behind its number.
"""

import os

from .gzipped import HEADER_SIZE, origin


def forms(path: str, number: int) -> tuple[str, str]:
    """The names it may have. A compressed file appears before its plain one goes."""
    plain = f"{path}.{number}"
    return plain, f"{plain}.gz"


def exists(path: str, number: int) -> bool:
    return any(os.path.lexists(name) for name in forms(path, number))


def move_up(path: str, keep: int) -> None:
    """Free the number 1, so that `keep` files will be there once it is taken.

    From the highest number down, so a reader that looks upwards misses none. A number that was
    left free by a shim that was killed at this is filled, not passed on.
    """
    free = 1
    while free < keep and exists(path, free):
        free += 1
    if free == keep:
        _remove(path, keep)
    stale = keep + 1
    while _remove(path, stale):  # of a time when more was kept
        stale += 1
    for number in range(free - 1, 0, -1):
        for old, new in zip(forms(path, number), forms(path, number + 1), strict=True):
            try:
                os.rename(old, new)
            except FileNotFoundError:
                pass  # it has the other form


def _remove(path: str, number: int) -> bool:
    found = False
    for name in forms(path, number):
        try:
            os.unlink(name)
            found = True
        except FileNotFoundError:
            pass  # it has the other form, or none
    return found


def number_of(path: str, device: int, inode: int, size: int) -> int:
    """Which one the plain file has by now; 0 if it is gone, or is not what it was."""
    number = 1
    while exists(path, number):
        try:
            status = os.lstat(f"{path}.{number}")
            if (status.st_dev, status.st_ino, status.st_size) == (device, inode, size):
                return number
        except FileNotFoundError:
            pass  # compressed
        number += 1
    return 0


def origins(path: str) -> set[tuple[int, int]]:
    """(device, inode) of every file that was compressed: a new one must not be taken for it."""
    found = set()
    number = 1
    while exists(path, number):
        try:
            fd = os.open(f"{path}.{number}.gz", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            pass  # plain
        else:
            was = origin(os.read(fd, HEADER_SIZE))
            os.close(fd)
            if was:
                found.add(was[:2])
        number += 1
    return found
