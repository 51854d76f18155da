"""Each file here changes the tables by one step and is never edited once released."""
