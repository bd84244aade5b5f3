"""The parts of the screens. Each draws what it is given and reads no file itself."""
