"""Texts of the pages: languages, labels and sentences about rules."""
