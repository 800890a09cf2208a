"""The iscsiadm program: what has to be in place before the command's own modules are imported."""

_INTERRUPTED = b"iscsiadm: caught SIGINT, exiting...\n"


def iscsiadm() -> int:
    """Run the command; SIGINT never ends in a traceback.

    While modules are imported it ends the process at once, like open-iscsi's program before it has
    its handler; from then on it is the KeyboardInterrupt that main() reports. Where it is ignored
    from the start (a shell's background job) it stays ignored.
    """
    import _signal  # type: ignore[import-not-found]  # the enums of `signal` cost milliseconds

    number: int = _signal.SIGINT
    is_ignored = _signal.getsignal(number) == _signal.SIG_IGN
    if not is_ignored:
        _signal.signal(number, _signal.SIG_DFL)
    from pyiscsi.cli.iscsiadm import main

    try:
        if not is_ignored:
            _signal.signal(number, _signal.default_int_handler)
        return main()
    except KeyboardInterrupt:  # before main() can catch it, or when it has ended
        import os

        os.write(2, _INTERRUPTED)
        return 1
    finally:
        if not is_ignored:
            _signal.signal(number, _signal.SIG_DFL)
