"""Fable's story grammar: short fairy tales told by rule, in words written for this project.

Old books alone do not teach a model of this size to keep a fox a fox for three paragraphs. These tales do, because
who is who is settled before the first word is chosen. `tales.Teller` tells one; README.md of the model says how much
of the training text comes from here.
"""
