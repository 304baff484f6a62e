"""Speed and memory of fastem: tracked by airspeed velocity, compared with peers by `report`."""
