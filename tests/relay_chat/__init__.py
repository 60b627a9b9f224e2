"""`relay chat`: its model alone, its widgets through Textual's pilot, and all of it against a real relay."""
