"""The supervisor in simulation: the pure core, with everything around it made up and seeded.

A world has a disk, a machine with its processes, a clock, an operator, and a daemon whose memory is
gone when it dies. One step of a world is one instruction of one of them, chosen by the seed; so a
crash falls between any two. After every step the promises are checked.

    make simulate SEEDS=2000    many worlds, and what they have visited
    make simulate SEED=17       one world, told step by step

    clock     boot time, which only grows, and a wall clock that somebody sets
    disk      the records, each written as a whole, or refused
    programs  what a model's program does with its life
    machine   processes, locks, and the shim's own steps
    menu      the models that a file may hold
    daemon    the loop and the backend, step by step; returning: how it comes back
    operator  what people type and save; accidents: what befalls
    promises  what must hold after every step
    world     all of it, and the scheduler
"""
