"""The pages: made on the server, without scripts, without a request to the outside, for a phone first.

`views` gathers what a page shows, `words` turns it into sentences, `templates/` lays it out. All text goes through Jinja's escaping;
no template says `safe`.
"""
