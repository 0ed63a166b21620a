"""What a shell may offer at the cursor: verbs, options, names, labels, paths, files.

A shell asks by `vllmctl __complete SHELL …`, each time somebody presses TAB, so an answer has to
be quick: nothing here imports click, which would cost more than all the rest. What verbs and
options there are stands in `table.json`, which `make docs` writes from the click commands.
`dataclasses` is left out for the same reason; the nouns here are named tuples. Measured (CPython
3.11, where `python -c pass` takes 11 ms): 35 ms with names of the daemon, 54 ms with names out of
the file; click's own completion took 70 ms for verbs alone, `supervisorctl status` takes 90 ms.

    answer.py     the edge: a shell's question in, lines out; never more than a second
    line.py       the words of a line of bash (pure)
    table.py      the verbs and options, as values
    cursor.py     which kind of word is meant at the cursor (pure)
    known.py      the models: of the daemon, or of the file
    paths.py      the PATHs of `set` and `unset`, and their values (pure)
    offers.py     the words of that kind (pure)
    vllmctl.bash, vllmctl.zsh, vllmctl.fish    the other end, in each shell's own words
"""
