"""What is this host or URL? Lists in, categories out.

Nouns: a `Source` is a list that somebody publishes; a format's parser turns its text into rules and `Problem`s; the
compiler turns many sources into a generation, a directory of mapped files; the `Catalogue` answers from it.

Deliberately absent: who asks, what is allowed to whom, DNS and HTTP. Nothing of ours is imported from above.
"""
