"""How the resolver reaches others: which upstream is asked, over which channel, for how long. What comes back is not judged here."""
