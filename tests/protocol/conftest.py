"""Property tests judge behaviour, never how long an example took: other work may share the machine."""

from hypothesis import settings

settings.register_profile("relay", deadline=None)
settings.load_profile("relay")
