"""The ``spine`` command: parse, call one function, print."""
