"""What runs day and night: an index that follows the store, events that meet it, sources that grow.

store ─► base (compiled, on disk) + layers (what changed since) ─► view ─► intake ◄─ web, watch
"""

from indicia.live.following import Following, Followings
from indicia.live.view import View

__all__ = ["Following", "Followings", "View"]
