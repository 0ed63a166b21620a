"""Fifty simulated models, and everything that can happen to them, for minutes: `make soak`.

town        the models, the file, the daemon, and what a person says to it
accidents   what befalls them, at random
observer    watches the process table meanwhile, and remembers every broken promise
growth      what the daemon and the shims hold: descriptors and memory
"""
