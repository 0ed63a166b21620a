"""A model for the stage: `python -I -S player.py FOLDER NAME PORT [deaf]`.

It prints numbered lines, answers on its port, and has a child in a session of its own (which is
`deaf` to TERM where that is asked). Of what it really did it keeps account in FOLDER, so that
others can be held to it:

    NAME.RUN.lines  how many lines it has printed
    NAME.RUN.exit   the code it is about to exit with
    NAME.alive      flock'd by its whole tree: whoever finds it taken is the second
    violations      what must never be

On its stage NAME.burst makes it print much, NAME.leave makes it exit with the code in it.
"""

import fcntl
import os
import select
import signal
import socket
import sys

INTERVAL = 0.02
BURST = 150
ON_TERM = 43

folder, name, port = sys.argv[1:4]
deaf = "deaf" in sys.argv[4:]
run = os.environ["VLLMCTL_RUN"][:8]
lines = 0


def violation(what):
    fd = os.open(f"{folder}/violations", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{name}: {what}\n".encode())
    os.close(fd)


def be_the_only_one():
    fd = os.open(f"{folder}/{name}.alive", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        violation("another of its trees lives")


def have_a_child():
    """In a session of its own, not to be reached by the leader's end or its process group."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN if deaf else signal.SIG_DFL)  # for the child
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    while True:
        signal.pause()


def listener():
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(("127.0.0.1", int(port)))
    except OSError as error:
        violation(f"port {port}: {error}")
        sys.exit(1)
    server.listen()
    return server


def say(count):
    global lines
    for _ in range(count):
        lines += 1
        os.write(1, f"{run} line {lines}\n".encode())
        os.pwrite(account, f"{lines:9}".encode(), 0)


def leave(code):
    with open(f"{folder}/{name}.{run}.exit", "w") as file:
        file.write(str(code))
    os._exit(code)


def take(what):
    """The content of an order, which is thereby carried out; None: there is none."""
    try:
        os.rename(f"{folder}/{name}.{what}", f"{folder}/{name}.{what}.taken")
    except FileNotFoundError:
        return None
    with open(f"{folder}/{name}.{what}.taken") as file:
        return file.read()


be_the_only_one()
have_a_child()
server = listener() if port != "none" else None
account = os.open(f"{folder}/{name}.{run}.lines", os.O_RDWR | os.O_CREAT, 0o600)
signal.signal(signal.SIGTERM, lambda *_: leave(ON_TERM))
while True:
    say(1)
    if take("burst") is not None:
        say(BURST)
    if (code := take("leave")) is not None:
        leave(int(code))
    if select.select([server] if server else [], [], [], INTERVAL)[0]:
        peer, _ = server.accept()
        peer.recv(4096)
        peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
        peer.close()
