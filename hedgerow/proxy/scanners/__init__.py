"""What is in an answer: its packing, its words and their weight, its kind of file. Pure."""
