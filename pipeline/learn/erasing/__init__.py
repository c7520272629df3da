"""Learning undone: what becomes of runs that have seen somebody who is erased."""
