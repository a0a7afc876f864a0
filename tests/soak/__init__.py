"""Long runs against the real service: kills by the hundred (`kills`), faults around it (`run`)."""
