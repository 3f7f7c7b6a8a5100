"""featx heads: what can be fitted."""

from __future__ import annotations

from featx_cli.console import say


def command() -> None:
    """List the heads: for which kinds of target, what is done in every fold, what the inner folds choose.

    \b
    Example:
    featx heads
    """
    from featx.analysis.heads import HEADS, WANTS

    for name, head in HEADS.items():
        say(f"{name}: {head.title}")
        say(f"    for       {', '.join(head.estimators)}")
        say(f"    pipeline  {head.pipeline}")
        say(f"    chosen    {head.grid}")
        if head.wants:
            say(f"    wants     {WANTS[head.wants]}")
        if head.reference:
            say(f"    source    {head.reference}")
        say()
    say("sklearn:module.Class: any regressor or classifier of scikit-learn (sklearn:svm.SVR); its grid by --grid")
