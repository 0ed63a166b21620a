"""What is measured, a part a file, in the order of the table.

A part with `measure(field, results)` runs on supervisors side by side, once at each size; one with
`measure(setting, results)` sets up what it needs. `goals` compares when all sizes are there.
"""
