"""Recognition of hosts that no list has, by their names: `Recogniser`, its `NameModel`, its `TopicModel` and its
`WellKnownNames`.

The files in `data/` are made by `tools/train_recogniser.py` and `tools/train_topics.py`, which document their sources.
They are mapped into memory, so that all workers share them. Deliberately absent: the lists, the policy, and anything
that is learnt on this machine.
"""
