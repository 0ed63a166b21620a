"""What usually goes wrong, looked for before it does.

`gather` and the small modules beside it look at the machine and return values (`facts`); `checks`
turns these into findings and knows nothing of the machine. Nothing here changes anything, touches
a GPU, or uses the network.
"""
