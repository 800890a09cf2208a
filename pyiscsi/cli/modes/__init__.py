"""One thin module for each mode of iscsiadm: `run(options, context, out) -> exit status`."""
