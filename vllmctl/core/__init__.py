"""The pure core: what is wanted, what is seen, and what to do about the difference.

Standard library only; no I/O, no clock, no logging, no async. Time comes in as an argument.
"""
