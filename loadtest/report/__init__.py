"""What a run amounts to: `summary` the figures, `verdict` whether it passed, `table` for the terminal, `page` for the
browser with the drawings of `plot`. Pure: from plain data to plain data and text.
"""
