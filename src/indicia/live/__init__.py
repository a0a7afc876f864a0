"""What runs day and night: an index that follows the store, events that meet it, sources that grow.

store ─► base (compiled, on disk) + layers (what changed since) ─► view ─► intake ◄─ web, watch
                                                                             │
                                              matchers: processes without secrets ─► blocks

Nothing is imported here, because a matcher is to be small and to know no store.
"""
