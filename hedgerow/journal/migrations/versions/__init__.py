"""The migrations. A file is never edited once it is released."""
