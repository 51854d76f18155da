"""Recognition of hosts that no list has, by their names: `Recogniser`, its `NameModel` and its `WellKnownNames`.

The files in `data/` are made by `tools/train_recogniser.py`, which documents their sources. They are mapped into
memory, so that all workers share them. Deliberately absent: the lists, the policy, and anything that is learnt on this
machine.
"""
