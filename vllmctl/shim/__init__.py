"""One run of one model: the process between the daemon and a server.

The shim is the server's parent and the subreaper of everything that it starts, the only writer of
its log, and the one that writes down how the run ended. It decides no policy. It runs one command
once; asked to stop, or when the command has ended by itself, it sees to it that the whole tree is
gone (until `waitpid` says ECHILD), writes the exit record, and leaves. The daemon may die and come
back at any time without the shim or the server noticing.

It runs alone in a `python -I -S`, so it must stay what it is: standard library only, no threads,
few imports, small in memory. It must not know what a model is.

What it is given, on descriptor 0: NUL-separated `key=value` fields (see `Spec`), in a memory file.
On descriptor 3: the write end of a pipe, closed once the command was executed or could not be.

What it leaves in the run's directory, each file written under another name and renamed:
    shim.json   it has begun: process ids with their start times, the log pipe, where the log began
    stop.json   it was asked to stop: the cause, and when the last rungs of the ladder begin
    exit.json   it has ended: what `waitpid` said of the leader, or why it could not be executed
    control     a FIFO for the daemon's words, one a line:
                    stop SIGNAL GRACE CAUSE   the ladder, from the top
                    kill CAUSE                its last rung, at once
                    log MAX_SIZE KEEP [FORM]  another rotation, from now on; FORM: gzip or plain
                    record                    write shim.json again: it was lost
"""
