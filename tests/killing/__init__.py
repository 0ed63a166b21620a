"""The kill matrix: SIGKILL before and after every step that touches the disk or a process.

    names.py      what a step is called, from the function and what it acts on
    steps.py      put around those functions, in the daemon and in the shim; kills on order
    daemon.py     a daemon with steps
    player.py     the model on stage: numbered lines, a port, a child of its own session
    stage.py      a place where a daemon, an engine and players live, die, and come back
    observer.py   looks at the process table all the while: never two
    acts.py       what can happen in a life: start, stop, reload, rotate, adopt …
    promises.py   what has to hold after each death
    matrix.py     every act, every step of it, before and after: the cells, and their table

Nothing of this is in the product. `make kill-matrix` runs all of it.
"""
