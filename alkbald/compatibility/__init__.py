"""Doors: alkbald's acquisition by the interfaces of other packages, for projects that use these.

batchbald_redux  the functions `get_batchbald_batch` and `get_bald_batch`
baal             a heuristic
skactiveml       a query strategy of scikit-activeml

A door imports the package whose interface it has, unless it needs nothing of it. No other part of alkbald imports a
door.
"""
