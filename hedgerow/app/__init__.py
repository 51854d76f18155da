"""The composition root: the command line, the processes, and the files and messages between them.

Nouns: `Settings` (the options of a run), `Snapshot` (policy, lists and live state as one file), `LoadedSnapshot` (a
snapshot opened by a worker). The other packages get their dependencies from here. Deliberately absent: any rule about
what is blocked.
"""
