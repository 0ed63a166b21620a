"""The form of an older log file that was compressed.

It is an ordinary gzip file (RFC 1952), for `zcat` and everybody else. An extra field of its header
says which file it was: the device, inode and size. So a position in the plain file still means the
same place, also for a reader that comes later.
"""

import os

CHUNK = 65536
HEADER_SIZE = 40
_MAGIC = b"\x1f\x8b\x08\x04"  # gzip, deflate, with an extra field
_FIELD = b"VC" + (24).to_bytes(2, "little")


def origin(header: bytes) -> tuple[int, int, int] | None:
    """(device, inode, size) of the file that it was; None if this is no file of ours."""
    if len(header) < HEADER_SIZE or header[:4] != _MAGIC or header[12:16] != _FIELD:
        return None
    device, inode, size = (
        int.from_bytes(header[start : start + 8], "little") for start in (16, 24, 32)
    )
    return device, inode, size


def compress(source: int, target: int) -> None:
    """Write what the file `source` holds, compressed. Raises OSError if the disk is full."""
    import zlib  # for the compressing child alone: nobody else should carry it

    status = os.fstat(source)
    identity = (status.st_dev, status.st_ino, status.st_size)
    field = _FIELD + b"".join(number.to_bytes(8, "little") for number in identity)
    time = int(status.st_mtime).to_bytes(4, "little")
    _write(target, _MAGIC + time + b"\0\x03" + len(field).to_bytes(2, "little") + field)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    checksum = 0
    while data := os.read(source, CHUNK):
        checksum = zlib.crc32(data, checksum)
        _write(target, deflate.compress(data))
    size = status.st_size % 2**32
    _write(target, deflate.flush() + checksum.to_bytes(4, "little") + size.to_bytes(4, "little"))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
