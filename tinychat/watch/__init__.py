"""What a screen needs of runs - look, follow, judge, ask, start - without any screen.

It knows no tensors and no terminal library; `plot` alone knows plotext.
"""
