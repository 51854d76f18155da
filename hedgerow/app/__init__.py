"""The composition root: the command line, the processes and what passes between them.

Nouns: Settings (how this run was started), Snapshot (what holds now, as a file), View (a snapshot opened by a worker).
Everything that DNS, proxy, journal and pages need is passed in from here. What is absent: any rule about what is blocked.
"""
