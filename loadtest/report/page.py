"""stub"""


def make_page(report):
    return "stub"
