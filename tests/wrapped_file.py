"""A file that a test stands in front of, to spoil what is written."""


class WrappedFile:
    """Everything is the file's own; a subclass has a `write` of its own."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)
