"""`relay chat`: the terminal chat. `model` is what a person sees and does, without a terminal; `view` draws it with
Textual; `app` puts both together.

Imported by that command only: Textual takes its time.
"""
