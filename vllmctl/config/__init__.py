"""`models.yaml` → the instances it asks for, or every mistake in it with line and column.

The door is `vllmctl.config.load.load`. Nothing is imported here, so that `vllmctl.config.values`
costs the command line neither the YAML nor the schema library.
"""
